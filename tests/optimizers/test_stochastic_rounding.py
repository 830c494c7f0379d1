"""Weights in bfloat16 that are rounded at random."""

import copy
from collections.abc import Callable

import pytest
import torch
from lion_pytorch import Lion
from torch.nn import Parameter
from transformers.optimization import Adafactor

from library.optimizers.exact_state import keep_state_exact
from library.optimizers.flat_adamw import FlatAdamW
from library.optimizers.stochastic_rounding import in_float32, round_stochastically, stochastically_rounded

BFLOAT16 = torch.bfloat16


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("value", [1.001, -1.001, 3e-5, -7.7e20, 1e-39])
def test_exact_on_average(value):
    values = torch.full((200_000,), value)
    rounded = stochastically_rounded(values, generator())
    assert rounded.dtype == BFLOAT16
    neighbours = rounded.unique().double()
    assert len(neighbours) == 2
    gap = float(neighbours[1] - neighbours[0])
    assert neighbours[0] < value < neighbours[1]
    assert gap <= abs(value) / 64 or value == 1e-39
    # a mean of 200,000 draws is off by 0.0011 of the gap, typically
    assert float(rounded.double().mean()) == pytest.approx(float(values[0].double()), abs=gap * 0.006)


def test_what_is_exact_stays():
    values = torch.randn(10_000, generator=generator()).to(BFLOAT16).float()
    values[:4] = torch.tensor([0.0, -0.0, 1e-40, 3.3895e38]).to(BFLOAT16).float()
    rounded = stochastically_rounded(values, generator())
    assert torch.equal(rounded.view(torch.int16), values.to(BFLOAT16).view(torch.int16))


def test_infinities_and_nan_stay():
    inf, nan = float("inf"), float("nan")
    values = torch.tensor([inf, -inf, nan]).repeat(1000)
    values[2::3].view(torch.int32).copy_(torch.tensor([0x7F800001, 0x7FFFFFFF, -1, 0x7FC00000]).repeat(250))
    rounded = stochastically_rounded(values, generator())
    assert (rounded[0::3] == inf).all()
    assert (rounded[1::3] == -inf).all()
    assert rounded[2::3].isnan().all()


