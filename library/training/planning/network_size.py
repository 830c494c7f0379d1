"""How large a network file will be, from the shapes of the model's layers: neither is loaded."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from library.models.checkpoints.folder_identification import read_component_headers
from library.models.checkpoints.headers import read_header
from library.models.checkpoints.identification import VAE_PREFIX
from library.models.diffusers_layout import TEXT_ENCODERS, UNET
from library.models.model_source import MODEL_OPTION, ModelSource, SourceKind
from library.options.groups import NetworkOptions, PrecisionOptions, SavingOptions
from networks.arguments import DEFAULT_RANK

Shapes = Iterable[tuple[str, tuple[int, ...]]]

_OF_UNET = re.compile(
    r"(transformer_blocks\.\d+\.(attn[12]\.to_(q|k|v|out\.0)|ff\.net\.(0\.proj|2))|\.proj_(in|out))\.weight$"
)
_OF_TEXT_ENCODERS = re.compile(r"(self_attn\.(q|k|v|out)_proj|\.attn\.out_proj|mlp\.(fc1|fc2|c_fc|c_proj))\.weight$")
_FUSED = re.compile(r"\.attn\.in_proj_weight$")
"""Three layers of a text encoder in one matrix."""
_LORA = "networks.lora"
_BYTES = {"float": 4, "fp16": 2, "bf16": 2}


def network_bytes(
    source: ModelSource, network: NetworkOptions, precision: PrecisionOptions, saving: SavingOptions
) -> int | None:
    """About so many, without the metadata; None = not known for this kind of network.

    Args:
        source: a model on this computer.
    """
    if network.network_module != _LORA:
        return None
    is_half = precision.full_fp16 or precision.full_bf16
    bytes_each = (2 if is_half else 4) if saving.save_precision is None else _BYTES[saving.save_precision]
    numbers = lora_width(
        _shapes(source), not network.network_train_text_encoder_only, not network.network_train_unet_only
    )
    return numbers * (network.network_dim or DEFAULT_RANK) * bytes_each


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


def _shapes(source: ModelSource) -> Iterator[tuple[str, tuple[int, ...]]]:
    place = Path(source.place)
    if source.kind is SourceKind.FILE:
        yield from read_header(place, MODEL_OPTION).shapes.items()
        return
    for component in (UNET, *TEXT_ENCODERS):
        if (place / component).is_dir():
            for header in read_component_headers(place / component, MODEL_OPTION):
                yield from header.shapes.items()
