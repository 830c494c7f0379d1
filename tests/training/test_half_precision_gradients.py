"""--full_fp16: loss scaling with float16 gradients."""

import pytest
import torch
from accelerate.utils import get_grad_scaler

from library.training.half_precision_gradients import allow_half_gradients

START = [1.0, -2.0, 3.0]
GRADIENT = [0.5, 0.25, -1.0]
SCALE = 1024.0


def scaler_and_optimizer() -> tuple[torch.amp.GradScaler, torch.optim.Optimizer, torch.nn.Parameter]:
    weight = torch.nn.Parameter(torch.tensor(START, dtype=torch.float16))
    scaler = torch.amp.GradScaler("cpu", init_scale=SCALE, growth_interval=1000)
    return scaler, torch.optim.SGD([weight], lr=1.0), weight


def backward(scaler: torch.amp.GradScaler, weight: torch.nn.Parameter, gradient: list[float]) -> None:
    scaler.scale((weight * torch.tensor(gradient, dtype=torch.float16)).sum()).backward()


def test_a_step_uses_the_unscaled_gradient():
    scaler, optimizer, weight = scaler_and_optimizer()
    allow_half_gradients(scaler)
    backward(scaler, weight, GRADIENT)
    assert weight.grad.tolist() == [SCALE * value for value in GRADIENT]
    scaler.unscale_(optimizer)  # as clipping does first
    assert weight.grad.dtype == torch.float16
    assert weight.grad.tolist() == GRADIENT
    scaler.step(optimizer)
    scaler.update()
    assert weight.tolist() == [start - value for start, value in zip(START, GRADIENT, strict=True)]
    assert scaler.get_scale() == SCALE


def test_a_gradient_beyond_the_range_skips_the_step_and_halves_the_scale():
    scaler, optimizer, weight = scaler_and_optimizer()
    allow_half_gradients(scaler)
    backward(scaler, weight, [0.5, 100.0, 0.5])  # 102400 is more than float16 holds
    assert weight.grad.isinf().tolist() == [False, True, False]
    scaler.step(optimizer)
    scaler.update()
    assert weight.tolist() == START
    assert scaler.get_scale() == SCALE / 2


def test_only_the_given_scaler_is_changed():
    changed, *_ = scaler_and_optimizer()
    allow_half_gradients(changed)
    other, optimizer, weight = scaler_and_optimizer()
    backward(other, weight, GRADIENT)
    with pytest.raises(ValueError, match="unscale FP16 gradients"):
        other.unscale_(optimizer)


def test_float32_gradients_and_the_state_of_the_scaler_are_as_before():
    scaler = get_grad_scaler()  # what Accelerator makes
    state = scaler.state_dict()
    allow_half_gradients(scaler)
    assert scaler.state_dict() == state
    weight = torch.nn.Parameter(torch.tensor(START))
    scaler = torch.amp.GradScaler("cpu", init_scale=SCALE)
    allow_half_gradients(scaler)
    optimizer = torch.optim.SGD([weight], lr=1.0)
    scaler.scale((weight * torch.tensor(GRADIENT)).sum()).backward()
    scaler.step(optimizer)
    assert weight.tolist() == [start - value for start, value in zip(START, GRADIENT, strict=True)]
