"""How the prediction is compared with its target, and what the timesteps weigh."""

from tests.options.combination_cases.case import Case

PROBLEMS = [
    Case(
        "--soft_min_snr",
        "--soft_min_snr needs --min_snr_gamma, usually 5: it is another form of that weighting",
        "--soft_min_snr --min_snr_gamma 5",
    ),
    Case(
        "--soft_min_snr --min_snr_gamma 0",
        "--soft_min_snr needs --min_snr_gamma, usually 5: it is another form of that weighting",
        "--min_snr_gamma 0",
    ),
    Case(
        "--scale_v_pred_loss_like_noise_pred",
        "--scale_v_pred_loss_like_noise_pred needs --v_parameterization: it makes a loss of v-prediction weigh like "
        "one of noise prediction",
        "--scale_v_pred_loss_like_noise_pred --v_parameterization",
    ),
    Case(
        "--v_pred_like_loss 0.5 --v_parameterization",
        "--v_pred_like_loss 0.5 with --v_parameterization: the loss is that of v-prediction already; leave "
        "--v_pred_like_loss out",
        "--v_pred_like_loss 0.5",
    ),
]

NOTICES = [
    *(
        Case(
            f"--{name} {value}{kind}",
            f"--{name} has no effect without --loss_type huber or smooth_l1",
            f"--{name} {value} --loss_type {needed}",
        )
        for name, value in (("huber_c", 0.2), ("huber_scale", 2), ("huber_schedule", "constant"))
        for kind, needed in (("", "huber"), (" --loss_type l1", "smooth_l1"))
    ),
    Case("--p2_k 2", "--p2_k has no effect without --p2_gamma", "--p2_k 2 --p2_gamma 1"),
    Case("--p2_k 2 --p2_gamma 0", "--p2_k has no effect without --p2_gamma", "--p2_gamma 0"),
    Case(
        "--min_snr_gamma 5 --debiased_estimation_loss",
        "--min_snr_gamma and --debiased_estimation_loss each weight the timesteps, and their weights multiply; usually "
        "one of them is enough",
        "--min_snr_gamma 0 --debiased_estimation_loss --p2_gamma 0 --v_pred_like_loss 0",
    ),
    Case(
        "--p2_gamma 1 --min_snr_gamma 5 --v_pred_like_loss 0.1",
        "--min_snr_gamma, --v_pred_like_loss and --p2_gamma each weight the timesteps, and their weights multiply; "
        "usually one of them is enough",
        "--p2_gamma 1",
    ),
    Case(
        "--unmasked_weight 1 --alpha_mask",
        "--unmasked_weight 1: masks have no effect, since what they leave out counts fully",
        "--unmasked_weight 0.9 --alpha_mask",
    ),
]
