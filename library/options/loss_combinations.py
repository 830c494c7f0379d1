"""Rules about options of the loss that depend on each other.

What a prediction is compared with follows from --v_parameterization alone: a model that is known to predict something
else is refused, or trained towards what the option says.
"""

from collections.abc import Callable, Iterator

from library.options.findings import Finding, Given, Notice, Problem
from library.options.schema import Settings

Rule = Callable[[Settings, Given], Iterator[Finding]]


def _huber(settings: Settings, given: Given) -> Iterator[Finding]:
    if settings.loss.loss_type not in ("huber", "smooth_l1"):
        for name in sorted(given & {"huber_c", "huber_scale", "huber_schedule"}):
            yield Notice(f"--{name} has no effect without --loss_type huber or smooth_l1")


def _incomplete_weights(settings: Settings, given: Given) -> Iterator[Finding]:
    loss = settings.loss
    if loss.soft_min_snr and not loss.min_snr_gamma:
        yield Problem("--soft_min_snr needs --min_snr_gamma, usually 5: it is another form of that weighting")
    if "p2_k" in given and not loss.p2_gamma:
        yield Notice("--p2_k has no effect without --p2_gamma")


def _weights_of_predictions(settings: Settings, given: Given) -> Iterator[Finding]:
    """Which weighting goes with what the model predicts."""
    loss, predicts_velocity = settings.loss, settings.model.v_parameterization
    if loss.scale_v_pred_loss_like_noise_pred and not predicts_velocity:
        yield Problem(
            "--scale_v_pred_loss_like_noise_pred needs --v_parameterization: it makes a loss of v-prediction weigh "
            "like one of noise prediction"
        )
    if loss.v_pred_like_loss and predicts_velocity:
        yield Problem(
            f"--v_pred_like_loss {loss.v_pred_like_loss:g} with --v_parameterization: the loss is that of v-prediction "
            "already; leave --v_pred_like_loss out"
        )
    if settings.noise.zero_terminal_snr and not predicts_velocity:
        for name in ("debiased_estimation_loss", "v_pred_like_loss"):
            if getattr(loss, name):
                yield Problem(
                    f"--{name} with --zero_terminal_snr, without --v_parameterization: the last timestep, which is "
                    "pure noise, would have an infinite weight; leave one of them out"
                )


_TIMESTEP_WEIGHTS = (
    "min_snr_gamma", "scale_v_pred_loss_like_noise_pred", "v_pred_like_loss", "debiased_estimation_loss", "p2_gamma",
)  # fmt: skip


def _product_of_weights(settings: Settings, given: Given) -> Iterator[Finding]:
    chosen = [f"--{name}" for name in _TIMESTEP_WEIGHTS if getattr(settings.loss, name)]
    if len(chosen) > 1:
        yield Notice(
            f"{', '.join(chosen[:-1])} and {chosen[-1]} each weight the timesteps, and their weights multiply; "
            "usually one of them is enough"
        )


def _unmasked_weight(settings: Settings, given: Given) -> Iterator[Finding]:
    if settings.loss.unmasked_weight == 1:
        yield Notice("--unmasked_weight 1: masks have no effect, since what they leave out counts fully")


LOSS_RULES: tuple[Rule, ...] = (
    _huber, _incomplete_weights, _weights_of_predictions, _product_of_weights, _unmasked_weight,
)  # fmt: skip
