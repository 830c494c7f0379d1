"""The objective: targets, weights and what it takes from a batch."""

from dataclasses import replace
from itertools import product

import pytest
import torch

from library.dataset.batches.training_batch import Draws, TrainingBatch
from library.diffusion.conditioning import TextConditioning, TokenizedCaptions
from library.diffusion.noise_schedule import scaled_linear_schedule
from library.errors import UserError
from library.models.latent_codec import NonFiniteLatentsError
from library.options.groups import LossOptions, NoiseOptions, TimestepOptions
from library.training.noising import build_noising
from library.training.objective import build_objective, latents_of, text_of, timestep_weights
from tests.options.resolving import resolve_complete

CPU = torch.device("cpu")


class FakeModel:
    """Predicts nothing; remembers what it was asked."""

    def predict(self, noisy_latents, timesteps, text, sizes):
        self.noisy, self.timesteps, self.text, self.sizes = noisy_latents, timesteps, text, sizes
        return torch.zeros_like(noisy_latents)

    def encode_text(self, tokens):
        return TextConditioning(tokens.ids[0].float())

    def encode_images(self, pixels, posterior_draws):
        raise NonFiniteLatentsError([1])


def a_batch() -> TrainingBatch:
    generator = torch.Generator().manual_seed(1)
    noise, latents = (torch.randn(3, 4, 2, 2, generator=generator) for _ in range(2))
    return TrainingBatch(
        index=0,
        image_ids=("a", "b", "c"),
        captions=("", "", ""),
        tokens=TokenizedCaptions((torch.arange(3).view(3, 1, 1),)),
        text=None,
        sizes=torch.arange(18).view(3, 6),
        pixels=None,
        latents=latents,
        loss_weights=torch.tensor([1.0, 0.5, 1.0]),
        draws=Draws(noise, torch.zeros(3, 4), noise, torch.tensor([0.0, 0.5, 0.9999])),
    )


TIMESTEPS = [0, 500, 999]


@pytest.mark.parametrize("gamma", [None, 5.0])
@pytest.mark.parametrize("zero_terminal_snr", [False, True])
@pytest.mark.parametrize("predicts_velocity", [False, True])
def test_losses(predicts_velocity, zero_terminal_snr, gamma):
    """Against formulas written out here: with nothing predicted, the loss is the target's mean square."""
    objective = build_objective(
        NoiseOptions(zero_terminal_snr=zero_terminal_snr),
        TimestepOptions(),
        LossOptions(min_snr_gamma=gamma),
        predicts_velocity,
        CPU,
    )
    batch, model = a_batch(), FakeModel()
    losses = objective.losses(model, batch).weighted

    kept = torch.cumprod(1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2, dim=0).sqrt()
    if zero_terminal_snr:
        kept = (kept - kept[-1]) * kept[0] / (kept[0] - kept[-1])
    signal, noise_share = kept[TIMESTEPS], (1 - kept[TIMESTEPS].square()).sqrt()
    snr = (signal / noise_share).square()
    expand = (slice(None), None, None, None)
    latents, noise = batch.latents, batch.draws.noise
    assert model.timesteps.tolist() == TIMESTEPS
    torch.testing.assert_close(model.noisy, signal[expand] * latents + noise_share[expand] * noise)
    target = signal[expand] * noise - noise_share[expand] * latents if predicts_velocity else noise
    weights = batch.loss_weights.clone()
    if gamma:
        smallest = snr.clamp(max=gamma)
        weights *= smallest / (snr + 1) if predicts_velocity else torch.where(snr > 0, smallest / snr, 1.0)
    torch.testing.assert_close(losses, target.square().mean(dim=(1, 2, 3)) * weights)
    assert losses.isfinite().all()
    assert torch.equal(model.sizes, batch.sizes)
    assert torch.equal(model.text.hidden_states, batch.tokens.ids[0].float())


def test_what_is_kept_for_reports():
    """Before the images' weights and those of the timesteps, without gradients, with the timesteps."""
    model = LearningModel()
    losses = simple_objective(min_snr_gamma=5).losses(model, a_batch())
    torch.testing.assert_close(losses.unweighted, a_batch().draws.noise.square().mean(dim=(1, 2, 3)))
    assert losses.timesteps.tolist() == TIMESTEPS
    assert (losses.unweighted.requires_grad, losses.weighted.requires_grad) == (False, True)
    assert not torch.allclose(losses.weighted, losses.unweighted)


