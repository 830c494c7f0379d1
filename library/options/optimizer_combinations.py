"""Rules about options of the optimizer that depend on each other."""

from collections.abc import Collection, Iterator

from library.options.chosen_optimizer import OLDER_OPTIONS, ChosenOptimizer
from library.options.findings import Finding, Given, Notice, Problem
from library.options.key_value_arguments import argument_texts
from library.options.part_rates import part_rates
from library.options.schema import Settings

LOW_FACTOR = 0.1
"""At most this for a factor of a rate that the optimizer finds: most likely it was meant as the rate itself."""

_OWN_RATES = (
    "block_lr_zero_threshold", "down_lr_weight", "loraplus_lr_ratio", "loraplus_text_encoder_lr_ratio",
    "loraplus_unet_lr_ratio", "mid_lr_weight", "network_reg_lrs", "up_lr_weight",
)  # fmt: skip
"""Arguments of networks that give learning rates."""


def _optimizer(settings: Settings, given: Given) -> Iterator[Finding]:
    optimizer = settings.optimizer
    switches = [option for option in OLDER_OPTIONS if getattr(optimizer, option)]
    if len(switches) > 1:
        yield Problem(f"--{' and --'.join(switches)} name different optimizers; leave one of them out")
    elif switches:
        meant = OLDER_OPTIONS[switches[0]]
        if optimizer.optimizer_type.lower() not in ("", meant.lower()):
            yield Problem(
                f"--{switches[0]} means --optimizer_type {meant}, but --optimizer_type {optimizer.optimizer_type} "
                "was given; leave one of them out"
            )
    names = [pair.split("=", 1)[0].strip() for pair in optimizer.optimizer_args or ()]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield Problem(f"--optimizer_args: {name} is given twice; leave one out")


def _rates_of_zero(settings: Settings, given: Given) -> Iterator[Finding]:
    parts = list(part_rates(settings.network, settings.optimizer))
    if all(part.is_off for part in parts) or "network_reg_lrs" in _network_arguments(settings):
        return
    fate = "left out of the file"
    if settings.network.network_weights:
        fate = "kept as --network_weights has it, and left out of the file if it has nothing of it"
    for part in parts:
        if all(part.rates):
            continue
        if part.option == part.own_option:
            what = f"the {part.part}" if part.is_off else f"text encoder {part.rates.index(0) + 1}"
            yield Notice(
                f"--{part.option} {_listed(part.rates)}: the network's part of {what} is not trained, and is {fate}"
            )
        else:
            yield Notice(
                f"--{part.option} 0: without --{part.own_option}, it holds for the network's part of the {part.part}, "
                f"too, which is not trained, and is {fate}; give --{part.own_option} to train it"
            )


def _found_rates(settings: Settings, given: Given) -> Iterator[Finding]:
    """Optimizers that find a rate, which they multiply by ours."""
    chosen = ChosenOptimizer(settings.optimizer)
    if not chosen.finds_rate:
        return
    parts = [part for part in part_rates(settings.network, settings.optimizer) if not part.is_off]
    different = {rate for part in parts for rate in part.rates if rate}
    if chosen.has_one_rate and len(different) > 1:
        texts = [f"--{part.option} {_listed(part.rates)}" for part in parts]
        yield Problem(
            f"{' and '.join(texts)}: {_named(chosen)} finds one learning rate for everything that is trained; give "
            "the same to all parts, usually --learning_rate 1.0 alone"
        )
        return
    for option, rates in {part.option: part.rates for part in parts}.items():
        if not any(0 < rate <= LOW_FACTOR for rate in rates):
            continue
        default = "" if option in given else ", the default"
        yield Notice(
            f"--{option} {_listed(rates)}{default}: {_named(chosen)} finds the learning rate itself and multiplies it "
            "by this; 1.0 is meant to be given"
        )


def _restarts(settings: Settings, given: Given) -> Iterator[Finding]:
    """The authors of both Prodigys advise against them."""
    chosen, schedule = ChosenOptimizer(settings.optimizer), settings.schedule
    if not chosen.class_name.startswith("prodigy") or chosen.has_own_schedule or schedule.lr_scheduler_type:
        return
    if schedule.name == "cosine_with_restarts" and schedule.lr_scheduler_num_cycles > 1:
        yield Notice(
            f"--lr_scheduler cosine_with_restarts: restarts disturb the learning rate that {_named(chosen)} finds; "
            "--lr_scheduler cosine is usual with it"
        )


