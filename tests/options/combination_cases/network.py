"""What is trained, and the files that it starts from."""

from tests.options.combination_cases.case import Case

PROBLEMS = [
    Case(
        "--network_train_unet_only --network_train_text_encoder_only",
        "--network_train_unet_only and --network_train_text_encoder_only exclude each other; "
        "leave both out to train both parts",
        "--network_train_unet_only --no_network_train_text_encoder_only",
    ),
    Case("--network_args a=1 b=2 a=3", "--network_args: a is given twice; leave one out", "--network_args a=1 aa=1"),
    Case("--text_encoder_lr 1e-5 -1", "--text_encoder_lr: must be at least 0", "--text_encoder_lr 1e-5 0"),
    *(
        Case(
            words, "nothing would be trained: the learning rate of every part is 0; raise --learning_rate",
            f"{words} --unet_lr 1e-4",
        )
        for words in (
            "--learning_rate 0",
            "--learning_rate 0 --network_train_unet_only",
            "--unet_lr 0 --text_encoder_lr 0",
        )
    ),
    Case(
        "--learning_rate 0 --network_train_text_encoder_only",
        "nothing would be trained: the learning rate of every part is 0; raise --learning_rate",
        "--learning_rate 0 --text_encoder_lr 1e-4 --network_train_text_encoder_only",
    ),
    Case(
        "--dim_from_weights",
        "--dim_from_weights needs --network_weights: the file that the ranks and alphas are taken from",
        "--dim_from_weights --network_weights a.safetensors",
    ),
    Case(
        "--base_weights a.safetensors --base_weights_multiplier 0.5 2",
        "--base_weights_multiplier 0.5 2: there are more multipliers than --base_weights (1); leave out the rest",
        "--base_weights a.safetensors b.safetensors --base_weights_multiplier 0.5 2",
    ),
    Case(
        "--base_weights_multiplier 0.5",
        "--base_weights_multiplier 0.5: there are more multipliers than --base_weights (0); leave out the rest",
        "--base_weights a.safetensors b.safetensors --base_weights_multiplier 0.5",
    ),
]  # fmt: skip

NOTICES = [
    *(
        Case(
            f"--dim_from_weights --network_weights a.safetensors --network_{size} 4",
            f"--network_{size} has no effect with --dim_from_weights: each layer has the file's rank and alpha",
            f"--network_{size} 4",
        )
        for size in ("dim", "alpha")
    ),
    Case(
        "--network_weights a.safetensors --network_alpha 4",
        "--network_alpha has no effect on layers that --network_weights holds: the file's alpha counts",
        "--network_weights a.safetensors --network_alpha 4 --network_module lycoris.kohya",
    ),
    Case(
        "--base_weights a.pt b.pt --base_weights_multiplier 0.5 0",
        "--base_weights 'b.pt' has no effect, since its --base_weights_multiplier is 0",
        "--base_weights a.pt b.pt --base_weights_multiplier 0.5 1",
    ),
    Case(
        "--network_args dropout=0.1 --network_dropout 0.1",
        "--network_dropout has no effect, since --network_args has a dropout of its own", "--network_dropout 0.1",
    ),
    Case(
        "--network_train_unet_only --text_encoder_lr 1e-5",
        "--text_encoder_lr has no effect with --network_train_unet_only",
        "--network_train_text_encoder_only --text_encoder_lr 1e-5",
    ),
    Case(
        "--network_train_text_encoder_only --unet_lr 1e-5",
        "--unet_lr has no effect with --network_train_text_encoder_only",
        "--network_train_unet_only --unet_lr 1e-5",
    ),
]  # fmt: skip
