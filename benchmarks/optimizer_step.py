"""A step of AdamW with clipping on SDXL's LoRA: ours on flat buffers against torch's.

    python benchmarks/optimizer_step.py [--device cuda] [--rounds 15] [--rank 16] [--threads 2]

In one process, in turns, each with the same new gradients: the norm is clipped, the weights step, the gradients are
dropped. Once with the shapes of a LoRA for the U-Net as networks.lora makes it by default, once with tensors of four
elements in their place, which shows what calls cost.
"""

import argparse
import math
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.nn import Parameter

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from library.optimizers.flat_adamw import FlatAdamW
from library.optimizers.gradient_clipping import clip_gradients
from tests.models.full_size import empty_sdxl_unet

GOAL = 0.35
"""of the time that torch's AdamW takes with foreach, as it does by default on GPUs"""
BASE = "torch, foreach"
TINY = (2, 2)
MEBIBYTE = 2**20

Shape = tuple[int, ...]
Clip = Callable[[torch.optim.Optimizer], torch.Tensor]


@dataclass(frozen=True)
class Contender:
    name: str
    optimizer: torch.optim.Optimizer
    clip: Clip

    @property
    def parameters(self) -> list[Parameter]:
        return [parameter for group in self.optimizer.param_groups for parameter in group["params"]]

    def measure(self, gradients: Sequence[torch.Tensor], wait: Callable[[], None]) -> float:
        """Seconds for a step with copies of the gradients."""
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = gradient.clone()
        wait()
        begin = time.perf_counter()
        self.clip(self.optimizer)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        wait()
        return time.perf_counter() - begin


def lora_shapes(rank: int) -> list[Shape]:
    """Of both matrices for each linear layer of the U-Net's transformers."""
    shapes = []
    for name, module in empty_sdxl_unet().named_modules():
        if "attentions" in name and isinstance(module, nn.Linear):
            shapes += [(rank, module.in_features), (module.out_features, rank)]
    return shapes


def build_contenders(shapes: Sequence[Shape], device: str) -> list[Contender]:
    values = [torch.randn(shape, device=device) for shape in shapes]

    def weights() -> list[Parameter]:
        return [Parameter(value.clone()) for value in values]

    def clip_with(foreach: bool) -> Clip:
        return lambda optimizer: torch.nn.utils.clip_grad_norm_(optimizer.param_groups[0]["params"], 1, foreach=foreach)

    return [
        Contender("flat", FlatAdamW(weights()), lambda optimizer: clip_gradients(optimizer, 1)),
        Contender(BASE, torch.optim.AdamW(weights(), foreach=True), clip_with(foreach=True)),
        Contender("torch, fused", torch.optim.AdamW(weights(), fused=True), clip_with(foreach=True)),
        Contender("torch, one by one", torch.optim.AdamW(weights(), foreach=False), clip_with(foreach=False)),
    ]


def measure(shapes: Sequence[Shape], device: str, rounds: int) -> dict[str, list[float]]:
    """Seconds of each contender in each round."""
    contenders = build_contenders(shapes, device)
    wait = torch.cuda.synchronize if device == "cuda" else _do_nothing
    times: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    for round_ in range(rounds + 1):
        gradients = [torch.randn(shape, device=device) for shape in shapes]
        first = round_ % len(contenders)
        for contender in contenders[first:] + contenders[:first]:
            seconds = contender.measure(gradients, wait)
            if round_ > 0:  # the first step makes the optimizer's state
                times[contender.name].append(seconds)
    _require_same_weights(contenders)
    return times


def _do_nothing() -> None:
    """On a CPU everything is done when a call returns."""


def _require_same_weights(contenders: Sequence[Contender]) -> None:
    first, *others = contenders
    for other in others:
        pairs = zip(first.parameters, other.parameters, strict=True)
        error = max(float((ours - theirs).detach().abs().max()) for ours, theirs in pairs)
        if error > 1e-5:
            raise SystemExit(f"{first.name} and {other.name} differ by {error}")


def report(title: str, shapes: Sequence[Shape], device: str, rounds: int) -> None:
    times = measure(shapes, device, rounds)
    size = sum(map(math.prod, shapes))
    print(f"\n{title}: {len(shapes):,} tensors, {size:,} elements, {4 * size / MEBIBYTE:.1f} MiB in float32")
    print("| AdamW, clipping, dropping the gradients | ms | of foreach |")
    print("|---|---|---|")
    for name, seconds in times.items():
        ratio = statistics.median(own / base for own, base in zip(seconds, times[BASE], strict=True))
        verdict = f" (goal: {GOAL})" if name == "flat" else ""
        print(f"| {name} | {1000 * statistics.median(seconds):.2f} | {ratio:.3f}{verdict} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", choices=["cpu", "cuda"])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    shapes = lora_shapes(options.rank)
    report(f"LoRA of rank {options.rank} for SDXL's U-Net", shapes, options.device, options.rounds)
    report("tiny", [TINY] * len(shapes), options.device, options.rounds)


if __name__ == "__main__":
    main()
