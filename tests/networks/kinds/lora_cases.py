"""Layers with LoRA for tests, and its formula written out."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from networks.kinds.lora import LoRALayer

# The layers are so small that more threads would only wait for each other.
torch.set_num_threads(1)

RANK, ALPHA = 4, 3.0
SCALE = ALPHA / RANK
KINDS = {
    "linear": lambda: nn.Linear(6, 5),
    "linear without bias": lambda: nn.Linear(6, 5, bias=False),
    "1x1 convolution": lambda: nn.Conv2d(6, 5, 1),
    "1x1 convolution without bias": lambda: nn.Conv2d(6, 5, 1, bias=False),
    "3x3 convolution": lambda: nn.Conv2d(6, 5, 3, padding=1),
    "3x3 convolution with stride 2": lambda: nn.Conv2d(6, 5, 3, stride=2, padding=1, bias=False),
    "3x3 convolution, tucker": lambda: nn.Conv2d(6, 5, 3, stride=2, padding=1),
}
DTYPES = {"float64": torch.float64, "float32": torch.float32}

every_kind = pytest.mark.parametrize("kind", KINDS)


def build(kind: str, dtype=torch.float64, trained=True, **options) -> tuple[nn.Module, LoRALayer]:
    """A layer and its adapter; a trained one has an `up` that is not zero."""
    layer = KINDS[kind]().to(dtype).requires_grad_(False)
    settings = {"rank": RANK, "alpha": ALPHA, "has_mid": kind.endswith("tucker"), **options}
    adapter = LoRALayer("some_layer", layer, **settings).to(dtype)
    if trained:
        nn.init.normal_(adapter.lora_up.weight)
    return layer, adapter


def values_for(layer: nn.Module, dtype=torch.float64) -> torch.Tensor:
    shape = (3, 6, 4, 5) if isinstance(layer, nn.Conv2d) else (3, 7, 6)
    return torch.randn(shape, dtype=dtype)


def apply_weight(layer: nn.Module, weight: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    if isinstance(layer, nn.Conv2d):
        return functional.conv2d(x, weight, None, layer.stride, layer.padding)
    return functional.linear(x, weight)


def written_out(layer: nn.Module, adapter: LoRALayer) -> torch.Tensor:
    """alpha / rank * up @ down, element by element."""
    scale = adapter.alpha.item() / adapter.lora_dim
    down, up = adapter.lora_down.weight, adapter.lora_up.weight.flatten(1)
    if adapter.lora_mid is not None:
        return scale * torch.einsum("mnhw,om,ni->oihw", adapter.lora_mid.weight, up, down.flatten(1))
    return scale * torch.einsum("or,ri->oi", up, down.flatten(1)).reshape(layer.weight.shape)


def close(first: torch.Tensor, second: torch.Tensor, tolerance: float = 1e-10) -> None:
    torch.testing.assert_close(first, second, rtol=tolerance, atol=tolerance)
