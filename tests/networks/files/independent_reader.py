"""What a client makes of a network file: a second reading of the file format, sharing nothing with `networks`.

Written from the tables of the format alone, in numpy and float64: a weight W and the tensors of its layer give the
changed weight W'. Shapes: a linear weight is (out, in), that of a convolution (out, in, height, width).
"""

from collections.abc import Mapping

import numpy as np
import torch

Layer = Mapping[str, torch.Tensor]


def changed_weight(weight: torch.Tensor, tensors: Layer) -> np.ndarray:
    """W' at strength 1."""
    base = _number(weight)
    layer = {suffix: _number(tensor) for suffix, tensor in tensors.items()}
    if "oft_blocks" in layer:
        return _rescaled(_rotated(base, layer), layer)
    if "weight" in layer:
        return _scaled(base, layer)
    if "w_norm" in layer:
        return base + layer["w_norm"]
    changed = base + _addition(base, layer)
    return _with_magnitudes(changed, layer["dora_scale"]) if "dora_scale" in layer else changed


def bias_change(tensors: Layer) -> np.ndarray | None:
    name = next((name for name in ("diff_b", "b_norm") if name in tensors), None)
    return None if name is None else _number(tensors[name])


def _number(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().double().numpy()


def _addition(base: np.ndarray, layer: Mapping[str, np.ndarray]) -> np.ndarray:
    if "diff" in layer:
        return layer["diff"].reshape(base.shape)
    for mark, read in (("lora_up.weight", _low_rank), ("hada_w1_a", _hadamard), ("a1.weight", _glora)):
        if mark in layer:
            return read(base, layer)
    if "lokr_w1" in layer or "lokr_w1_a" in layer:
        return _kronecker(base, layer)
    raise KeyError(sorted(layer))


def _scale(layer: Mapping[str, np.ndarray], rank: int) -> float:
    return float(layer["alpha"]) / rank if "alpha" in layer else 1.0


def _low_rank(base: np.ndarray, layer: Mapping[str, np.ndarray]) -> np.ndarray:
    up, down = layer["lora_up.weight"], layer["lora_down.weight"]
    rank = down.shape[0]
    if "lora_mid.weight" in layer:
        mid = layer["lora_mid.weight"]
        product = np.einsum("or,rskl,si->oikl", up.reshape(-1, rank), mid, down.reshape(rank, -1))
    else:
        product = np.dot(up.reshape(-1, rank), down.reshape(rank, -1))
    return _scale(layer, rank) * product.reshape(base.shape)


def _hadamard(base: np.ndarray, layer: Mapping[str, np.ndarray]) -> np.ndarray:
    rank = layer["hada_w1_b"].shape[0]
    halves = []
    for number in ("1", "2"):
        first, second = layer[f"hada_w{number}_a"], layer[f"hada_w{number}_b"]
        if f"hada_t{number}" in layer:
            halves.append(np.einsum("rskl,ro,si->oikl", layer[f"hada_t{number}"], first, second))
        else:
            halves.append(np.dot(first, second))
    return _scale(layer, rank) * (halves[0] * halves[1]).reshape(base.shape)


def _kronecker(base: np.ndarray, layer: Mapping[str, np.ndarray]) -> np.ndarray:
    rank = None
    if "lokr_w1" in layer:
        first = layer["lokr_w1"]
    else:
        first, rank = np.dot(layer["lokr_w1_a"], layer["lokr_w1_b"]), layer["lokr_w1_b"].shape[0]
    if "lokr_w2" in layer:
        second = layer["lokr_w2"]
    else:
        rank = layer["lokr_w2_b"].shape[0]
        if "lokr_t2" in layer:
            second = np.einsum("rskl,ro,si->oikl", layer["lokr_t2"], layer["lokr_w2_a"], layer["lokr_w2_b"])
        else:
            second = np.dot(layer["lokr_w2_a"], layer["lokr_w2_b"])
    rows, columns = first.shape
    out, into = base.shape[0] // rows, base.shape[1] // columns
    second = second.reshape(out, into, -1)
    product = np.einsum("ab,cdk->acbdk", first, second).reshape(base.shape)
    return product if rank is None else _scale(layer, rank) * product


def _glora(base: np.ndarray, layer: Mapping[str, np.ndarray]) -> np.ndarray:
    first_a, second_a, first_b, second_b = (layer[f"{name}.weight"] for name in ("a1", "a2", "b1", "b2"))
    rank = second_a.shape[0]
    second_b = second_b.reshape(rank, -1)
    of_weight = np.einsum("oi...,ir,rj->oj...", base, first_a.reshape(-1, rank), second_a.reshape(rank, -1))
    own = np.dot(first_b.reshape(-1, rank), second_b).reshape(base.shape)
    return _scale(layer, rank) * (of_weight + own)


def _scaled(base: np.ndarray, layer: Mapping[str, np.ndarray]) -> np.ndarray:
    """(IA)^3: the file holds what is added to one."""
    factors = layer["weight"].reshape(-1)
    axis = 1 if bool(layer.get("on_input", np.array(0))) else 0
    return base * (1 + factors).reshape([-1 if number == axis else 1 for number in range(base.ndim)])


def _cayley(blocks: np.ndarray, constraint: float) -> np.ndarray:
    """(..., size, size) free matrices -> rotations, the skew part no longer than the constraint (0 = any)."""
    skew = blocks - np.swapaxes(blocks, -1, -2)
    if constraint > 0:
        length = np.sqrt((skew**2).sum())
        skew = skew * min(length, constraint) / max(length, 1e-30)
    identity = np.eye(blocks.shape[-1])
    return (identity + skew) @ np.linalg.inv(identity - skew)


def _rotated(base: np.ndarray, layer: Mapping[str, np.ndarray]) -> np.ndarray:
    blocks = layer["oft_blocks"]
    constraint = float(layer.get("alpha", np.array(0.0))) * base.shape[0]
    rotations = _cayley(blocks, constraint)
    rows = base.reshape(base.shape[0], -1)
    if blocks.ndim == 3:
        count, size, _ = rotations.shape
        turned = np.einsum("knm,knx->kmx", rotations, rows.reshape(count, size, -1))
        return turned.reshape(base.shape)
    return _butterfly(rows, rotations).reshape(base.shape)


def _butterfly(rows: np.ndarray, rotations: np.ndarray) -> np.ndarray:
    """Stage s turns blocks of rows taken in pairs that lie 2**s halves of a block apart (arXiv 2311.06243)."""
    count, size = rotations.shape[1:3]
    for stage, rotation in enumerate(rotations):
        distance = 2**stage * size // 2
        order = np.arange(len(rows)).reshape(-1, 2, distance).swapaxes(1, 2).reshape(-1)
        turned = np.einsum("kij,kjx->kix", rotation, rows[order].reshape(count, size, -1))
        rows = np.empty_like(rows)
        rows[order] = turned.reshape(rows.shape)
    return rows


def _rescaled(weight: np.ndarray, layer: Mapping[str, np.ndarray]) -> np.ndarray:
    if "rescale" not in layer:
        return weight
    return weight * layer["rescale"].reshape(-1, *[1] * (weight.ndim - 1))


def _with_magnitudes(direction: np.ndarray, magnitudes: np.ndarray) -> np.ndarray:
    """DoRA: magnitudes of shape (1, in[, 1, 1]) are per input, of (out, 1[, 1, 1]) per output."""
    kept = 1 if magnitudes.shape[0] == 1 and direction.shape[0] != 1 else 0
    others = tuple(axis for axis in range(direction.ndim) if axis != kept)
    return magnitudes * direction / np.sqrt((direction**2).sum(axis=others, keepdims=True))
