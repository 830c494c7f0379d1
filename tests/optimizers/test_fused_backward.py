"""Steps within the backward pass."""

import copy
from collections.abc import Callable

import pytest
import torch
from lion_pytorch import Lion
from torch import nn
from transformers.optimization import Adafactor

from library.class_paths import find_class
from library.optimizers.fused_backward import step_in_backward
from library.optimizers.known_optimizers import OPTIMIZERS as KNOWN
from library.optimizers.stochastic_rounding import round_stochastically

OPTIMIZERS: dict[str, Callable[[list], torch.optim.Optimizer]] = {
    "AdamW": torch.optim.AdamW,
    "Adam": torch.optim.Adam,
    "SGD": torch.optim.SGD,
    "SGD with momentum": lambda groups: torch.optim.SGD(groups, momentum=0.9, nesterov=True),
    "Lion": Lion,
    "Adafactor": lambda groups: Adafactor(groups, relative_step=False, scale_parameter=True),
    "Adafactor with steps of its own": lambda groups: Adafactor(
        [{**group, "lr": None} for group in groups], relative_step=True
    ),
}
STEPS = 6


class Training:
    def __init__(self, build: Callable[[list], torch.optim.Optimizer], dtype: torch.dtype = torch.float32) -> None:
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 2)).to(dtype)
        layers = [self.model[0], self.model[2], self.model[4]]
        self.optimizer = build([
            {"params": list(layer.parameters()), "lr": lr} for layer, lr in zip(layers, (1e-2, 3e-3, 1e-3), strict=True)
        ])  # fmt: skip
        self.dtype = dtype

    def run(self, steps: range, schedule: bool = False) -> None:
        rates = torch.optim.lr_scheduler.ExponentialLR(self.optimizer, 0.5) if schedule else None
        for step in steps:
            x = torch.randn(3, 5, generator=torch.Generator().manual_seed(step)).to(self.dtype)
            uses = self.model if step % 3 else self.model[:3]  # without the last layer
            uses(x).pow(2).sum().backward()
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
            if rates is not None:
                rates.step()


def assert_same(first: Training, second: Training) -> None:
    ours, theirs = first.model.state_dict(), second.model.state_dict()
    assert len(ours) == 6
    for name, weight in ours.items():
        assert torch.equal(weight, theirs[name])
    torch.testing.assert_close(first.optimizer.state_dict(), second.optimizer.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_same_as_steps_after_the_pass(name):
    plain, fused = Training(OPTIMIZERS[name]), Training(OPTIMIZERS[name])
    before = copy.deepcopy(plain.model.state_dict())
    step_in_backward(fused.optimizer)
    for training in (plain, fused):
        training.run(range(STEPS), schedule="own" not in name)
    assert_same(plain, fused)
    assert all(not torch.equal(weight, before[key]) for key, weight in plain.model.state_dict().items())


SINGLE = [known for known in KNOWN if known.steps_single_weights]


@pytest.mark.filterwarnings("ignore:Paged optimizers are not supported on CPU")
@pytest.mark.parametrize("known", SINGLE, ids=lambda known: known.name)
def test_every_optimizer_that_is_said_to_step_single_weights(known):
    """Matrices alone, since some take no vectors."""

    def train(in_backward: bool) -> list[torch.Tensor]:
        torch.manual_seed(0)
        layers = [nn.Linear(8, 8, bias=False) for _ in range(3)]
        arguments = {**known.default_arguments, **known.fixed_arguments}
        optimizer_class = find_class(known.import_path, known.name)
        rate = None if arguments.get("relative_step") else 1e-2
        optimizer = optimizer_class([layer.weight for layer in layers], lr=rate, **arguments)
        if in_backward:
            step_in_backward(optimizer)
        for step in range(4):
            x = torch.randn(3, 8, generator=torch.Generator().manual_seed(step))
            nn.Sequential(*layers)(x).pow(2).sum().backward()
            optimizer.step()
            assert not in_backward or all(layer.weight.grad is None for layer in layers)
            optimizer.zero_grad(set_to_none=True)
        return [layer.weight.detach() for layer in layers]

    for plain, fused in zip(train(False), train(True), strict=True):
        assert torch.equal(plain, fused)


def test_the_optimizers_that_are_said_to_step_single_weights():
    assert {"AdamW", "SGD", "Lion", "AdaFactor", "AdamW8bit"} <= {known.name for known in SINGLE}
    assert not {known.name for known in SINGLE} & {"Prodigy", "DAdaptation", "AdamWScheduleFree"}


def test_gradients_are_dropped_at_once():
    fused = Training(torch.optim.AdamW)
    step_in_backward(fused.optimizer)
    gradients = []
    for parameter in fused.model.parameters():
        parameter.register_post_accumulate_grad_hook(
            lambda _: gradients.append(sum(p.grad is not None for p in fused.model.parameters()))
        )
    fused.model(torch.ones(1, 5)).sum().backward()
    assert gradients == [0] * 6


def test_a_state_that_is_loaded_is_used():
    """Loading makes new groups."""
    source, plain, fused = (Training(torch.optim.AdamW) for _ in range(3))
    step_in_backward(fused.optimizer)
    source.run(range(3))
    for training in (plain, fused):
        training.optimizer.load_state_dict(copy.deepcopy(source.optimizer.state_dict()))
        training.run(range(3, 6), schedule=True)
    assert_same(plain, fused)


def test_a_weight_that_is_used_twice_steps_once():
    both = []
    for is_fused in (False, True):
        weight = nn.Parameter(torch.ones(3))
        optimizer = torch.optim.SGD([weight], lr=0.1)
        if is_fused:
            step_in_backward(optimizer)
        ((weight * 2).sum() + (weight**2).sum()).backward()
        optimizer.step()
        both.append(weight)
    assert torch.equal(*both)
    assert both[0].tolist() == pytest.approx([0.6] * 3)


def test_with_weights_rounded_at_random():
    training = Training(torch.optim.AdamW, torch.bfloat16)
    rounding = round_stochastically(training.optimizer, seed=1)
    step_in_backward(training.optimizer)
    training.run(range(1, 3))
    states = training.optimizer.state_dict()["state"]
    assert {state["exp_avg"].dtype for state in states.values()} == {torch.float32}
    assert {float(state["step"]) for state in states.values()} == {2.0}
    assert {parameter.dtype for parameter in training.model.parameters()} == {torch.bfloat16}
    assert rounding.step == 2 * (6 + 1)
