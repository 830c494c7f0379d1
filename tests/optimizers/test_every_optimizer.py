"""Every optimizer moves what it is given and nothing else, and goes on from a saved state as if it had not stopped."""

import io
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch

from library.diffusion.conditioning import TextConditioning
from library.optimizers.evaluation_weights import averages_weights, evaluation_weights
from library.optimizers.known_optimizers import OPTIMIZERS
from library.optimizers.optimizer_choice import choose_optimizer
from library.optimizers.stochastic_rounding import round_stochastically
from library.options.chosen_optimizer import ChosenOptimizer
from library.options.groups import NetworkOptions, OptimizerOptions
from library.training.network_setup import build_network
from networks.contract import import_network_module
from tests.models.tiny import tiny_adapter

STEPS = 3

PATHS = (
    "bitsandbytes.optim.Adam8bit", "pytorch_optimizer.AdaBelief", "pytorch_optimizer.AdEMAMix",
    "pytorch_optimizer.Adan", "pytorch_optimizer.CAME", "pytorch_optimizer.Prodigy",
    "pytorch_optimizer.ScheduleFreeAdamW", "pytorch_optimizer.SOAP", "schedulefree.AdamWScheduleFreeReference",
    "torch.optim.Adafactor",
)  # fmt: skip
NAMES = (*(known.name for known in OPTIMIZERS), *PATHS)

ARGUMENTS = {
    "SGD": ("momentum=0.9",),
    "ProdigyPlusScheduleFree": ("weight_decay=0.1",),
    "pytorch_optimizer.SOAP": ("precondition_frequency=2",),
}


def options_of(name: str) -> OptimizerOptions:
    """With 8-bit states for the small matrices of the tiny model, too."""
    arguments = ARGUMENTS.get(name, ())
    if name.lower().endswith("8bit"):
        arguments = (*arguments, "min_8bit_size=16")
    return OptimizerOptions(optimizer_type=name, optimizer_args=arguments or None)


