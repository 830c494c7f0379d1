"""Images on which the network is to change nothing: their target is what the model says without it."""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pytest
import torch

from library.dataset.batches.draws import Draws
from library.dataset.batches.training_batch import TrainingBatch
from library.models.family import SD1, SD2, SDXL, VELOCITY, ModelFamily, predicting_velocity
from library.options.groups import LossOptions, NetworkOptions, NoiseOptions, OptimizerOptions, TimestepOptions
from library.training.network_setup import build_network
from library.training.network_strength import without_network, working_at
from library.training.objective import BatchLosses, Objective, build_objective
from library.training.output_preservation import OutputPreservation
from networks.contract import import_network_module
from tests.models.tiny_families import tiny_adapter_of
from tests.training.optimizer_steps import optimizer_step

CPU = torch.device("cpu")
CAPTIONS = ("sks cat", "a dog", "sks cat, outdoors")
PRESERVED = torch.tensor([1])
FAMILIES = [SD1, predicting_velocity(SD2), SDXL]
DROPOUTS = ("module_dropout=0.5", "rank_dropout=0.3")


@dataclass
class Setting:
    model: Any
    network: Any
    objective: Objective
    strengths: list[float]
    """that the network was set to"""

    def losses(self, batch: TrainingBatch, seed: int = 5) -> BatchLosses:
        torch.manual_seed(seed)
        return self.objective.losses(self.model, batch)

    def gradients(self, losses: BatchLosses) -> dict[str, torch.Tensor]:
        self.network.zero_grad()
        losses.weighted.mean().backward()
        return {
            name: parameter.grad.clone()
            for name, parameter in self.network.named_parameters()
            if parameter.grad is not None
        }


def setting_of(
    family: ModelFamily = SD1, module: str = "networks.lora", arguments=(), unet_only=False, checkpointing=False, **loss
) -> Setting:
    """A network that changes what the model says a good deal."""
    model = tiny_adapter_of(family)
    if checkpointing:
        model.enable_gradient_checkpointing(in_main_memory=False)
    options = NetworkOptions(
        network_module=module, network_dim=4, network_args=arguments, network_train_unet_only=unet_only
    )
    made = import_network_module(module)
    network = build_network(made, model, options, OptimizerOptions(learning_rate=0.1), {}, 1, checkpointing).network
    generator = torch.Generator().manual_seed(2)
    for parameter in network.parameters():
        parameter.data += 0.2 * torch.randn(parameter.shape, generator=generator)
    network.train()
    strengths: list[float] = []
    set_multiplier = network.set_multiplier

    def record(strength: float) -> None:
        strengths.append(strength)
        set_multiplier(strength)

    network.set_multiplier = record
    preservation = OutputPreservation(partial(without_network, network), adapts_text_encoders=not unet_only)
    is_velocity = family.prediction_type == VELOCITY
    objective = build_objective(NoiseOptions(), TimestepOptions(), LossOptions(**loss), is_velocity, CPU, preservation)
    return Setting(model, network, objective, strengths)


def batch_for(model: Any, preserved: torch.Tensor | None = PRESERVED) -> TrainingBatch:
    generator = torch.Generator().manual_seed(3)
    noise, latents = (torch.randn(3, 4, 8, 8, generator=generator) for _ in range(2))
    return TrainingBatch(
        index=4,
        image_ids=("a", "b", "c"),
        captions=CAPTIONS,
        tokens=model.tokenize(CAPTIONS),
        text=None,
        sizes=torch.tensor([[64, 64, 0, 0, 64, 64], [80, 64, 0, 8, 64, 64], [64, 96, 16, 0, 64, 64]]),
        pixels=None,
        latents=latents,
        loss_weights=torch.tensor([1.0, 0.5, 1.0]),
        draws=Draws(noise, None, None, torch.tensor([0.1, 0.5, 0.9])),
        preserved=preserved,
    )


@dataclass
class Predictions:
    """Of a fresh model without a network, for everything in a batch."""

    family: ModelFamily

    @torch.no_grad()
    def of(self, objective: Objective, batch: TrainingBatch, text=None) -> torch.Tensor:
        model, noising = tiny_adapter_of(self.family), objective.noising
        timesteps = noising.timesteps(batch.draws)
        noisy = noising.noisy_latents(batch.latents, batch.draws.noise, timesteps, batch.draws)
        return model.predict(noisy, timesteps, text or model.encode_text(batch.tokens), batch.sizes)


def with_target(setting: Setting, batch: TrainingBatch, target: torch.Tensor, seed: int = 5) -> BatchLosses:
    """The losses if the target of the preserved rows is this one, and nothing else is computed."""
    objective = replace(setting.objective, preservation=_Given(target))
    torch.manual_seed(seed)
    return objective.losses(setting.model, batch)


@dataclass(frozen=True)
class _Given:
    target: torch.Tensor

    def predictions(self, model, batch, noisy_latents, timesteps, text) -> torch.Tensor:
        return self.target[batch.preserved]


def assert_same_gradients(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], rtol: float) -> None:
    assert found.keys() == expected.keys()
    assert len(found) > 50
    largest = max(gradient.abs().max().item() for gradient in expected.values())
    assert largest > 0
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, expected[name], rtol=rtol, atol=rtol * largest)