@pytest.mark.parametrize("loss_type", ["l1", "huber", "smooth_l1"])
def test_other_losses(loss_type):
    """With nothing predicted, the difference is the noise."""
    options = {"loss_type": loss_type, "huber_schedule": "exponential", "huber_c": 0.25, "huber_scale": 2.0}
    losses = simple_objective(**options).losses(FakeModel(), a_batch())
    noise = a_batch().draws.noise
    c = 2 * 0.25 ** (torch.tensor(TIMESTEPS) / 1000).view(3, 1, 1, 1)
    smooth = 2 * ((noise.square() + c.square()).sqrt() - c)
    expected = {"l1": noise.abs(), "huber": c * smooth, "smooth_l1": smooth}[loss_type]
    torch.testing.assert_close(losses.unweighted, expected.mean(dim=(1, 2, 3)))
    torch.testing.assert_close(losses.weighted, losses.unweighted * a_batch().loss_weights)


def test_masks_may_leave_something_and_weigh_all_images_alike():
    masks = torch.tensor([[[1.0, 0.0], [0.0, 0.5]], [[0.0, 0.0], [0.0, 0.0]], [[1.0, 1.0], [1.0, 1.0]]])
    batch = replace(a_batch(), masks=masks)
    squares = batch.draws.noise.square().mean(dim=1)
    soft = 0.2 + 0.8 * masks
    found = simple_objective(unmasked_weight=0.2).losses(FakeModel(), batch).unweighted
    torch.testing.assert_close(found, (squares * soft).mean(dim=(1, 2)))
    found = simple_objective(normalize_masked_loss=True).losses(FakeModel(), batch).unweighted
    area = torch.tensor([1.5, 1.0, 4.0])
    torch.testing.assert_close(found, (squares * masks).sum(dim=(1, 2)) / area)
    assert found[1] == 0
    found = simple_objective(normalize_masked_loss=True, unmasked_weight=0.2).losses(FakeModel(), batch).unweighted
    torch.testing.assert_close(found, (squares * soft).sum(dim=(1, 2)) / soft.sum(dim=(1, 2)))


WEIGHTINGS = {
    "--min_snr_gamma 5": {"min_snr_gamma": 5.0},
    "--min_snr_gamma 5 --soft_min_snr": {"min_snr_gamma": 5.0, "soft_min_snr": True},
    "--scale_v_pred_loss_like_noise_pred": {"scale_v_pred_loss_like_noise_pred": True},
    "--v_pred_like_loss 0.5": {"v_pred_like_loss": 0.5},
    "--debiased_estimation_loss": {"debiased_estimation_loss": True},
    "--p2_gamma 1 --p2_k 0.5": {"p2_gamma": 1.0, "p2_k": 0.5},
}
SWITCHES = ("", "--zero_terminal_snr", "--v_parameterization", "--zero_terminal_snr --v_parameterization")


@pytest.mark.parametrize("switches", SWITCHES)
def test_weights_are_finite_wherever_they_are_allowed(switches):
    """All pairs of weightings; more than two are products of these."""
    schedule = build_noising(
        NoiseOptions(zero_terminal_snr="--zero_terminal_snr" in switches), TimestepOptions(), CPU
    ).schedule
    predicts_velocity = "--v_parameterization" in switches
    allowed = 0
    for words in product(WEIGHTINGS, WEIGHTINGS):
        loss = LossOptions(**WEIGHTINGS[words[0]] | WEIGHTINGS[words[1]])
        weights = timestep_weights(loss, schedule, predicts_velocity)
        if not resolve_complete(*" ".join([*words, switches]).split()).problems:
            allowed += 1
            assert weights.isfinite().all(), words
            assert (weights >= 0).all(), words
    assert allowed == {"": 25, "--zero_terminal_snr": 9}.get(switches, 25)


def test_several_weightings_multiply():
    schedule = scaled_linear_schedule()
    both = timestep_weights(LossOptions(min_snr_gamma=5, p2_gamma=1), schedule, False)
    expected = timestep_weights(LossOptions(min_snr_gamma=5), schedule, False) * timestep_weights(
        LossOptions(p2_gamma=1), schedule, False
    )
    torch.testing.assert_close(both, expected)


@pytest.mark.parametrize("off", [{}, {"min_snr_gamma": 0}, {"p2_gamma": 0, "p2_k": 2}, {"v_pred_like_loss": 0}])
def test_without_a_weighting_there_is_no_table(off):
    assert timestep_weights(LossOptions(**off), scaled_linear_schedule(), False) is None


