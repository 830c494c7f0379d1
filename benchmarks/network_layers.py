"""Layers with a LoRA or DoRA: ours against those of PEFT and LyCORIS.

    python benchmarks/network_layers.py [--device cuda] [--rounds 15] [--rank 16] [--threads 2]

In one process, in turns: time of a forward and backward pass that also gives the input its gradient; what is kept
between the two; the greatest error of gradients against plain autograd; how much of a small change is left in half
precision; and three layers with the same input, with and without a shared projection.
"""

import argparse
import math
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from lycoris.modules.locon import LoConModule
from peft import LoraConfig
from peft.tuners.lora.layer import Linear as PeftLinear
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from networks.kinds.lora import LoRALayer
from networks.layers.ranked_layer import Decomposition
from networks.layers.shared_projection import SharedProjection

SIZES = [(width, tokens) for width in (640, 1280) for tokens in (1024, 4096)]
GOALS = {
    ("LoRA", "LoRA of PEFT"): 0.90,
    ("LoRA", "LoRA of LyCORIS"): 0.50,
    ("DoRA", "DoRA of PEFT"): 0.85,
    ("DoRA", "DoRA of LyCORIS"): 0.65,
}
RELATIVE_CHANGES = (1e-4, 1e-3, 1e-2)
MEBIBYTE = 2**20


@dataclass(frozen=True)
class Adapted:
    """A layer with a network on it."""

    layer: nn.Linear
    """with its own weights; ours and LyCORIS's hook into it"""
    network: nn.Module
    down: nn.Parameter
    up: nn.Parameter
    magnitude: nn.Parameter | None = None

    def __call__(self, x: Tensor) -> Tensor:
        return self.network(x)

    def parameters(self) -> list[Tensor]:
        return [one for one in (self.down, self.up, self.magnitude) if one is not None]


def make_layer(width: int, device: str, dtype: torch.dtype) -> nn.Linear:
    torch.manual_seed(0)
    layer = nn.Linear(width, width).to(device, dtype)
    layer.weight.data.normal_(std=width**-0.5)
    return layer.requires_grad_(False)


def ours(layer: nn.Linear, rank: int, decomposition: Decomposition | None = None) -> Adapted:
    made = LoRALayer("lora", layer, rank, decomposition=decomposition).to(layer.weight.device)
    made.hook_into_layer()
    return Adapted(layer, made, made.lora_down.weight, made.lora_up.weight, getattr(made, "dora_scale", None))


def of_peft(layer: nn.Linear, rank: int, use_dora: bool = False) -> Adapted:
    config = LoraConfig(r=rank, lora_alpha=rank, use_dora=use_dora)
    made = PeftLinear(layer, "default", config, r=rank, lora_alpha=rank)
    magnitude = made.lora_magnitude_vector["default"].weight if use_dora else None
    for factor in (made.lora_A, made.lora_B):
        factor.float()
    return Adapted(layer, made, made.lora_A["default"].weight, made.lora_B["default"].weight, magnitude)


def of_lycoris(layer: nn.Linear, rank: int, use_dora: bool = False) -> Adapted:
    made = LoConModule("lora", layer, lora_dim=rank, alpha=rank, weight_decompose=use_dora).to(layer.weight.device)
    made.apply_to()
    return Adapted(layer, made, made.lora_down.weight, made.lora_up.weight, made.dora_scale if use_dora else None)


KINDS: dict[str, Callable[[nn.Linear, int], Adapted]] = {
    "LoRA": ours,
    "LoRA of PEFT": of_peft,
    "LoRA of LyCORIS": of_lycoris,
    "DoRA": lambda layer, rank: ours(layer, rank, Decomposition()),
    "DoRA, per output": lambda layer, rank: ours(layer, rank, Decomposition(per_input=False)),
    "DoRA of PEFT": lambda layer, rank: of_peft(layer, rank, use_dora=True),
    "DoRA of LyCORIS": lambda layer, rank: of_lycoris(layer, rank, use_dora=True),
}


