"""How large a network file will be, from the shapes of the model's layers: neither is loaded."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from library.errors import UserError
from library.metadata.training_metadata import network_arguments
from library.models.checkpoints.folder_identification import read_component_headers
from library.models.checkpoints.headers import read_header
from library.models.checkpoints.identification import VAE_PREFIX
from library.models.diffusers_layout import TEXT_ENCODERS, UNET
from library.models.model_source import MODEL_OPTION, ModelSource, SourceKind
from library.options.groups import NetworkOptions, OptimizerOptions, PrecisionOptions, SavingOptions
from library.options.part_rates import OF_TEXT_ENCODERS, OF_UNET, part_rates
from networks.arguments import DEFAULT_RANK, NetworkArguments, parse_arguments
from networks.arguments.kinds import LoRAArguments

Shapes = Iterable[tuple[str, tuple[int, ...]]]

_OF_UNET = re.compile(
    r"(transformer_blocks\.\d+\.(attn[12]\.to_(q|k|v|out\.0)|ff\.net\.(0\.proj|2))|\.proj_(in|out))\.weight$"
)
_OF_TEXT_ENCODERS = re.compile(r"(self_attn\.(q|k|v|out)_proj|\.attn\.out_proj|mlp\.(fc1|fc2|c_fc|c_proj))\.weight$")
_OF_RESIDUAL_BLOCKS = re.compile(r"\.(time_emb_proj|conv_shortcut|emb_layers\.1|skip_connection)\.weight$")
_SPATIAL = re.compile(
    r"\.(resnets\.\d+\.conv[12]|in_layers\.2|out_layers\.3|(down|up)samplers\.0\.conv|\d+\.\d+\.(op|conv))\.weight$"
)
_FUSED = re.compile(r"\.attn\.in_proj_weight$")
"""Three layers of a text encoder in one matrix."""
_LORA = ("networks.lora", "networks.locon")
_SIZE_IS_THE_SAME = (
    "conv_dim", "conv_alpha", "dropout", "rank_dropout", "rank_dropout_scale", "module_dropout", "block_alphas",
    "conv_block_alphas", "network_reg_lrs", "verbose", "algo", "bypass_mode", "rs_lora", "use_scalar",
    "loraplus_lr_ratio", "loraplus_unet_lr_ratio", "loraplus_text_encoder_lr_ratio",
)  # fmt: skip
"""Arguments whose values do not matter for the size of a file, or are accounted for."""
_BYTES = {"float": 4, "fp16": 2, "bf16": 2}


def network_bytes(
    source: ModelSource,
    network: NetworkOptions,
    rates: OptimizerOptions,
    precision: PrecisionOptions,
    saving: SavingOptions,
) -> int | None:
    """About so many, without the metadata; None = not known for this kind of network.

    Args:
        source: a model on this computer.
    """
    arguments = _plain_arguments(network)
    if arguments is None or network.dim_from_weights:
        return None
    is_half = precision.full_fp16 or precision.full_bf16
    bytes_each = (2 if is_half else 4) if saving.save_precision is None else _BYTES[saving.save_precision]
    has_unet, has_text_encoders = (_is_in_file(part, network, rates) for part in (OF_UNET, OF_TEXT_ENCODERS))
    shapes = list(_shapes(source))
    numbers = lora_width(shapes, has_unet, has_text_encoders) * (network.network_dim or DEFAULT_RANK)
    if arguments.conv_dim and has_unet:
        numbers += residual_width(shapes) * (network.network_dim or DEFAULT_RANK)
        numbers += spatial_width(shapes) * arguments.conv_dim
    return numbers * bytes_each


def _is_in_file(part: str, network: NetworkOptions, rates: OptimizerOptions) -> bool:
    """What has the rate 0 is in the file only if --network_weights has it."""
    return any(
        of_part.part == part and (network.network_weights is not None or not of_part.is_off)
        for of_part in part_rates(network, rates)
    )


def _plain_arguments(network: NetworkOptions) -> NetworkArguments | None:
    """What --network_args say, if it is understood here."""
    if network.network_module not in _LORA:
        return None
    try:
        arguments = parse_arguments(network.network_module, network_arguments(network))
    except UserError:
        return None
    plain = LoRAArguments()
    same = {name: getattr(plain, name) for name in _SIZE_IS_THE_SAME}
    return arguments if replace(arguments, **same) == plain else None


def lora_width(shapes: Shapes, unet: bool, text_encoders: bool) -> int:
    """Numbers that a LoRA of these parts has for each rank: inputs and outputs of every layer that is adapted."""
    total = 0
    for name, shape in shapes:
        if name.startswith(VAE_PREFIX) or len(shape) < 2:
            continue
        if _FUSED.search(name):
            total += 6 * shape[1] * text_encoders
        elif _OF_TEXT_ENCODERS.search(name):
            total += (shape[0] + shape[1]) * text_encoders
        elif _OF_UNET.search(name):
            total += (shape[0] + shape[1]) * unet
    return total


def residual_width(shapes: Shapes) -> int:
    """The same for the linear layers and 1x1 convolutions of residual blocks, which conv_dim adds."""
    return sum(shape[0] + shape[1] for name, shape in shapes if _OF_RESIDUAL_BLOCKS.search(name))


def spatial_width(shapes: Shapes) -> int:
    """Numbers for each rank of conv_dim: inputs times kernel, and outputs, of the U-Net's inner 3x3 convolutions."""
    return sum(
        shape[0] + shape[1] * shape[2] * shape[3]
        for name, shape in shapes
        if not name.startswith(VAE_PREFIX) and _SPATIAL.search(name)
    )


def _shapes(source: ModelSource) -> Iterator[tuple[str, tuple[int, ...]]]:
    place = Path(source.place)
    if source.kind is SourceKind.FILE:
        yield from read_header(place, MODEL_OPTION).shapes.items()
        return
    for component in (UNET, *TEXT_ENCODERS):
        if (place / component).is_dir():
            for header in read_component_headers(place / component, MODEL_OPTION):
                yield from header.shapes.items()