def test_at_pure_noise_the_target_is_the_picture():
    objective = build_objective(NoiseOptions(zero_terminal_snr=True), TimestepOptions(), LossOptions(), True, CPU)
    batch, model = a_batch(), FakeModel()
    losses = objective.losses(model, batch).weighted
    assert torch.equal(model.noisy[2], batch.draws.noise[2])
    torch.testing.assert_close(losses[2], batch.latents[2].square().mean())


def test_encoded_captions_come_before_tokens():
    batch, text = a_batch(), TextConditioning(torch.ones(3, 77, 2), torch.ones(3, 2))
    assert text_of(FakeModel(), replace(batch, text=text)) is text
    with pytest.raises(ValueError, match="a batch needs tokens or encoded captions"):
        text_of(FakeModel(), replace(batch, tokens=None))


def test_an_image_without_latents_is_named():
    pixels = torch.zeros(3, 3, 16, 16, dtype=torch.uint8)
    with pytest.raises(UserError, match="image b: the VAE gives latents that are not finite, even in float32"):
        latents_of(FakeModel(), replace(a_batch(), latents=None, pixels=pixels))
    with pytest.raises(ValueError, match="a batch needs pixels or latents"):
        latents_of(FakeModel(), replace(a_batch(), latents=None))


class LearningModel(FakeModel):
    """Predicts what it holds for each value of each picture."""

    def __init__(self):
        self.values = torch.zeros(3, 4, 2, 2, requires_grad=True)

    def predict(self, noisy_latents, timesteps, text, sizes):
        return self.values


def simple_objective(**loss):
    return build_objective(NoiseOptions(), TimestepOptions(), LossOptions(**loss), predicts_velocity=False, device=CPU)


def test_what_is_masked_out_is_not_learned():
    """The gradient outside is zero to the bit; inside it is the same as without a mask, times the mask."""
    masks = torch.tensor([[[1.0, 0.0], [0.0, 0.5]], [[0.0, 0.0], [0.0, 0.0]], [[1.0, 1.0], [1.0, 1.0]]])
    gradients = {}
    for name, given in (("masked", masks), ("plain", None)):
        model, batch = LearningModel(), replace(a_batch(), masks=given)
        simple_objective().losses(model, batch).weighted.mean().backward()
        gradients[name] = model.values.grad
    outside = (masks == 0).unsqueeze(1).expand(3, 4, 2, 2)
    assert torch.equal(gradients["masked"][outside], torch.zeros(int(outside.sum())))
    assert gradients["plain"].abs().min() > 0
    torch.testing.assert_close(gradients["masked"], gradients["plain"] * masks.unsqueeze(1), rtol=1e-6, atol=0)


def test_a_masked_loss_is_the_mean_over_the_whole_picture():
    batch = a_batch()
    masks = torch.zeros(3, 2, 2)
    masks[:, 0, 0] = 1
    losses = simple_objective().losses(FakeModel(), replace(batch, masks=masks)).weighted
    expected = batch.draws.noise[:, :, 0, 0].square().sum(dim=1) / 16 * batch.loss_weights
    torch.testing.assert_close(losses, expected)


def test_a_mask_of_ones_changes_no_bit():
    plain = simple_objective().losses(FakeModel(), a_batch()).weighted
    masked = simple_objective().losses(FakeModel(), replace(a_batch(), masks=torch.ones(3, 2, 2))).weighted
    assert torch.equal(plain, masked)


def test_an_image_of_no_weight_teaches_nothing_and_the_others_what_they_would_anyway():
    """The mean is over all rows, so that an image's share does not depend on its neighbours."""
    gradients = []
    for weights in ([1.0, 1.0, 1.0], [1.0, 0.0, 1.0]):
        model = LearningModel()
        batch = replace(a_batch(), loss_weights=torch.tensor(weights))
        simple_objective().losses(model, batch).weighted.mean().backward()
        gradients.append(model.values.grad)
    assert torch.equal(gradients[1][1], torch.zeros(4, 2, 2))
    for row in (0, 2):
        assert torch.equal(gradients[0][row], gradients[1][row])


def test_latents_are_sampled_anew_where_their_deviations_are_known():
    batch = a_batch()
    posterior = torch.full_like(batch.latents, 2.0)
    batch = replace(batch, latents=batch.latents.half(), draws=replace(batch.draws, posterior=posterior))
    assert latents_of(FakeModel(), batch).dtype == torch.float32
    assert torch.equal(latents_of(FakeModel(), batch), batch.latents.float())
    deviations = torch.full_like(batch.latents, 0.25)
    sampled = latents_of(FakeModel(), replace(batch, deviations=deviations))
    assert sampled.dtype == torch.float32
    assert torch.equal(sampled, batch.latents.float() + 0.5)