def make(kind: str, width: int, rank: int, device: str, dtype: torch.dtype = torch.float32) -> Adapted:
    """The same change, of a tenth of the weight's norm, for every kind."""
    adapted = KINDS[kind](make_layer(width, device, dtype), rank)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for factor, size in ((adapted.down, width**-0.5), (adapted.up, 0.1 * rank**-0.5)):
            factor.copy_(size * torch.randn(factor.shape, generator=generator))
    return adapted


def interleaved(passes: dict[str, Callable[[], None]], rounds: int, device: str) -> dict[str, float]:
    """The shortest of each one's times, in seconds."""
    best = dict.fromkeys(passes, math.inf)
    for _ in range(rounds):
        for name, run in passes.items():
            start = _now(device)
            run()
            best[name] = min(best[name], _now(device) - start)
    return best


def _now(device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
    elif torch.get_num_threads() == 1:
        return time.process_time()  # without what other programs take of the core
    return time.perf_counter()


def forward_and_backward(layers: list[Adapted], x: Tensor, gradient: Tensor, is_half: bool) -> None:
    with torch.autocast(x.device.type, torch.bfloat16, enabled=is_half):
        outputs = [layer(x) for layer in layers]
    wanted = [parameter for layer in layers for parameter in layer.parameters()]
    torch.autograd.grad(outputs, [x, *wanted], [gradient] * len(outputs))


def report_speed(device: str, rounds: int, rank: int, is_half: bool) -> None:
    dtype = torch.bfloat16 if is_half else torch.float32
    ratios: dict[tuple[str, str], list[float]] = {pair: [] for pair in GOALS}
    shared_ratios, frozen_ratios = [], []
    print(f"forward and backward pass in {dtype}, ms")
    for width, tokens in SIZES:
        x = torch.randn(1, tokens, width, device=device, dtype=dtype, requires_grad=True)
        gradient = torch.randn_like(x)
        kinds = {kind: [make(kind, width, rank, device, dtype)] for kind in KINDS}
        alone, together = ([make("LoRA", width, rank, device, dtype) for _ in range(3)] for _ in range(2))
        shared = SharedProjection([layer.down for layer in together])
        for place, layer in enumerate(together):
            layer.network.share_projection(shared, place)
        kinds |= {"three alone": alone, "three sharing": together}
        frozen = make_layer(width, device, dtype)
        passes = {
            name: lambda layers=layers, x=x, gradient=gradient: forward_and_backward(layers, x, gradient, is_half)
            for name, layers in kinds.items()
        }
        passes["frozen"] = lambda frozen=frozen, x=x, gradient=gradient: torch.autograd.grad(frozen(x), x, gradient)
        best = interleaved(passes, rounds, device)
        print(f"  {width}/{tokens}: " + ", ".join(f"{name} {seconds * 1e3:.2f}" for name, seconds in best.items()))
        for mine, other in GOALS:
            ratios[mine, other].append(best[mine] / best[other])
        frozen_ratios.append(best["frozen"] / best["LoRA of PEFT"])
        shared_ratios.append(best["three sharing"] / best["three alone"])
    for (mine, other), found in ratios.items():
        each = ", ".join(f"{ratio:.2f}" for ratio in found)
        print(f"  {mine} / {other}: {_mean(found):.3f} ({each}); goal {GOALS[mine, other]:.2f}")
    print(f"  the layer without a network / LoRA of PEFT: {_mean(frozen_ratios):.3f}")
    print(f"  three layers sharing their projection / each alone: {_mean(shared_ratios):.3f}")


def _mean(ratios: Iterable[float]) -> float:
    return math.exp(sum(map(math.log, found := list(ratios))) / len(found))


def report_kept(device: str, rank: int, width: int = 1280, tokens: int = 4096) -> None:
    """Storages that autograd keeps beyond the input and what exists anyway."""
    print(f"kept for the backward pass beside input, weights and factors, {width}/{tokens}, fp32, MiB")
    for kind in KINDS:
        adapted = make(kind, width, rank, device)
        x = torch.randn(1, tokens, width, device=device, requires_grad=True)
        kept: dict[int, int] = {}

        def note(tensor: Tensor, kept: dict[int, int] = kept) -> Tensor:
            storage = tensor.untyped_storage()
            kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            output = adapted(x)
        known = [x, *adapted.layer.parameters(), *adapted.parameters()]
        of_others = {at: size for at, size in kept.items() if at not in {t.untyped_storage().data_ptr() for t in known}}
        of_output = of_others.pop(output.untyped_storage().data_ptr(), 0)
        note_on_output = f" and its output, {of_output / MEBIBYTE:.1f}" if of_output else ""
        print(f"  {kind}: {sum(of_others.values()) / MEBIBYTE:.2f}{note_on_output}")


def report_gradient_errors(device: str, rank: int, width: int = 640, tokens: int = 256) -> None:
    print("greatest error of gradients against plain autograd, fp32, of the greatest gradient")
    for kind in ("LoRA", "DoRA", "DoRA, per output"):
        adapted = make(kind, width, rank, device)
        x = torch.randn(1, tokens, width, device=device, requires_grad=True)
        wanted, weights = [x, *adapted.parameters()], torch.randn_like(x)
        found = torch.autograd.grad(adapted(x), wanted, weights)
        plain = torch.autograd.grad(adapted.network.reference_output(x), wanted, weights)
        print(f"  {kind}: {max(_greatest_error(*pair) for pair in zip(found, plain, strict=True)):.1e}")


def _greatest_error(found: Tensor, true: Tensor) -> float:
    return ((found - true).abs().max() / true.abs().max()).item()


def report_fidelity(device: str, rank: int, width: int = 1280, tokens: int = 1024) -> None:
    """Share of a change that is in the output (slope of least squares), with base weights in bf16 under autocast.

    A LoRA's change is its factors' product; with DoRA, what changes is the magnitudes, each by another random number.
    """
    print(f"share of a change in the output, bf16; change of the weight {RELATIVE_CHANGES}")
    x = torch.randn(1, tokens, width, device=device).bfloat16()
    for kind in KINDS:
        shares = [_share(make(kind, width, rank, device, torch.bfloat16), x, change) for change in RELATIVE_CHANGES]
        print(f"  {kind}: " + ", ".join(f"{share:.3f}" for share in shares))


@torch.no_grad()
def _share(adapted: Adapted, x: Tensor, relative_change: float) -> float:
    weight = adapted.layer.weight.double()
    if adapted.magnitude is None:
        product = adapted.up.double() @ adapted.down.double()
        adapted.up.mul_(relative_change * weight.norm() / product.norm())
        change = adapted.up.double() @ adapted.down.double()
    else:
        adapted.up.zero_()
        noise = relative_change * torch.randn(adapted.magnitude.shape, device=x.device)
        norms = weight.norm(dim=0 if tuple(noise.shape) == (1, len(weight)) else 1).view(noise.shape)
        adapted.magnitude.copy_(norms * (1 + noise))
        change = weight * (adapted.magnitude.double() / norms - 1).view(noise.shape if noise.ndim == 2 else (-1, 1))
    true, base = x.double() @ change.t(), x.double() @ weight.t() + adapted.layer.bias.double()
    with torch.autocast(x.device.type, torch.bfloat16):
        output = adapted(x).double()
    return (((output - base) * true).sum() / true.square().sum()).item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", choices=["cpu", "cuda"])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    report_gradient_errors(options.device, options.rank)
    report_fidelity(options.device, options.rank)
    report_kept(options.device, options.rank)
    report_speed(options.device, options.rounds, options.rank, is_half=False)
    if options.device == "cuda":
        report_speed(options.device, options.rounds, options.rank, is_half=True)


if __name__ == "__main__":
    main()
