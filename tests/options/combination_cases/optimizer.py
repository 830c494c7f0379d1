"""The optimizer, and what its kind makes of learning rates and schedules."""

from tests.options.combination_cases.case import Case

PROBLEMS = [
    Case(
        "--use_8bit_adam --optimizer_type Lion",
        "--use_8bit_adam means --optimizer_type AdamW8bit, but --optimizer_type Lion was given; leave one of them out",
        "--use_8bit_adam --optimizer_type adamw8BIT",
    ),
    Case(
        "--use_lion_optimizer --optimizer_type AdamW",
        "--use_lion_optimizer means --optimizer_type Lion, but --optimizer_type AdamW was given; leave one of them out",
        "--use_lion_optimizer --optimizer_type lion",
    ),
    Case(
        "--use_lion_optimizer --use_8bit_adam",
        "--use_8bit_adam and --use_lion_optimizer name different optimizers; leave one of them out",
        "--use_lion_optimizer",
    ),
    Case(
        "--optimizer_args eps=1 betas=0.9,0.99 eps=2", "--optimizer_args: eps is given twice; leave one out",
        "--optimizer_args eps=1 betas=0.9,0.99",
    ),
    Case(
        "--optimizer_type Prodigy --unet_lr 1 --text_encoder_lr 0.5",
        "--unet_lr 1 and --text_encoder_lr 0.5: Prodigy finds one learning rate for everything that is trained; give "
        "the same to all parts, usually --learning_rate 1.0 alone",
        "--optimizer_type Prodigy --unet_lr 1 --text_encoder_lr 1 --learning_rate 1",
    ),
    Case(
        "--optimizer_type dadaptadam --unet_lr 1",
        "--unet_lr 1 and --learning_rate 2e-06: dadaptadam finds one learning rate for everything that is trained; "
        "give the same to all parts, usually --learning_rate 1.0 alone",
        "--optimizer_type dadaptadam --unet_lr 1 --network_train_unet_only",
    ),
    Case(
        "--optimizer_type DAdaptation --learning_rate 1 --text_encoder_lr 1 0.5",
        "--learning_rate 1 and --text_encoder_lr 1 0.5: DAdaptation finds one learning rate for everything that is "
        "trained; give the same to all parts, usually --learning_rate 1.0 alone",
        "--optimizer_type ProdigyPlusScheduleFree --learning_rate 1 --text_encoder_lr 1 0.5",
    ),
]  # fmt: skip

_LOW = "finds the learning rate itself and multiplies it by this; 1.0 is meant to be given"
_FROM_WEIGHTS = "kept as --network_weights has it, and left out of the file if it has nothing of it"
_WITHOUT_STEPS = (
    "steps relatively to the size of the weights; with --optimizer_args relative_step=False, learning rates"
)