def test_draws_are_those_of_the_generator():
    values = torch.randn(1000, generator=generator())
    first, again, other = (stochastically_rounded(values, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


OPTIMIZERS: dict[str, Callable[[list[Parameter]], torch.optim.Optimizer]] = {
    "flat AdamW": lambda weights: FlatAdamW(weights, lr=1e-4, weight_decay=0),
    "AdamW": lambda weights: torch.optim.AdamW(weights, lr=1e-4, weight_decay=0),
    "SGD": lambda weights: torch.optim.SGD(weights, lr=1e-4, momentum=0.0),
    "Lion": lambda weights: Lion(weights, lr=1e-4),
    "Adafactor": lambda weights: Adafactor(weights, lr=1e-4, relative_step=False, scale_parameter=False),
}
STEPS = 1000


def weights() -> list[Parameter]:
    return [Parameter(torch.full((16, 8), 1.0, dtype=BFLOAT16)) for _ in range(4)]


def train(optimizer: torch.optim.Optimizer, parameters: list[Parameter], steps: int) -> None:
    for _ in range(steps):
        for parameter in parameters:
            parameter.grad = torch.ones_like(parameter)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_small_updates_add_up(name):
    """Each is 1e-4 of the weight, a 40th of what bfloat16 can tell from 1."""
    parameters = weights()
    optimizer = OPTIMIZERS[name](parameters)
    round_stochastically(optimizer, seed=1)
    train(optimizer, parameters, STEPS)
    assert {parameter.dtype for parameter in parameters} == {BFLOAT16}
    mean = torch.cat([parameter.detach().double().flatten() for parameter in parameters]).mean()
    assert float(mean) == pytest.approx(1 - STEPS * 1e-4, abs=0.01)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_without_it_they_are_lost(name):
    parameters = weights()
    train(OPTIMIZERS[name](parameters), parameters, 50)
    assert all((parameter == 1).all() for parameter in parameters)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_resumed_exactly(name):
    def begin() -> tuple:
        parameters = weights()
        optimizer = OPTIMIZERS[name](parameters)
        keep_state_exact(optimizer)
        return parameters, optimizer, round_stochastically(optimizer, seed=1)

    through, optimizer, _ = begin()
    train(optimizer, through, 20)
    first, optimizer, rounding = begin()
    train(optimizer, first, 8)
    state, rounding_state = copy.deepcopy(optimizer.state_dict()), rounding.state_dict()
    assert rounding_state == {"step": 8}
    resumed, optimizer, rounding = begin()
    torch._foreach_copy_([weight.data for weight in resumed], [weight.data for weight in first])
    optimizer.load_state_dict(state)
    rounding.load_state_dict(rounding_state)
    for index, moments in optimizer.state_dict()["state"].items():
        for key, value in moments.items():
            if torch.is_tensor(value):
                assert value.dtype == torch.float32
                assert torch.equal(value, state["state"][index][key])
    assert all(torch.equal(*both) for both in zip(first, resumed, strict=True))
    train(optimizer, resumed, 12)
    assert all(torch.equal(*both) for both in zip(through, resumed, strict=True))


def test_weights_are_written_in_place_and_gradients_stay():
    buffer = torch.ones(24, dtype=BFLOAT16)
    parameters = [Parameter(buffer[:12]), Parameter(buffer[12:])]
    for parameter, part in zip(parameters, buffer.split(12), strict=True):
        parameter.data = part
    optimizer = torch.optim.SGD(parameters, lr=0.25)
    round_stochastically(optimizer, seed=1)
    gradient = parameters[0].grad = torch.ones(12, dtype=BFLOAT16)
    optimizer.step()
    assert buffer.tolist() == [0.75] * 12 + [1.0] * 12
    assert parameters[0].grad is gradient
    assert parameters[1].grad is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_other_weights_are_left_to_the_optimizer(dtype):
    both = []
    for rounds in (True, False):
        parameters = [Parameter(torch.full((4,), 0.3, dtype=dtype)), Parameter(torch.ones(4))]
        optimizer = torch.optim.AdamW(parameters, lr=1e-2, eps=1e-4)
        if rounds:
            round_stochastically(optimizer, seed=1)
        train(optimizer, parameters, 5)
        assert optimizer.state_dict()["state"][0]["exp_avg"].dtype == dtype
        both.append(parameters)
    assert all(torch.equal(*pair) for pair in zip(*both, strict=True))


def test_float32_inside():
    parameters = [Parameter(torch.full((4,), 1.0, dtype=BFLOAT16)), Parameter(torch.ones(2))]
    optimizer = torch.optim.SGD(parameters)
    addresses = [parameter.data_ptr() for parameter in parameters]
    with in_float32(optimizer):
        assert [parameter.dtype for parameter in parameters] == [torch.float32] * 2
        for parameter in parameters:
            parameter.data.mul_(1.001)
    assert [parameter.dtype for parameter in parameters] == [BFLOAT16, torch.float32]
    assert [parameter.data_ptr() for parameter in parameters] == addresses
    assert parameters[0].tolist() == [1.0] * 4
    assert parameters[1].tolist() == pytest.approx([1.001] * 2)


def test_a_step_depends_on_seed_and_number_alone():
    values = torch.randn(1000, generator=generator())

    def rounded(seed: int, step: int) -> torch.Tensor:
        rounding = round_stochastically(torch.optim.SGD([Parameter(torch.ones(1))]), seed)
        rounding.load_state_dict({"step": step - 1})
        rounding.begin_step()
        return rounding.round(values)

    assert torch.equal(rounded(1, 5), rounded(1, 5))
    assert not torch.equal(rounded(1, 5), rounded(1, 6))
    assert not torch.equal(rounded(1, 5), rounded(2, 5))
