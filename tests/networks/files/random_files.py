"""Random tensors of network files, for layers of given shapes."""

import math
from collections.abc import Mapping

import torch
from torch import nn

Tensors = dict[str, torch.Tensor]

RANK, ALPHA = 4, 2.0


def normal(*shape: int, seed: int = 0, scale: float = 0.2) -> torch.Tensor:
    return scale * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def lora_of(layer: nn.Module, seed: int = 0, rank: int = RANK, alpha: float = ALPHA) -> Tensors:
    out, *rest = layer.weight.shape
    ones = [1] * (len(rest) - 1)
    return {
        "lora_down.weight": normal(rank, *rest, seed=seed),
        "lora_up.weight": normal(out, rank, *ones, seed=seed + 1),
        "alpha": torch.tensor(alpha),
    }


def dora_of(layer: nn.Module, per_input: bool, seed: int = 0) -> Tensors:
    weight = layer.weight.detach()
    kept = 1 if per_input else 0
    norms = torch.linalg.vector_norm(weight, dim=[axis for axis in range(weight.ndim) if axis != kept], keepdim=True)
    return {**lora_of(layer, seed), "dora_scale": norms * (1 + normal(*norms.shape, seed=seed + 2).abs())}


def every_form(layer: nn.Linear | nn.Conv2d) -> dict[str, Tensors]:
    """Each kind's tensors for a layer with 12 inputs and 8 outputs, in each form that files have of it.

    Shapes as in the tables of the format.
    """
    out, into, *kernel = layer.weight.shape
    columns = math.prod([into, *kernel])
    ones = [1] * len(kernel)
    alpha = {"alpha": torch.tensor(ALPHA)}
    free = {"alpha": torch.tensor(0.0)}
    hada = {
        "hada_w1_a": normal(out, RANK, seed=1), "hada_w1_b": normal(RANK, columns, seed=2),
        "hada_w2_a": normal(out, RANK, seed=3), "hada_w2_b": normal(RANK, columns, seed=4),
    }  # fmt: skip
    first = {"lokr_w1": normal(2, 3, seed=5)}
    first_factored = {"lokr_w1_a": normal(2, 2, seed=6), "lokr_w1_b": normal(2, 3, seed=7)}
    second = {"lokr_w2": normal(4, 4, *kernel, seed=8)}
    second_factored = {"lokr_w2_a": normal(4, RANK, seed=9), "lokr_w2_b": normal(RANK, columns // 3, seed=10)}
    norms_in, norms_out = (dora_of(layer, per_input)["dora_scale"] for per_input in (True, False))
    forms = {
        "lora": lora_of(layer),
        "loha": hada | alpha,
        "lokr, full": first | second | alpha,
        "lokr": first | second_factored | alpha,
        "lokr, first factored": first_factored | second | alpha,
        "lokr, both factored": first_factored | second_factored | alpha,
        "glora": {
            "a1.weight": normal(into, RANK, *ones, seed=11), "a2.weight": normal(RANK, into, *ones, seed=12),
            "b1.weight": normal(out, RANK, *ones, seed=13), "b2.weight": normal(RANK, into, *kernel, seed=14), **alpha,
        },
        "ia3 on inputs": {"weight": _factors(layer, into, 15), "on_input": torch.tensor(1)},
        "ia3 on outputs": {"weight": _factors(layer, out, 16), "on_input": torch.tensor(0)},
        "oft": {"oft_blocks": normal(2, 4, 4, seed=17)} | free,
        "oft, rescaled": {"oft_blocks": normal(2, 4, 4, seed=17), "rescale": 1 + normal(out, 1, *ones, seed=18)} | free,
        "oft, constrained": {"oft_blocks": normal(2, 4, 4, seed=17), "alpha": torch.tensor(0.01)},
        "boft": {"oft_blocks": normal(2, 2, 4, 4, seed=19)} | free,
        "boft, rescaled": {"oft_blocks": normal(2, 2, 4, 4, seed=19), "rescale": 1 + normal(out, 1, *ones)} | free,
        "full": {"diff": normal(out, into, *kernel, seed=20)},
        "full with bias": {"diff": normal(out, into, *kernel, seed=20), "diff_b": normal(out, seed=21)},
    }  # fmt: skip
    if kernel and kernel != ones:
        forms["lora, tucker"] = lora_of(nn.Conv2d(into, out, 1)) | {"lora_mid.weight": normal(RANK, RANK, *kernel)}
        forms["loha, tucker"] = _tucker_hada(out, into, kernel) | alpha
        forms["lokr, tucker"] = first | alpha | {
            "lokr_t2": normal(RANK, RANK, *kernel, seed=22),
            "lokr_w2_a": normal(RANK, 4, seed=23),
            "lokr_w2_b": normal(RANK, 4, seed=24),
        }  # fmt: skip
    for kind in ("lora", "loha", "lokr", "lokr, full"):
        forms[f"{kind}, dora per input"] = forms[kind] | {"dora_scale": norms_in}
        forms[f"{kind}, dora per output"] = forms[kind] | {"dora_scale": norms_out}
    return forms


def _factors(layer: nn.Module, count: int, seed: int) -> torch.Tensor:
    return normal(count, seed=seed) if isinstance(layer, nn.Linear) else normal(1, count, 1, 1, seed=seed)


def _tucker_hada(out: int, into: int, kernel: list[int]) -> Tensors:
    return {
        "hada_t1": normal(RANK, RANK, *kernel, seed=25, scale=1.0),
        "hada_w1_a": normal(RANK, out, seed=26),
        "hada_w1_b": normal(RANK, into, seed=27),
        "hada_t2": normal(RANK, RANK, *kernel, seed=28, scale=1.0),
        "hada_w2_a": normal(RANK, out, seed=29),
        "hada_w2_b": normal(RANK, into, seed=30),
    }


def file_of(layers: Mapping[str, Tensors]) -> Tensors:
    return {f"{name}.{suffix}": tensor for name, layer in layers.items() for suffix, tensor in layer.items()}
