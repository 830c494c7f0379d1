"""LoRAs under the names that diffusers and PEFT use. Back to ours: key_dialects.to_own_names."""

from collections.abc import Iterator, Mapping

import torch

from library.errors import UserError
from library.wording import listed
from networks.files.client_support import Form, forms_in
from networks.files.key_dialects import MAGNITUDE
from networks.files.layer_names import UNET, diffusers_path, is_pointwise_projection, part_of
from networks.kinds.catalogue import tensors_by_layer

Weights = Mapping[str, torch.Tensor]

_DOWN, _UP, _DORA = "lora_down.weight", "lora_up.weight", "dora_scale"
_FACTORS = ("lora_A.weight", "lora_B.weight")
_OLD_FACTORS = ("lora_linear_layer.down.weight", "lora_linear_layer.up.weight")
"""For text encoders whose attention is not adapted: diffusers recognises no other names there."""
_EXPRESSIBLE = {Form.LORA, Form.LORA_SD2_PROJECTION, Form.LORA_ALPHAS, Form.DORA_PER_OUTPUT}

REMEDY = "make a plain LoRA of it first, which diffusers reads (--to lora)"


def to_peft(tensors: Weights, linear_projections: bool = False) -> dict[str, torch.Tensor]:
    """A LoRA, or a DoRA with a magnitude for each output, in the form that diffusers and PEFT read.

    alpha / rank, which this form does not have, is multiplied into lora_B.

    Args:
        tensors: by our names.
        linear_projections: the U-Net's projections around its transformers are linear in diffusers, though they are
            1x1 convolutions by our names; so it is for SD 2.x.

    Raises:
        UserError: something in it has no such form; lists everything.
    """
    layers = tensors_by_layer(tensors)
    problems = [*_inexpressible_forms(tensors), *_unreadable_magnitudes(layers), *_foreign_names(layers)]
    if problems:
        raise UserError(problems)
    with_attention = {part_of(name) for name in layers if "_self_attn_" in name} | {UNET}
    converted: dict[str, torch.Tensor] = {}
    for name, of_layer in layers.items():
        path = diffusers_path(name)
        factors = _FACTORS if part_of(name) in with_attention else _OLD_FACTORS
        as_linear = linear_projections and is_pointwise_projection(name)
        of_layer = _peft_tensors(of_layer, factors, as_linear)
        converted |= {f"{path}.{suffix}": tensor for suffix, tensor in of_layer.items()}
    return converted


def _peft_tensors(tensors: Weights, factors: tuple[str, str], as_linear: bool) -> dict[str, torch.Tensor]:
    down, up = tensors[_DOWN], tensors[_UP]
    scale = float(tensors["alpha"]) / len(down) if "alpha" in tensors else 1.0
    scaled = (up.float() * scale).to(up.dtype)
    if as_linear:
        down, scaled = down.flatten(1), scaled.flatten(1)
    converted = dict(zip(factors, (down, scaled), strict=True))
    if _DORA in tensors:
        magnitudes = tensors[_DORA]
        converted[MAGNITUDE] = magnitudes.flatten() if down.ndim == 2 else magnitudes.transpose(0, 1)
    return converted


def _inexpressible_forms(tensors: Weights) -> Iterator[str]:
    counts = forms_in(tensors)
    others = [f"{form.value} ({count})" for form, count in counts.items() if form not in _EXPRESSIBLE]
    if others:
        yield f"diffusers' names have no form for {listed(others, 6)}; {REMEDY}"


def _unreadable_magnitudes(layers: Mapping[str, Weights]) -> Iterator[str]:
    """diffusers takes the U-Net for DoRA as a whole; transformers does not load magnitudes of text encoders."""
    with_magnitudes = {name for name, tensors in layers.items() if _DORA in tensors}
    in_unet = {name for name in layers if part_of(name) == UNET}
    if with_magnitudes - in_unet:
        yield f"diffusers does not load the magnitudes of DoRA in text encoders; {REMEDY}"
    if with_magnitudes & in_unet and not in_unet <= with_magnitudes:
        without = sorted(in_unet - with_magnitudes)
        yield f"diffusers takes all layers of the U-Net for DoRA, but '{without[0]}' has no magnitudes; {REMEDY}"


def _foreign_names(layers: Mapping[str, Weights]) -> Iterator[str]:
    foreign = [name for name in layers if part_of(name) is None]
    if foreign:
        yield f"these belong to no layer of the model: {listed(foreign, 3)}; they cannot be given diffusers' names"