NOTICES = [
    Case(
        "--text_encoder_lr 0",
        "--text_encoder_lr 0: the network's part of the text encoders is not trained, and is left out of the file",
        "--text_encoder_lr 1e-6",
    ),
    Case(
        "--text_encoder_lr 1e-5 0",
        "--text_encoder_lr 1e-05 0: the network's part of text encoder 2 is not trained, and is left out of the file",
        "--text_encoder_lr 1e-5 1e-5",
    ),
    Case(
        "--unet_lr 0",
        "--unet_lr 0: the network's part of the U-Net is not trained, and is left out of the file",
        "--network_train_text_encoder_only",
    ),
    Case(
        "--learning_rate 0 --unet_lr 1e-4",
        "--learning_rate 0: without --text_encoder_lr, it holds for the network's part of the text encoders, too, "
        "which is not trained, and is left out of the file; give --text_encoder_lr to train it",
        "--learning_rate 0 --unet_lr 1e-4 --text_encoder_lr 1e-5",
    ),
    Case(
        "--text_encoder_lr 0 --network_weights a.safetensors",
        f"--text_encoder_lr 0: the network's part of the text encoders is not trained, and is {_FROM_WEIGHTS}",
        "--text_encoder_lr 0 --network_weights a.safetensors --network_args network_reg_lrs=mlp=1e-4",
    ),
    Case(
        "--optimizer_type Prodigy", f"--learning_rate 2e-06, the default: Prodigy {_LOW}",
        "--optimizer_type Prodigy --learning_rate 1",
    ),
    Case(
        "--optimizer_type dadaptation.DAdaptAdam --learning_rate 0.1",
        f"--learning_rate 0.1: dadaptation.DAdaptAdam {_LOW}",
        "--optimizer_type dadaptation.DAdaptAdam --learning_rate 0.11",
    ),
    Case(
        "--optimizer_type prodigyplusschedulefree --learning_rate 1 --text_encoder_lr 0.5 0.05",
        f"--text_encoder_lr 0.5 0.05: prodigyplusschedulefree {_LOW}",
        "--optimizer_type prodigyplusschedulefree --learning_rate 1 --text_encoder_lr 0.5 0.15",
    ),
    Case(
        "--optimizer_type adafactor --learning_rate 1e-4 --unet_lr 1e-4",
        f"--learning_rate, --unet_lr: no effect, since adafactor {_WITHOUT_STEPS} count",
        "--optimizer_type adafactor",
    ),
    Case(
        "--optimizer_type adafactor --network_args loraplus_lr_ratio=4",
        f"--network_args loraplus_lr_ratio: no effect, since adafactor {_WITHOUT_STEPS} count",
        "--network_args loraplus_lr_ratio=4",
    ),
    Case(
        "--optimizer_type pytorch_optimizer.AdaFactor",
        "pytorch_optimizer.AdaFactor steps relatively to the size of the weights, so that learning rates and schedules "
        "have no effect; with --optimizer_args relative_step=False, they count",
        "--optimizer_type pytorch_optimizer.AdaFactor --optimizer_args relative_step=False",
    ),
    Case(
        "--optimizer_type adafactor --optimizer_args relative_step=False warmup_init=True",
        "--optimizer_args relative_step=False has no effect, since warmup_init=True forces relative steps; give "
        "warmup_init=False",
        "--optimizer_type adafactor --optimizer_args relative_step=True warmup_init=True",
    ),
    Case(
        "--optimizer_type adafactor --optimizer_args warmup_init=True --unet_lr 1e-4",
        "--unet_lr: no effect, since adafactor steps relatively to the size of the weights; with --optimizer_args "
        "relative_step=False warmup_init=False, learning rates count",
        "--optimizer_type adafactor --optimizer_args warmup_init=True",
    ),
    *(
        Case(
            f"{optimizer} --lr_scheduler cosine_with_restarts --lr_scheduler_num_cycles 2",
            "--lr_scheduler cosine_with_restarts: restarts disturb the learning rate that "
            f"{optimizer.split()[1]} finds; --lr_scheduler cosine is usual with it",
            f"{quiet} --lr_scheduler cosine_with_restarts",
        )
        for optimizer, quiet in (
            ("--optimizer_type Prodigy --learning_rate 1", "--optimizer_type Prodigy --learning_rate 1"),
            (
                "--optimizer_type ProdigyPlusScheduleFree --learning_rate 1 --optimizer_args use_schedulefree=False",
                "--lr_scheduler_num_cycles 2",
            ),
        )
    ),
    Case(
        "--optimizer_type adafactor --optimizer_args relative_step=False --lr_scheduler constant_with_warmup",
        "--max_grad_norm 1: adafactor limits its steps itself (clip_threshold); --max_grad_norm 0 is usual with it",
        "--optimizer_type adafactor --optimizer_args relative_step=False --lr_scheduler constant_with_warmup "
        "--max_grad_norm 0",
    ),
    Case(
        "--optimizer_type transformers.Adafactor --optimizer_args relative_step=False --max_grad_norm 0",
        "--lr_scheduler constant: with relative_step=False, transformers.Adafactor is usually trained with "
        "constant_with_warmup",
        "--optimizer_type torch.optim.Adafactor",
    ),
    Case(
        "--optimizer_type adafactor --lr_scheduler cosine --lr_warmup_steps 10",
        "--lr_scheduler cosine, --lr_warmup_steps 10: no effect, since adafactor has a schedule of its own",
        "--optimizer_type adafactor --lr_scheduler constant",
    ),
    Case(
        "--optimizer_type AdamWScheduleFree --lr_warmup_steps 10",
        "--lr_warmup_steps 10: no effect, since AdamWScheduleFree needs no schedule; it warms up with "
        "--optimizer_args warmup_steps=N",
        "--optimizer_type AdamWScheduleFree --optimizer_args warmup_steps=10",
    ),
    Case(
        "--optimizer_type RAdamScheduleFree --lr_scheduler cosine",
        "--lr_scheduler cosine: no effect, since RAdamScheduleFree needs no schedule",
        "--optimizer_type ProdigyPlusScheduleFree --learning_rate 1 --optimizer_args use_schedulefree=False "
        "--lr_scheduler cosine",
    ),
]  # fmt: skip
