"""Averages of the weights."""

from tests.options.combination_cases.case import Case

PROBLEMS = [
    Case(
        "--sample_with_ema",
        "--sample_with_ema needs --ema_decay: the average that previews are drawn with",
        "--sample_with_ema --ema_decay 0.9",
    ),
    Case(
        "--ema_decay 0.9 --optimizer_type AdamWScheduleFree",
        "--ema_decay 0.9: the optimizer AdamWScheduleFree is schedule-free, which averages the weights itself, and its "
        "average is what is saved; leave out --ema_decay, or use another optimizer",
        "--ema_decay 0.9 --optimizer_type AdamW",
    ),
    Case(
        "--ema_snapshots_every_n_steps 5 --optimizer_type prodigyplus.ProdigyPlusScheduleFree --learning_rate 1",
        "--ema_snapshots_every_n_steps 5: the optimizer prodigyplus.ProdigyPlusScheduleFree is schedule-free, which "
        "averages the weights itself, and its average is what is saved; leave out --ema_snapshots_every_n_steps, or "
        "use another optimizer",
        "--ema_snapshots_every_n_steps 5 --optimizer_type prodigyplus.ProdigyPlusScheduleFree --learning_rate 1 "
        "--optimizer_args use_schedulefree=False",
    ),
]

NOTICES = [
    Case(
        "--ema_device cpu",
        "--ema_device has no effect without --ema_decay or --ema_snapshots_every_n_steps",
        "--ema_device cpu --ema_snapshots_every_n_steps 5",
    ),
    Case(
        "--sample_with_ema --ema_decay 0.9",
        "--sample_with_ema has no effect without --sample_prompts",
        "--sample_with_ema --ema_decay 0.9 --sample_prompts p.txt --sample_every_n_steps 1",
    ),
]
