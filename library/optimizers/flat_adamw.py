"""AdamW for networks of many small tensors."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim.adamw import adamw

from library.optimizers.flat_buffers import FlatBuffers, Moments, Run

_FUSED_DEVICES = ("cpu", "cuda", "xpu")
"""where torch has a kernel for the whole step"""

_CHUNK = 2**24
"""Elements of a half-precision buffer that are in float32 at a time."""

_ROW = 4096


class FlatAdamW(torch.optim.AdamW):
    """torch.optim.AdamW (Loshchilov & Hutter 2019, arXiv 1711.05101, algorithm 2) with one buffer for the weights,
    gradients and moments of each parameter group, so that a step is a few calls however many parameters there are.

    Results, the treatment of parameters without a gradient, and state dicts are those of torch's; a state dict of one
    can be loaded into the other. Parameters become views of the buffer: their values are to be changed in place. If
    somebody gives them other storage, they are taken back into a buffer by the next step.

    Of weights in half precision, moments and arithmetic are in float32; `rounding` says how weights go back.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ) -> None:
        self._buffers: list[list[FlatBuffers]] = []
        """of each parameter group: one, or one for each device and data type"""
        self.rounding: Callable[[Tensor], Tensor] | None = None
        """float32 -> bfloat16; None = to the nearest"""
        super().__init__(params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        super().add_param_group(param_group)
        self._buffers.append(_flatten(self.param_groups[-1]["params"]))

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self._take_back()
        for group, buffers in zip(self.param_groups, self._buffers, strict=True):
            for flat in buffers:
                if runs := flat.gather():
                    self._update(group, flat, runs)
                    flat.count_step(runs)
                flat.forget_gradients()
        return loss

    @torch.no_grad()
    def clip_grad_norm_(self, max_norm: float) -> Tensor:
        """Scales all gradients down so that their norm is at most `max_norm`, as torch.nn.utils.clip_grad_norm_ does.

        Returns:
            The norm before, float32, a scalar still on the device.
        """
        self._take_back()
        gathered = [flat.gradients for flat in self._all_buffers() if flat.gather()]
        if not gathered:
            return torch.zeros(())
        device = gathered[0].device
        norm: Tensor = torch.linalg.vector_norm(torch.stack([_norm(part).to(device) for part in gathered]))
        factor = (max_norm / (norm + 1e-6)).clamp(max=1.0)
        for part in gathered:
            part.mul_(factor.to(part.device))
        return norm

    def _update(self, group: Mapping[str, Any], flat: FlatBuffers, runs: Sequence[Run]) -> None:
        if flat.weights.dtype == torch.float32:
            _adamw(group, flat, slice(0, flat.weights.numel()), runs, flat.weights, flat.gradients)
            return
        for part in _chunks(flat.weights.numel()):
            values = flat.weights[part].float()
            _adamw(group, flat, part, runs, values, flat.gradients[part].float())
            if self.rounding is not None and flat.weights.dtype == torch.bfloat16:
                values = self.rounding(values)  # leaves what did not move: it is exact in bfloat16
            flat.weights[part] = values

    def _all_buffers(self) -> Iterator[FlatBuffers]:
        for buffers in self._buffers:
            yield from buffers

    def _take_back(self) -> None:
        for index, buffers in enumerate(self._buffers):
            if not all(flat.holds_weights for flat in buffers):
                known = {parameter: moments for flat in buffers for parameter, moments in flat.moments()}
                self._buffers[index] = _flatten(self.param_groups[index]["params"])
                for flat in self._buffers[index]:
                    flat.load(known)

    def state_dict(self) -> dict[str, Any]:
        """That of torch's AdamW: steps and moments of each parameter that took a step; the moments are views."""
        for flat in self._all_buffers():
            for parameter, moments in flat.moments():
                self.state[parameter] = {
                    "step": torch.tensor(float(moments.steps)),
                    "exp_avg": moments.exp_avg,
                    "exp_avg_sq": moments.exp_avg_sq,
                }
        try:
            return super().state_dict()
        finally:
            self.state.clear()  # steps are counted elsewhere

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Copies the moments into the buffers, in float32 whatever the parameters' data type is.

        Raises:
            ValueError: the groups are others, or it is the state of AdamW with an option that this one lacks.
        """
        for option in ("amsgrad", "maximize"):
            if any(group.get(option) for group in state_dict["param_groups"]):
                raise ValueError(f"this is a state of AdamW with {option}, which is not known here")
        super().load_state_dict({**state_dict, "state": {}})
        saved = [index for group in state_dict["param_groups"] for index in group["params"]]
        parameters = [parameter for group in self.param_groups for parameter in group["params"]]
        states = state_dict["state"]
        known = {
            parameter: Moments(int(states[index]["step"]), states[index]["exp_avg"], states[index]["exp_avg_sq"])
            for index, parameter in zip(saved, parameters, strict=True)
            if index in states
        }
        with torch.no_grad():
            for flat in self._all_buffers():
                flat.load(known)


@torch.no_grad()
def _flatten(parameters: Iterable[Parameter]) -> list[FlatBuffers]:
    alike = defaultdict(list)
    for parameter in parameters:
        alike[parameter.device, parameter.dtype].append(parameter)
    return [FlatBuffers(group) for group in alike.values()]


def _norm(values: Tensor) -> Tensor:
    """Euclidean norm of a vector, in float32. The norms of rows come first: a CPU that adds tens of millions of squares
    one by one is wrong in the third digit."""
    rest = values.numel() % _ROW
    whole = values.numel() - rest
    rows = torch.linalg.vector_norm(values[:whole].view(-1, _ROW), dim=1, dtype=torch.float32)
    last = torch.linalg.vector_norm(values[whole:], dtype=torch.float32)
    norm: Tensor = torch.linalg.vector_norm(torch.cat([rows, last[None]]))
    return norm


def _chunks(size: int) -> Iterator[slice]:
    for start in range(0, size, _CHUNK):
        yield slice(start, min(start + _CHUNK, size))


def _adamw(
    group: Mapping[str, Any], flat: FlatBuffers, part: slice, runs: Sequence[Run], values: Tensor, gradients: Tensor
) -> None:
    """One step of the float32 `values`, in place, as far as they are in one of the runs.

    Args:
        part: where values and gradients lie in the buffers.
    """
    overlaps = [(slice(max(run.elements.start, part.start), min(run.elements.stop, part.stop)), run) for run in runs]
    within = [(elements, run.steps) for elements, run in overlaps if elements.start < elements.stop]
    inside = [slice(elements.start - part.start, elements.stop - part.start) for elements, _ in within]
    is_fused = values.device.type in _FUSED_DEVICES
    adamw(
        [values[elements] for elements in inside],
        [gradients[elements] for elements in inside],
        [flat.exp_avg[elements] for elements, _ in within],
        [flat.exp_avg_sq[elements] for elements, _ in within],
        [],
        _on_device([steps for _, steps in within], values.device if is_fused else torch.device("cpu")),
        foreach=False, fused=is_fused, amsgrad=False, maximize=False,
        lr=group["lr"], beta1=group["betas"][0], beta2=group["betas"][1],
        weight_decay=group["weight_decay"], eps=group["eps"],
    )  # fmt: skip


def _on_device(steps: Sequence[int], device: torch.device) -> list[Tensor]:
    """Steps that were taken, as torch wants them. The copy is from pinned memory: nothing waits for it."""
    counts = torch.tensor(steps, dtype=torch.float32, pin_memory=device.type != "cpu")
    return list(counts.to(device, non_blocking=True).unbind())