def _adafactor(settings: Settings, given: Given) -> Iterator[Finding]:
    chosen = ChosenOptimizer(settings.optimizer)
    if not chosen.is_adafactor:
        return
    arguments = chosen.arguments
    if not chosen.steps_relatively:
        if settings.optimizer.max_grad_norm:
            yield Notice(
                f"--max_grad_norm {settings.optimizer.max_grad_norm:g}: {_named(chosen)} limits its steps itself "
                "(clip_threshold); --max_grad_norm 0 is usual with it"
            )
        if not settings.schedule.lr_scheduler_type and settings.schedule.lr_scheduler != "constant_with_warmup":
            yield Notice(
                f"--lr_scheduler {settings.schedule.lr_scheduler}: with relative_step=False, {_named(chosen)} is "
                "usually trained with constant_with_warmup"
            )
        return
    if arguments.get("warmup_init") and arguments.get("relative_step", True) is False:
        yield Notice(
            "--optimizer_args relative_step=False has no effect, since warmup_init=True forces relative steps; give "
            "warmup_init=False"
        )
    without_effect = [
        f"--{name}"
        for name in ("learning_rate", "unet_lr", "text_encoder_lr")
        if name in given and _is_positive(getattr(settings.optimizer, name))
    ]
    without_effect += [f"--network_args {name}" for name in _OWN_RATES if name in _network_arguments(settings)]
    if without_effect:
        remedy = "relative_step=False warmup_init=False" if chosen.begins_small else "relative_step=False"
        yield Notice(
            f"{', '.join(without_effect)}: no effect, since {_named(chosen)} steps relatively to the size of the "
            f"weights; with --optimizer_args {remedy}, learning rates count"
        )


def _adafactor_of_others(settings: Settings, given: Given) -> Iterator[Finding]:
    """That of pytorch_optimizer has the same default."""
    chosen = ChosenOptimizer(settings.optimizer)
    is_theirs = chosen.class_name == "adafactor" and chosen.name.startswith("pytorch_optimizer.")
    if is_theirs and chosen.arguments.get("relative_step", True) is not False:
        yield Notice(
            f"{_named(chosen)} steps relatively to the size of the weights, so that learning rates and schedules have "
            "no effect; with --optimizer_args relative_step=False, they count"
        )


def _own_schedule(settings: Settings, given: Given) -> Iterator[Finding]:
    chosen, schedule = ChosenOptimizer(settings.optimizer), settings.schedule
    if not chosen.has_own_schedule:
        return
    fields = type(schedule).model_fields
    changed = [
        f"--{name} {getattr(schedule, name)}"
        for name, field in fields.items()
        if name in given and getattr(schedule, name) not in (field.default, "adafactor")
    ]
    if changed:
        instead = "; it warms up with --optimizer_args warmup_steps=N" if _warms_up(chosen) else ""
        reason = "needs no schedule" if chosen.is_schedule_free else "has a schedule of its own"
        yield Notice(f"{', '.join(changed)}: no effect, since {_named(chosen)} {reason}{instead}")


def _fused_backward(settings: Settings, given: Given) -> Iterator[Finding]:
    """Weights that move as soon as their gradient is there, before that of the next one."""
    if not settings.optimizer.fused_backward_pass:
        return
    if settings.optimizer.max_grad_norm:
        default = "" if "max_grad_norm" in given else ", the default"
        yield Problem(
            f"--fused_backward_pass with --max_grad_norm {settings.optimizer.max_grad_norm:g}{default}: the norm over "
            "all gradients is not known before the last one; give --max_grad_norm 0"
        )
    window = settings.training.gradient_accumulation_steps
    if window > 1:
        yield Problem(
            f"--fused_backward_pass with --gradient_accumulation_steps {window}: "
            "weights move in each backward pass, so that nothing is accumulated; leave one of them out"
        )
    if settings.precision.mixed_precision == "fp16":
        yield Problem(
            "--fused_backward_pass with --mixed_precision fp16: when a gradient overflows, the weights before it have "
            "moved already; use --mixed_precision bf16"
        )


def _warms_up(chosen: ChosenOptimizer) -> bool:
    return chosen.class_name in ("adamwschedulefree", "sgdschedulefree")


def _named(chosen: ChosenOptimizer) -> str:
    return chosen.name if chosen.option == "optimizer_type" else f"--{chosen.option}"


def _network_arguments(settings: Settings) -> Collection[str]:
    return argument_texts(settings.network.network_args or ()).keys()


def _is_positive(rates: float | tuple[float, ...] | None) -> bool:
    return any(rates) if isinstance(rates, tuple) else bool(rates)


def _listed(rates: tuple[float, ...]) -> str:
    return " ".join(f"{rate:g}" for rate in rates)


OPTIMIZER_RULES = (
    _optimizer, _rates_of_zero, _found_rates, _restarts, _adafactor, _adafactor_of_others, _own_schedule,
    _fused_backward,
)  # fmt: skip
