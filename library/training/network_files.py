"""What is known to be wrong with the network files of a run before anything is loaded."""

import re
from collections.abc import Iterator
from pathlib import Path

from library.dataset.findings import Findings
from library.errors import UserError
from library.metadata.training_metadata import is_told_by_file
from library.models.checkpoints.headers import WeightsHeader, read_header, read_named_header
from library.models.checkpoints.identification import SD1_TEXT_WIDTH, SD2_TEXT_WIDTH, ModelKind, Shapes, identify
from library.models.family import SD1, SD2, SDXL, ModelFamily
from library.options.groups import NetworkOptions
from networks.arguments import MODULES
from networks.files.layer_names import looks_like_sdxl
from networks.module_lookup import resolve_alias

_NETWORKS = (ModelKind.NETWORK, ModelKind.UNKNOWN)
"""What may be a network: names that are not known here may be those of a third-party module."""

_OF_SD1_AND_SD2 = re.compile(r"lora_te_|(lora_unet_|unet\.)(down_blocks.0.attentions|up_blocks.3.)")
_OF_SDXL = "text_encoder_2."
_READS_TEXT = re.compile(r"attn2.to_k.lora(_down|_A)(\.\w+)?\.weight$")
_FAMILY_BY_TEXT_WIDTH = {SD1_TEXT_WIDTH: SD1, SD2_TEXT_WIDTH: SD2}

_MODULES = {
    "LoHa": ("networks.loha",),
    "LoKr": ("networks.lokr",),
    "GLoRA": ("networks.glora",),
    "OFT": ("networks.oft",),
    "BOFT": ("networks.boft",),
    "(IA)^3": ("networks.ia3",),
    "full differences": ("networks.full",),
    "DoRA": ("networks.dora", "networks.lora", "networks.locon"),
    "LoRA": ("networks.lora", "networks.locon", "networks.dora", "networks.dylora", "networks.lora_fa"),
}
"""Kind of layers in a file -> our modules that train them further; the one to recommend comes first."""

_SUFFIXES = (
    ("LoHa", re.compile(r"\.hada_w1_a$")),
    ("LoKr", re.compile(r"\.lokr_w[12](_a)?$")),
    ("GLoRA", re.compile(r"\.a1\.weight$")),
    ("(IA)^3", re.compile(r"\.on_input$")),
    ("full differences", re.compile(r"\.diff$")),
    ("LoRA", re.compile(r"[._]lora(_up|_B|\.up|_linear_layer\.up)(\.\w+)?\.weight$")),
)
_ROTATIONS = re.compile(r"\.oft_(blocks|diag)$")
_MAGNITUDES = re.compile(r"\.(dora_scale|lora_magnitude_vector)(\.\w+)*$")


def check_network_files(options: NetworkOptions, family: ModelFamily | None, findings: Findings) -> None:
    """
    Args:
        family: the model's, if it is known.
    """
    for option, file in _files(options):
        try:
            header = read_header(Path(file), option)
        except UserError as error:
            findings.problems += error.problems
            continue
        named = f"--{option} '{file}'"
        findings.problems += network_file_problems(header, named, family)
        if option == "network_weights":
            findings.problems += _problems_of_kind(header.shapes, named, options)
            findings.warnings += _arguments_without_effect(options)


def _files(options: NetworkOptions) -> Iterator[tuple[str, str]]:
    if options.network_weights:
        yield "network_weights", options.network_weights
    for file in options.base_weights or ():
        yield "base_weights", file


def read_network_header(file: Path) -> WeightsHeader:
    """Of a file that is named by itself, not by an option.

    Raises:
        UserError: the file cannot be read, is damaged, or something else than a network.
    """
    named = f"network file '{file}'"
    header = read_named_header(file, named)
    problems = list(network_file_problems(header, named, family=None))
    if problems:
        raise UserError(problems)
    return header


def network_file_problems(header: WeightsHeader, named: str, family: ModelFamily | None) -> Iterator[str]:
    """
    Args:
        named: what the messages call the file.
        family: the model's, if it is known.
    """
    kind = identify(header.shapes, header.metadata).kind
    if kind not in _NETWORKS:
        yield f"{named} is no network file: it looks like {kind.value}; name a LoRA or another network"
        return
    names = families_of_network(header.shapes)
    if family is not None and names and family.name not in names:
        yield (
            f"{named} is a network for {' or '.join(names)}, but the model is one of {family.name}; "
            f"name a network for {family.name}"
        )


def families_of_network(shapes: Shapes) -> tuple[str, ...]:
    """Names of the families that a network may belong to, as far as its layers tell; none if they tell nothing."""
    widths = {shape[1] for name, shape in shapes.items() if len(shape) > 1 and _READS_TEXT.search(name)}
    for width in widths & _FAMILY_BY_TEXT_WIDTH.keys():
        return (_FAMILY_BY_TEXT_WIDTH[width].name,)
    if looks_like_sdxl(name.replace(".", "_") for name in shapes) or any(name.startswith(_OF_SDXL) for name in shapes):
        return (SDXL.name,)
    return (SD1.name, SD2.name) if any(_OF_SD1_AND_SD2.match(name) for name in shapes) else ()


def _problems_of_kind(shapes: Shapes, named: str, options: NetworkOptions) -> Iterator[str]:
    """Modules of others say themselves what they can read."""
    module = options.network_module or ""
    kinds, own = kinds_of_network(shapes), resolve_alias(module)
    if own not in MODULES or not kinds or any(own in _MODULES[kind] for kind in kinds):
        return
    use = f"use --network_module {_MODULES[kinds[0]][0]}"
    if options.dim_from_weights:
        yield (
            f"--network_module {module}: with --dim_from_weights the layers of {named} are trained further, which are "
            f"{' and '.join(kinds)}; {use}"
        )
    else:
        yield f"--network_module {module} cannot go on with {named}, whose layers are {' and '.join(kinds)}; {use}"


def _arguments_without_effect(options: NetworkOptions) -> Iterator[str]:
    for pair in options.network_args or ():
        name = pair.split("=", 1)[0]
        if is_told_by_file(options, name):
            yield f"--network_args {name} has no effect with --dim_from_weights: the layers are those of the file"


def kinds_of_network(shapes: Shapes) -> tuple[str, ...]:
    """Kinds of a file's layers, by the names of its tensors; none if they are not of ours."""
    kinds = dict.fromkeys(kind for name, shape in shapes.items() for kind in _kinds_of_tensor(name, shape))
    has_magnitudes = any(_MAGNITUDES.search(name) for name in shapes)
    return tuple("DoRA" if kind == "LoRA" and has_magnitudes else kind for kind in kinds)


def _kinds_of_tensor(name: str, shape: tuple[int, ...]) -> Iterator[str]:
    if _ROTATIONS.search(name):
        yield "BOFT" if len(shape) == 4 else "OFT"
    else:
        yield from (kind for kind, suffix in _SUFFIXES if suffix.search(name))
