"""A stand-in for a layer of the model, of the shape that a file's tensors say it has; it holds no weights.

Some kinds keep their factors flattened, so that 3x3 convolutions look like wide linear layers: there, the name tells.
"""

import re
from collections.abc import Mapping

import torch
from torch import nn

from networks.files.layer_names import is_pointwise_projection

Tensors = Mapping[str, torch.Tensor]

_KERNEL_3X3 = re.compile(r".*_(?:conv|conv1|conv2|conv_in|conv_out|op|in_layers_2|out_layers_3|input_blocks_0_0|out_2)")
_KERNEL_1X1 = re.compile(r".*_(?:conv_shortcut|skip_connection)")

Shape = tuple[int, ...]


def skeleton_of(name: str, tensors: Tensors) -> nn.Module | None:
    """A linear layer, convolution or norm layer on the device "meta"; None if the tensors do not tell.

    Args:
        tensors: of one layer, by suffix.
    """
    norm = tensors.get("w_norm", tensors.get("b_norm"))
    if norm is not None:
        return nn.LayerNorm(len(norm), device="meta")
    shape = _weight_shape(name, tensors)
    if shape is None:
        return None
    if len(shape) == 2:
        return nn.Linear(shape[1], shape[0], device="meta")
    return nn.Conv2d(shape[1], shape[0], (shape[2], shape[3]), device="meta")


def _weight_shape(name: str, tensors: Tensors) -> Shape | None:
    if "lora_up.weight" in tensors:
        kernel = tensors.get("lora_mid.weight", tensors["lora_down.weight"]).shape[2:]
        return (len(tensors["lora_up.weight"]), tensors["lora_down.weight"].shape[1], *kernel)
    if "hada_t1" in tensors:
        return (tensors["hada_w1_a"].shape[1], tensors["hada_w1_b"].shape[1], *tensors["hada_t1"].shape[2:])
    if "hada_w1_a" in tensors:
        return _unflattened(name, len(tensors["hada_w1_a"]), tensors["hada_w1_b"].shape[1])
    if "lokr_w1" in tensors or "lokr_w1_a" in tensors:
        return _kronecker_shape(name, tensors)
    return tuple(tensors["diff"].shape) if "diff" in tensors else None


def _kronecker_shape(name: str, tensors: Tensors) -> Shape:
    first_out, first_in = _product_shape(tensors, "lokr_w1")
    if "lokr_t2" in tensors:
        second_out, second_in = tensors["lokr_w2_a"].shape[1], tensors["lokr_w2_b"].shape[1]
        return (first_out * second_out, first_in * second_in, *tensors["lokr_t2"].shape[2:])
    second_out, second_in, *kernel = _product_shape(tensors, "lokr_w2")
    if kernel:
        return (first_out * second_out, first_in * second_in, *kernel)
    return _unflattened(name, first_out * second_out, first_in * second_in)


def _product_shape(tensors: Tensors, factor: str) -> Shape:
    if factor in tensors:
        return tuple(tensors[factor].shape)
    return (len(tensors[f"{factor}_a"]), tensors[f"{factor}_b"].shape[1])


def _unflattened(name: str, out: int, columns: int) -> Shape:
    if _KERNEL_3X3.fullmatch(name):
        side = 3
    elif _KERNEL_1X1.fullmatch(name) or is_pointwise_projection(name):
        side = 1
    else:
        return (out, columns)
    return (out, columns // side**2, side, side)
