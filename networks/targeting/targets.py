"""Finds the layers of a model that a network adapts, and the names they have in files."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from torch import nn

from library.errors import UserError
from networks.targeting.blocks import block_count, block_of
from networks.targeting.patterns import matches, matches_name, unmatched_patterns
from networks.targeting.selection import PartSelection, Selection

logger = logging.getLogger(__name__)

UNET, TEXT_ENCODER = "unet", "text_encoder"
"""The parts of a model."""

UNET_PREFIX = "lora_unet"
TEXT_ENCODER_PREFIX = "lora_te"

TextEncoders = nn.Module | Sequence[nn.Module] | None
"""One is given as it is, several as a list."""

_NORMS = (nn.GroupNorm, nn.LayerNorm)


@dataclass(frozen=True)
class Target:
    """A layer to adapt."""

    name: str
    """What its tensors' names in a file begin with; contains no dot."""
    layer: nn.Module
    """nn.Linear, nn.Conv2d, nn.GroupNorm or nn.LayerNorm"""
    path: str
    """Dotted path in the view, such as down_blocks.0.attentions.0.proj_in."""
    part: str
    """UNET or TEXT_ENCODER"""
    block: int | None = None
    """Number of its block in the U-Net; see blocks.py. None in text encoders."""

    @property
    def is_spatial(self) -> bool:
        """Whether it is a convolution that looks at neighbours; kohya's tool gives those a rank of their own."""
        return isinstance(self.layer, nn.Conv2d) and self.layer.kernel_size != (1, 1)


@dataclass(frozen=True)
class LayerSize:
    """Of the change of a layer."""

    rank: int
    alpha: float
    """0 means the rank, and has become it, except where --network_alpha is a constraint"""


@dataclass(frozen=True)
class DiscoveredTargets:
    """The targets of a model, in the order of its layers."""

    text_encoder: list[Target]
    unet: list[Target]
    block_count: int
    """of the U-Net; see blocks.py"""

    def __iter__(self) -> Iterator[Target]:
        yield from self.text_encoder
        yield from self.unet


def find_targets(text_encoder: TextEncoders, unet: nn.Module, selection: Selection) -> DiscoveredTargets:
    """The layers of a model's view that a selection takes.

    Raises:
        UserError: nothing is found, or a pattern matches nothing.
    """
    found = _discover(text_encoder, unet, selection)
    if selection.file is not None:
        _warn_of_unmatched(selection, text_encoder, unet)
    everything = find_all(text_encoder, unet) if selection.include or selection.exclude else ()
    problems = [
        *unmatched_patterns("include_patterns", selection.include, found, everything),
        *unmatched_patterns("exclude_patterns", selection.exclude, found, everything),
    ]
    if problems:
        raise UserError(problems)
    kept = replace(
        found,
        text_encoder=[target for target in found.text_encoder if _is_kept(target, selection)],
        unet=[target for target in found.unet if _is_kept(target, selection)],
    )
    if not list(kept):
        raise UserError("--network_args: the network would be empty, since no layer of this model is chosen")
    if selection.include and selection.exclude and len(list(kept)) == len(list(found)):
        raise UserError(
            f"--network_args exclude_patterns={','.join(selection.exclude)}: leaves out nothing, since "
            "include_patterns are the exceptions to it; leave out one of them"
        )
    return kept


def find_all(text_encoder: TextEncoders, unet: nn.Module) -> DiscoveredTargets:
    """Every layer that some kind can adapt, as files may hold them."""
    anywhere = PartSelection(classes=None)
    return _discover(text_encoder, unet, Selection(anywhere, anywhere, convolutions=True, norms=True))


def text_encoder_prefixes(count: int) -> list[str]:
    """lora_te for a single text encoder, lora_te1, lora_te2, ... for several."""
    if count == 1:
        return [TEXT_ENCODER_PREFIX]
    return [f"{TEXT_ENCODER_PREFIX}{number}" for number in range(1, count + 1)]


def _is_kept(target: Target, selection: Selection) -> bool:
    """Patterns to include are exceptions to those to exclude, as in kohya's tool; alone, they are all there is."""
    included = any(matches(pattern, target) for pattern in selection.include)
    if not selection.exclude:
        return included or not selection.include
    return included or not any(matches(pattern, target) for pattern in selection.exclude)


def _discover(text_encoder: TextEncoders, unet: nn.Module, selection: Selection) -> DiscoveredTargets:
    encoders = _as_list(text_encoder)
    in_encoders = [
        Target(_key_name(prefix, path), layer, path, TEXT_ENCODER)
        for prefix, encoder in zip(text_encoder_prefixes(len(encoders)), encoders, strict=True)
        for path, layer in _chosen_layers(encoder, selection.text_encoder, selection)
    ]
    in_unet = [
        Target(_key_name(UNET_PREFIX, path), layer, path, UNET, block_of(path))
        for path, layer in _chosen_layers(unet, selection.unet, selection)
    ]
    return DiscoveredTargets(in_encoders, in_unet, block_count(unet))


def _as_list(text_encoder: TextEncoders) -> list[nn.Module]:
    if text_encoder is None:
        return []
    return [text_encoder] if isinstance(text_encoder, nn.Module) else list(text_encoder)


def _key_name(prefix: str, path: str) -> str:
    return f"{prefix}.{path}".replace(".", "_")


def _chosen_layers(root: nn.Module, part: PartSelection, selection: Selection) -> Iterator[tuple[str, nn.Module]]:
    """(path, layer), in module order, each once."""
    chosen: tuple[str, ...] = ("",) if part.classes is None else ()
    for path, module in root.named_modules():
        if part.classes is not None and type(module).__name__ in part.classes:
            chosen += (_with_dot(path),)
        if not _is_adaptable(module, selection) or any(matches_name(name, path) for name in selection.left_out_names):
            continue
        if _with_dot(path).startswith(chosen) or any(matches_name(name, path) for name in part.names):
            yield path, module


def _with_dot(path: str) -> str:
    """So that what is inside of a module begins with it."""
    return f"{path}." if path else ""


def _is_adaptable(module: nn.Module, selection: Selection) -> bool:
    """Whether it is a layer of a wanted type. Subclasses may compute something else, and are left alone."""
    if type(module) is nn.Conv2d:
        return selection.convolutions or module.kernel_size == (1, 1)
    return type(module) is nn.Linear or (selection.norms and isinstance(module, _NORMS))


def _warn_of_unmatched(selection: Selection, text_encoder: TextEncoders, unet: nn.Module) -> None:
    """Of a preset file: such files are passed on between models, so that it is no error."""
    encoders = _as_list(text_encoder)
    unmatched = [
        *_unmatched_of_part("unet", selection.unet, [unet]),
        *_unmatched_of_part("text_encoder", selection.text_encoder, encoders),
        *(f"exclude_name '{name}'" for name in selection.left_out_names if not _is_name_in(name, [unet, *encoders])),
    ]
    if unmatched:
        logger.warning(f"--network_args preset={selection.file}: nothing in this model matches {', '.join(unmatched)}")


def _unmatched_of_part(part: str, selection: PartSelection, roots: Sequence[nn.Module]) -> Iterator[str]:
    classes = {type(module).__name__ for root in roots for module in root.modules()}
    for name in sorted((selection.classes or frozenset()) - classes):
        yield f"{part}_target_module '{name}'"
    for name in selection.names:
        if not _is_name_in(name, roots):
            yield f"{part}_target_name '{name}'"


def _is_name_in(name: str, roots: Iterable[nn.Module]) -> bool:
    return any(matches_name(name, path) for root in roots for path, _ in root.named_modules())