def build(name: str, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    options = options_of(name)
    rate = 1.0 if ChosenOptimizer(options).finds_rate else 1e-3
    return choose_optimizer(options).build([{**group, "lr": rate} for group in groups], rate)


@dataclass
class TinyTraining:
    """A LoRA of some linear layers and convolutions of the tiny U-Net. The last of its weights has a gradient, too, but
    the optimizers do not get it."""

    model: Any = field(default_factory=tiny_adapter)

    def __post_init__(self) -> None:
        generator = torch.Generator().manual_seed(3)
        self.network = build_network(
            import_network_module("networks.lora"),
            self.model,
            NetworkOptions(
                network_module="networks.lora",
                network_dim=4,
                network_train_unet_only=True,
                network_args=("include_patterns=up_blocks_3_attentions_2",),
            ),
            OptimizerOptions(learning_rate=1.0),
            {},
            1,
            False,
        ).network
        *self.trained, self.neighbour = self.network.parameters()
        for weight in self.network.parameters():
            weight.data = torch.randn(weight.shape, generator=generator) * 0.05
        self.begin = [weight.detach().clone() for weight in self.trained]
        self.latents = torch.randn(2 * STEPS, 1, 4, 8, 8, generator=generator)
        self.text = TextConditioning(torch.randn(1, 77, 32, generator=generator))

    def reset(self, weights: list[torch.Tensor]) -> list[dict[str, Any]]:
        """Groups for an optimizer, with these weights."""
        for parameter, weight in zip(self.trained, weights, strict=True):
            parameter.data, parameter.grad = weight.clone(), None
        half = len(self.trained) // 2
        return [{"params": self.trained[:half]}, {"params": self.trained[half:]}]

    def step(self, optimizer: torch.optim.Optimizer, number: int) -> None:
        latents = self.latents[number]
        prediction = self.model.predict(latents, torch.tensor([100 * number]), self.text, None)
        (prediction - latents.flip(-1)).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        self.neighbour.grad = None

    def weights(self) -> list[torch.Tensor]:
        return [weight.detach().clone() for weight in self.trained]


@pytest.fixture(scope="module")
def training() -> TinyTraining:
    with torch.random.fork_rng(devices=[]):
        return TinyTraining()


def reloaded(state: dict[str, Any]) -> Any:
    """As another process finds it in a file."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


def assert_same(first: Any, second: Any) -> None:
    """Tensors with their precision, in whatever they are."""
    assert type(first) is type(second)
    if isinstance(first, torch.Tensor):
        assert first.dtype is second.dtype
        assert torch.equal(first, second)
    elif isinstance(first, dict):
        assert first.keys() == second.keys()
        for key, value in first.items():
            assert_same(value, second[key])
    elif isinstance(first, list | tuple):
        assert len(first) == len(second)
        for one, other in zip(first, second, strict=True):
            assert_same(one, other)
    else:
        assert first == second


def has_eight_bit_states(optimizer: torch.optim.Optimizer) -> bool:
    states = [state for state in optimizer.state.values() if "state1" in state]
    return bool(states) and all(state["state1"].dtype is torch.uint8 for state in states)


def only_matrices(training: TinyTraining, name: str, weights: list[torch.Tensor]) -> list[dict[str, Any]]:
    """Muon takes nothing else."""
    groups = training.reset(weights)
    if name != "Muon":
        return groups
    return [{"params": [weight for weight in group["params"] if weight.ndim == 2]} for group in groups]


def test_the_tiny_network_has_all_kinds_of_weights(training):
    assert {weight.ndim for weight in training.trained} == {2, 4}
    assert len(training.trained) == 2 * 12 - 1
    assert len(NAMES) == 48


@pytest.mark.parametrize("name", NAMES)
def test_optimizer(training, name):
    model = {name: weight.clone() for name, weight in training.model._unet.state_dict().items()}
    neighbour = training.neighbour.detach().clone()
    groups = only_matrices(training, name, training.begin)
    optimizer = build(name, groups)
    assert_same(training.weights(), training.begin)
    for number in range(STEPS):
        training.step(optimizer, number)
    assert has_eight_bit_states(optimizer) == name.lower().endswith("8bit")
    weights, state = training.weights(), reloaded(optimizer.state_dict())
    for number in range(STEPS, 2 * STEPS):
        training.step(optimizer, number)
    end, end_state = training.weights(), reloaded(optimizer.state_dict())

    moved = {id(weight) for group in groups for weight in group["params"]}
    for weight, before, after in zip(training.trained, training.begin, end, strict=True):
        assert torch.equal(before, after) == (id(weight) not in moved)
        assert after.isfinite().all()
    assert torch.equal(training.neighbour, neighbour)
    assert_same(dict(training.model._unet.state_dict()), model)

    again = build(name, only_matrices(training, name, weights))
    again.load_state_dict(reloaded(state))
    assert_same(reloaded(again.state_dict()), state)
    for number in range(STEPS, 2 * STEPS):
        training.step(again, number)
    assert_same(training.weights(), end)
    assert_same(reloaded(again.state_dict()), end_state)


# ---- weights in bfloat16, in which not all states are


def half_weights() -> list[torch.nn.Parameter]:
    generator = torch.Generator().manual_seed(4)
    shapes = [(4, 48), (48, 4), (40, 80), (8, 4, 3, 3)]
    return [torch.nn.Parameter(torch.randn(shape, generator=generator).to(torch.bfloat16)) for shape in shapes]


def half_steps(optimizer: torch.optim.Optimizer, numbers: range) -> None:
    for number in numbers:
        generator = torch.Generator().manual_seed(number)
        torch.manual_seed(number)  # some round at random
        for group in optimizer.param_groups:
            for weight in group["params"]:
                weight.grad = torch.randn(weight.shape, generator=generator).to(weight.dtype)
        optimizer.step()


HALF = ("AdamW", "NAdam", "AdaFactor", "CAME", "Prodigy", "ProdigyPlusScheduleFree", "AdamWScheduleFree", "AdamW8bit")


@pytest.mark.parametrize("name", HALF)
def test_states_of_weights_in_half_precision(name):
    with torch.random.fork_rng(devices=[]):
        first = half_weights()
        optimizer = build(name, [{"params": first}])
        half_steps(optimizer, range(STEPS))
        second = [torch.nn.Parameter(weight.detach().clone()) for weight in first]
        again = build(name, [{"params": second}])
        state = reloaded(optimizer.state_dict())
        again.load_state_dict(reloaded(state))
        assert_same(reloaded(again.state_dict()), state)
        for one in (optimizer, again):
            half_steps(one, range(STEPS, 2 * STEPS))
    assert_same([weight.detach() for weight in first], [weight.detach() for weight in second])
    assert_same(reloaded(again.state_dict()), reloaded(optimizer.state_dict()))


# ---- weights to be used

AVERAGING = [name for name in NAMES if "schedulefree" in name.lower()]


@pytest.mark.parametrize("rounded", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", AVERAGING)
def test_weights_to_be_used(name, dtype, rounded):
    with torch.random.fork_rng(devices=[]):
        weights = [torch.nn.Parameter(weight.detach().to(dtype)) for weight in half_weights()]
        places = [weight.data_ptr() for weight in weights]
        optimizer = build(name, [{"params": weights}])
        if rounded:
            round_stochastically(optimizer, seed=1)
        assert averages_weights(optimizer)
        with evaluation_weights(optimizer):  # before the first step, too
            pass
        for group in optimizer.param_groups:
            group["lr"] = 0.1 if group["lr"] < 1 else 1000.0
        half_steps(optimizer, range(8))
        before, state = [weight.detach().clone() for weight in weights], reloaded(optimizer.state_dict())
        with pytest.raises(KeyError), evaluation_weights(optimizer):
            assert not any(torch.equal(weight, old) for weight, old in zip(weights, before, strict=True))
            raise KeyError
        assert_same([weight.detach() for weight in weights], before)
        assert_same(reloaded(optimizer.state_dict()), state)
        assert [weight.data_ptr() for weight in weights] == places
        half_steps(optimizer, range(8, 9))  # it is in training mode again


def test_the_average_is_that_of_the_method():
    """x of Defazio et al. 2024: with y = beta x + (1 - beta) z, trained at y."""
    (weight,) = (torch.nn.Parameter(torch.ones(3)),)
    optimizer = build("SGDScheduleFree", [{"params": [weight]}])
    half_steps(optimizer, range(5))
    z, y = optimizer.state[weight]["z"].clone(), weight.detach().clone()
    with evaluation_weights(optimizer):
        torch.testing.assert_close(weight.detach(), (y - 0.1 * z) / 0.9)


@pytest.mark.parametrize("name", ["AdamW", "Adam", "Prodigy"])
def test_others_have_one_kind_of_weights(name):
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = build(name, [{"params": [weight]}])
    half_steps(optimizer, range(1))
    before = weight.detach().clone()
    with evaluation_weights(optimizer):
        assert torch.equal(weight, before)
        weight.data.zero_()
    assert not weight.any()
