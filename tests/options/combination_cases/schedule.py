"""Learning-rate schedules."""

from tests.options.combination_cases.case import Case

STEP_LR = "--lr_scheduler_type StepLR --lr_scheduler_args step_size=9"
PIECEWISE = "--lr_scheduler piecewise_constant --lr_scheduler_args step_rules=1:500,0.1:800,0.01"
_NEEDS_RULES = (
    "--lr_scheduler piecewise_constant needs --lr_scheduler_args step_rules=1:500,0.1:800,0.01 (the full learning rate "
    "before step 500, a tenth before step 800, then a hundredth): "
)

PROBLEMS = [
    Case(
        "--lr_scheduler cosine_with_min_lr",
        "--lr_scheduler cosine_with_min_lr needs --lr_scheduler_min_lr_ratio, such as 0.1",
        "--lr_scheduler cosine_with_min_lr --lr_scheduler_min_lr_ratio 0.1",
    ),
    Case(
        "--lr_warmup_steps 10",
        "--lr_warmup_steps 10: the schedule 'constant' has no warm-up; use --lr_scheduler constant_with_warmup, "
        "or leave the warm-up out",
        "--lr_warmup_steps 10 --lr_scheduler constant_with_warmup",
    ),
    Case(
        "--lr_warmup_steps 5%",
        "--lr_warmup_steps 0.05: the schedule 'constant' has no warm-up; use --lr_scheduler constant_with_warmup, "
        "or leave the warm-up out",
        "--lr_warmup_steps 0",
    ),
    Case(
        f"--lr_warmup_steps 10 {STEP_LR}",
        "--lr_warmup_steps 10: a class such as --lr_scheduler_type StepLR has no warm-up; leave it out, or use a "
        "schedule of --lr_scheduler",
        STEP_LR,
    ),
    *(
        Case(
            f"--lr_scheduler {name}",
            f"--lr_scheduler {name} is what --optimizer_type Adafactor does by itself with relative_step=True; choose "
            "this optimizer, or another schedule",
            "--lr_scheduler adafactor --optimizer_type Adafactor",
        )
        for name in ("adafactor", "adafactor:1e-3")
    ),
    *(
        Case(f"--lr_scheduler piecewise_constant {rules}".strip(), f"{_NEEDS_RULES}{reason}", PIECEWISE)
        for rules, reason in (
            ("", "it is missing"),
            ("--lr_scheduler_args step_rules=1:5,0.1:2,0", "step 2 stands after step 5, but steps must rise"),
            ("--lr_scheduler_args step_rules=1:0,0.1", "no share can end at step 0"),
            ("--lr_scheduler_args step_rules=1:half,0.1", "'1:half' must be SHARE:STEP"),
            ("--lr_scheduler_args step_rules=x:5,0.1", "'x' must be a share of the full learning rate"),
            ("--lr_scheduler_args step_rules=1:5,-0.1", "'-0.1' must be a share of the full learning rate"),
            ("--lr_scheduler_args step_rules=1:5,0.1:9", "'0.1:9' must be a share of the full learning rate"),
        )
    ),
    Case(
        f"{PIECEWISE} step_rule=1",
        "--lr_scheduler_args step_rule: piecewise_constant has no such argument; it has step_rules. Did you mean "
        "step_rules?",
        PIECEWISE,
    ),
]  # fmt: skip

NOTICES = [
    *(
        Case(f"--{option} {value}", f"--{option} has no effect with --lr_scheduler constant", quiet)
        for option, value, quiet in (
            ("lr_scheduler_num_cycles", "2", "--lr_scheduler_num_cycles 2 --lr_scheduler cosine_with_restarts"),
            ("lr_scheduler_power", "2", "--lr_scheduler_power 2 --lr_scheduler polynomial"),
            ("lr_scheduler_timescale", "10", "--lr_scheduler_timescale 10 --lr_scheduler inverse_sqrt"),
            ("lr_scheduler_min_lr_ratio", "0.1", "--lr_scheduler_min_lr_ratio 0.1 --lr_scheduler warmup_stable_decay"),
            ("lr_scheduler_min_lr_ratio", "0", "--lr_scheduler_min_lr_ratio 0 --lr_scheduler rex"),
            ("lr_decay_steps", "0.1", "--lr_decay_steps 0.1 --lr_scheduler warmup_stable_decay"),
        )
    ),
    Case(
        "--lr_scheduler_args step_size=9",
        "--lr_scheduler_args has no effect with --lr_scheduler constant without --lr_scheduler_type",
        STEP_LR,
    ),
    Case(
        f"{PIECEWISE} --lr_warmup_steps 5",
        "--lr_warmup_steps has no effect with --lr_scheduler piecewise_constant; begin step_rules with a low share",
        PIECEWISE,
    ),
    *(
        Case(f"{STEP_LR} --{option} {value}", f"--{option} has no effect with --lr_scheduler_type StepLR", STEP_LR)
        for option, value in (
            ("lr_scheduler", "cosine"), ("lr_scheduler_num_cycles", "2"), ("lr_scheduler_min_lr_ratio", "0.1"),
            ("lr_decay_steps", "9"),
        )
    ),
]  # fmt: skip
