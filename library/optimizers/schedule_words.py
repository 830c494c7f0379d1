"""A learning-rate schedule in words, with the steps of the run at hand. Needs no torch."""

from library.optimizers.schedule_lengths import count_steps, count_warmup
from library.optimizers.schedule_shapes import INVERSE_SQRT_TIMESCALE, POLYNOMIAL_END
from library.options.groups import ScheduleOptions
from library.options.piecewise_rules import rules_of
from library.wording import counted


def describe_schedule(options: ScheduleOptions, max_train_steps: int) -> str:
    """
    Args:
        options: as the optimizer leaves them (see schedule_beside), without contradictions.
    """
    if options.lr_scheduler_type:
        return " ".join([options.lr_scheduler_type, *(options.lr_scheduler_args or ())])
    warmup = count_warmup(options, max_train_steps)
    phases = [f"{counted(warmup, 'step')} of warm-up"] if warmup else []
    phases += [phase for phase in [_after_warmup(options, warmup, max_train_steps)] if phase]
    return f"{options.name}: {', then '.join(phases)}" if phases else options.name


def _after_warmup(options: ScheduleOptions, warmup: int, max_train_steps: int) -> str:
    ratio = options.lr_scheduler_min_lr_ratio
    lowest = f"{ratio:.3g} of the full rate" if ratio else "0"
    cycles = options.lr_scheduler_num_cycles
    match options.name:
        case "linear":
            return "evenly down to 0"
        case "cosine":
            return "down to 0"
        case "cosine_with_restarts":
            return "down to 0" + (f", {cycles} times" if cycles > 1 else "")
        case "cosine_with_min_lr":
            return f"down to {lowest}" if cycles == 1 else f"{cycles} half cosines between the full rate and {lowest}"
        case "polynomial":
            return f"down to {POLYNOMIAL_END:g} (power {options.lr_scheduler_power:g})"
        case "inverse_sqrt":
            timescale = options.lr_scheduler_timescale or warmup or INVERSE_SQRT_TIMESCALE
            return f"down with the square root of the steps (time scale {counted(timescale, 'step')})"
        case "rex":
            return f"down to {lowest}"
        case "warmup_stable_decay":
            decay = count_steps(options.lr_decay_steps, max_train_steps)
            if decay == 0:
                return "the full rate"
            return f"the full rate until step {max_train_steps - decay}, then down to {lowest}"
        case "piecewise_constant":
            rules = rules_of(options)
            return ", ".join([*(f"{share:g} until step {step}" for step, share in rules.steps), f"then {rules.last:g}"])
        case "adafactor":
            return "a function of the step, unless scale_parameter=False times the size of the weights"
    return ""
