"""Draws the figure of docs/losses.md: what each timestep weighs.

    python examples/draw_loss_weights.py docs/images/loss_weights.png

Of the plain schedule, without zero terminal SNR.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import matplotlib.pyplot as plt

from library.diffusion.noise_schedule import scaled_linear_schedule
from library.options.groups import LossOptions
from library.training.objective import timestep_weights

FOR_NOISE = {
    "--min_snr_gamma 5": LossOptions(min_snr_gamma=5),
    "--min_snr_gamma 5 --soft_min_snr": LossOptions(min_snr_gamma=5, soft_min_snr=True),
    "--p2_gamma 1": LossOptions(p2_gamma=1),
    "--debiased_estimation_loss": LossOptions(debiased_estimation_loss=True),
    "--v_pred_like_loss 0.1": LossOptions(v_pred_like_loss=0.1),
}
FOR_VELOCITY = {
    "--min_snr_gamma 5": LossOptions(min_snr_gamma=5),
    "--min_snr_gamma 5 --soft_min_snr": LossOptions(min_snr_gamma=5, soft_min_snr=True),
    "--p2_gamma 1": LossOptions(p2_gamma=1),
    "--debiased_estimation_loss": LossOptions(debiased_estimation_loss=True),
    "--scale_v_pred_loss_like_noise_pred": LossOptions(scale_v_pred_loss_like_noise_pred=True),
}


def draw(path: Path) -> None:
    schedule = scaled_linear_schedule()
    figure, axes = plt.subplots(1, 2, figsize=(11, 4), sharey=True, layout="constrained")
    for axis, title, options, predicts_velocity in (
        (axes[0], "noise prediction", FOR_NOISE, False),
        (axes[1], "--v_parameterization", FOR_VELOCITY, True),
    ):
        for name, loss in options.items():
            weights = timestep_weights(loss, schedule, predicts_velocity)
            if weights is not None:
                axis.semilogy(weights.tolist(), label=name)
        axis.axhline(1, color="grey", linewidth=0.8, linestyle=":")
        axis.set(title=title, xlabel="timestep (0 = least noise)", ylim=(5e-4, 50))
        axis.legend(fontsize=8)
    axes[0].set_ylabel("weight in the loss")
    figure.savefig(path, dpi=100)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="picture to write")
    draw(parser.parse_args().file)


if __name__ == "__main__":
    main()
