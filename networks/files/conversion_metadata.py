"""What the metadata of a converted network file says: how it was trained, and what it has become."""

import json
from collections.abc import Iterable, Mapping
from enum import Enum

import torch

from library.wording import counted
from networks.files.client_support import Form, forms_in
from networks.files.peft_config import METADATA_KEY
from networks.kinds.catalogue import tensors_by_layer

Weights = Mapping[str, torch.Tensor]
Metadata = Mapping[str, str]

_OUTDATED = ("sshs_model_hash", "sshs_legacy_hash", "modelspec.hash_sha256", METADATA_KEY)
"""Fields that do not hold for other tensors."""
_DYNAMIC = "Dynamic"
"""What is written for a rank or an alpha that differs from layer to layer."""
_FIELDS_OF_DIFFERENCES = {
    "ss_network_module": "networks.full",
    "ss_network_dim": "None",
    "ss_network_alpha": "None",
    "ss_network_args": "{}",
}


class TargetForm(Enum):
    DIFFUSERS = "diffusers"
    KOHYA = "kohya"
    LORA = "lora"
    DIFF = "diff"


def updated_metadata(
    metadata: Metadata, name: str, form: TargetForm, before: Weights, after: Weights
) -> dict[str, str]:
    """The training's fields stay; what they say of the network itself is that of the new form.

    Args:
        name: of the file that was converted.
        before: its tensors, by our names.
        after: the new tensors.
    """
    fields = {field: text for field, text in metadata.items() if field not in _OUTDATED}
    fields["ss_converted_from"] = _description(metadata, name, before)
    if form is TargetForm.DIFF:
        return fields | _FIELDS_OF_DIFFERENCES
    if form is TargetForm.KOHYA:
        is_lora = forms_in(before).keys() <= {Form.LORA, Form.LORA_SD2_PROJECTION, Form.LORA_ALPHAS}
        return (_sizes(before) | {"ss_network_module": "networks.lora"} if is_lora else {}) | fields
    if form is TargetForm.LORA:
        arguments: dict[str, object] = {**_convolution_sizes(after)}
        return fields | _sizes(after) | {"ss_network_module": "networks.lora", "ss_network_args": json.dumps(arguments)}
    convolutions = _convolution_sizes(before)
    if convolutions:
        convolutions["conv_alpha"] = convolutions["conv_dim"]  # as the alphas of all layers
    arguments = _read_arguments(fields) | convolutions
    sizes = _sizes(before)
    return fields | sizes | {"ss_network_alpha": sizes["ss_network_dim"], "ss_network_args": json.dumps(arguments)}


def _description(metadata: Metadata, name: str, before: Weights) -> str:
    """Such as: dog.safetensors: LoHa (264 layers); networks.loha, dim 8, alpha 4"""
    forms = ", ".join(f"{form.value} ({counted(count, 'layer')})" for form, count in forms_in(before).items())
    module = metadata.get("ss_network_module")
    if module is None:
        return f"{name}: {forms}"
    dim, alpha = metadata.get("ss_network_dim"), metadata.get("ss_network_alpha")
    return f"{name}: {forms}; {module}, dim {dim}, alpha {alpha}"


def _sizes(tensors: Weights) -> dict[str, str]:
    """Rank and alpha of a LoRA; convolutions, which have their own, count only if there is nothing else."""
    layers = list(tensors_by_layer(tensors).values())
    layers = [layer for layer in layers if not _is_kernel(layer)] or layers
    ranks = [len(layer["lora_down.weight"]) for layer in layers]
    return {
        "ss_network_dim": _common(ranks),
        "ss_network_alpha": _common(float(layer["alpha"]) for layer in layers),
    }


def _convolution_sizes(tensors: Weights) -> dict[str, str]:
    """conv_dim and conv_alpha of a LoRA, as in --network_args; empty if it has no such layers."""
    kernels = [layer for layer in tensors_by_layer(tensors).values() if _is_kernel(layer)]
    if not kernels:
        return {}
    return {
        "conv_dim": _common(len(layer["lora_down.weight"]) for layer in kernels),
        "conv_alpha": _common(float(layer["alpha"]) for layer in kernels),
    }


def _is_kernel(layer: Weights) -> bool:
    return layer["lora_down.weight"].shape[2:].numel() > 1


def _read_arguments(fields: Metadata) -> dict[str, object]:
    try:
        arguments = json.loads(fields.get("ss_network_args", "{}"))
    except ValueError:
        return {}
    return arguments if isinstance(arguments, dict) else {}


def _common(values: Iterable[float]) -> str:
    different = set(values)
    return f"{different.pop():g}" if len(different) == 1 else _DYNAMIC