@pytest.mark.parametrize("checkpointing", [False, True], ids=["", "checkpointing"])
@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_the_target_is_what_the_model_says_without_the_network(family, checkpointing):
    """Text encoders included; and dropouts and gradients are as they would be if it had been known before."""
    setting = setting_of(family, arguments=DROPOUTS, checkpointing=checkpointing)
    batch = batch_for(setting.model)
    target = Predictions(family).of(setting.objective, batch)
    found, expected = setting.losses(batch), with_target(setting, batch, target)
    torch.testing.assert_close(found.unweighted, expected.unweighted, rtol=1e-5, atol=1e-7)
    usual = setting.losses(batch_for(setting.model, preserved=None))
    assert torch.equal(found.unweighted[[0, 2]], usual.unweighted[[0, 2]]), "other rows, with their dropouts"
    assert found.unweighted[1] != usual.unweighted[1]
    assert_same_gradients(
        setting.gradients(setting.losses(batch)), setting.gradients(with_target(setting, batch, target)), rtol=1e-4
    )


@pytest.mark.parametrize("options", [{"loss_type": "huber"}, {"min_snr_gamma": 5.0}, {"loss_type": "l1"}])
def test_it_is_compared_and_weighted_as_every_other_target(options):
    setting = setting_of(**options)
    batch = batch_for(setting.model)
    expected = with_target(setting, batch, Predictions(SD1).of(setting.objective, batch))
    torch.testing.assert_close(setting.losses(batch).weighted, expected.weighted, rtol=1e-5, atol=1e-7)


def test_a_network_that_changes_nothing_has_nothing_to_learn():
    setting = setting_of()
    for name, parameter in setting.network.named_parameters():
        if "lora_up" in name:
            torch.nn.init.zeros_(parameter)
    every_row = torch.arange(3)
    assert setting.losses(batch_for(setting.model, every_row)).unweighted.tolist() == [0, 0, 0]


@pytest.mark.parametrize("strength", [1.0, 0.3])
def test_the_network_has_the_strength_of_the_batch_again(strength):
    setting = setting_of()
    batch = replace(batch_for(setting.model), network_multiplier=strength)
    with working_at(strength, setting.network):
        found = setting.losses(batch)
        expected = with_target(setting, batch, Predictions(SD1).of(setting.objective, batch))
    torch.testing.assert_close(found.unweighted, expected.unweighted, rtol=1e-5, atol=1e-7)
    assert setting.strengths == ([0.0, 1.0] if strength == 1 else [strength, 0.0, strength, 1.0])


def test_the_network_has_its_strength_again_after_an_error():
    setting = setting_of()
    with pytest.raises(RuntimeError), without_network(setting.network, 0.3):
        raise RuntimeError
    assert setting.strengths == [0.0, 0.3]


def test_captions_are_read_again_only_where_the_network_changes_how():
    counted: list[int] = []
    for unet_only, cached in ((False, False), (True, False), (True, True)):
        setting = setting_of(unet_only=unet_only)
        batch = batch_for(setting.model)
        text = setting.model.encode_text(batch.tokens)
        if cached:
            batch = replace(batch, tokens=None, text=text)
        target = Predictions(SD1).of(setting.objective, batch, text if unet_only else None)
        rows = []
        encode = setting.model.encode_text
        setting.model.encode_text = lambda tokens, rows=rows, encode=encode: (
            rows.append(len(tokens.ids[0])) or encode(tokens)
        )
        found = setting.losses(batch)
        counted.append(rows)
        setting.model.encode_text = encode
        expected = with_target(setting, batch, target)
        torch.testing.assert_close(found.unweighted, expected.unweighted, rtol=1e-5, atol=1e-7)
    assert counted == [[3, 1], [3], []]


class DrawingModel:
    """Draws random numbers whether or not the network is at work, as the dropouts of some networks do."""

    def predict(self, noisy_latents, timesteps, text, sizes):
        return torch.rand(noisy_latents.shape)


def test_dropouts_do_not_change_because_the_model_is_asked_twice():
    setting = setting_of(unet_only=True)
    batch = batch_for(setting.model)
    batch = replace(batch, text=setting.model.encode_text(batch.tokens), tokens=None)
    setting.model = DrawingModel()
    found, usual = setting.losses(batch), setting.losses(replace(batch, preserved=None))
    assert torch.equal(found.unweighted[[0, 2]], usual.unweighted[[0, 2]])
    assert found.unweighted[1] != usual.unweighted[1]


def test_half_precision_keeps_its_gradients():
    setting = setting_of(module="lycoris.kohya", arguments=("algo=locon",))
    batch = batch_for(setting.model)
    with torch.autocast("cpu", torch.bfloat16):
        target = Predictions(SD1).of(setting.objective, batch)
    with torch.autocast("cpu", torch.bfloat16):
        found = setting.losses(batch)
    with torch.autocast("cpu", torch.bfloat16):
        expected = with_target(setting, batch, target)
    assert_same_gradients(setting.gradients(found), setting.gradients(expected), rtol=2e-2)


def test_networks_of_others():
    setting = setting_of(module="lycoris.kohya", arguments=("algo=loha", "dropout=0.3"))
    batch = batch_for(setting.model)
    expected = with_target(setting, batch, Predictions(SD1).of(setting.objective, batch))
    torch.testing.assert_close(setting.losses(batch).unweighted, expected.unweighted, rtol=1e-4, atol=1e-6)


def test_an_objective_without_a_network_knows_no_such_target():
    setting = setting_of()
    objective = replace(setting.objective, preservation=None)
    with pytest.raises(ValueError, match="the objective knows no network"):
        objective.losses(setting.model, batch_for(setting.model))
    assert objective.losses(setting.model, batch_for(setting.model, None)).weighted.shape == (3,)


def test_a_step_leaves_the_network_at_full_strength():
    setting = setting_of()
    optimizer = torch.optim.SGD(setting.network.parameters(), lr=0.1)
    step = optimizer_step(setting.network, setting.objective, optimizer, model=setting.model)
    batch = batch_for(setting.model)
    step.run([replace(batch, network_multiplier=0.5), batch], 0)
    assert setting.strengths == [0.5, 0.0, 0.5, 1.0, 0.0, 1.0]
