"""Arguments that contradict each other, and those that have no effect beside others."""

from collections.abc import Iterator, Set

from networks.arguments.declaration import default_of
from networks.arguments.kinds import (
    MODULES,
    DoRAArguments,
    DyLoRAArguments,
    FactorArguments,
    LoKrArguments,
    LoRAArguments,
    NetworkArguments,
    OFTArguments,
    RanklessArguments,
    RatioArguments,
)
from networks.targeting.presets import DEFAULT, find_preset

_ALIKE = {"dropout": "dropout (or --network_dropout)"}
"""Arguments that are options of the run as well."""


def contradictions(module: str, arguments: NetworkArguments) -> list[str]:
    """What cannot be, whatever the model and --network_dim."""
    return [f"--network_args {problem}" for problem in _contradictions(module, arguments)]


def _contradictions(module: str, arguments: NetworkArguments) -> Iterator[str]:
    algo = arguments.algo
    if algo is not None and algo.lower() not in arguments.ALGOS:
        right = next((name for name, model in MODULES.items() if algo.lower() in model.ALGOS), None)
        fix = f"use --network_module {right}" if right else "leave it out; --network_module says what to train"
        yield f"algo={algo}: {module} trains another kind; {fix}"
    if isinstance(arguments, DoRAArguments) and not arguments.dora_wd:
        yield f"dora_wd=False: {module} is LoRA with dora_wd; use --network_module networks.lora"
    if isinstance(arguments, LoRAArguments) and arguments.init != "default":
        for name in ("use_scalar", "use_tucker"):
            if getattr(arguments, name):
                yield f"init={arguments.init}: does not go with {name}, which starts in its own way; leave one out"


def rank_problems(arguments: NetworkArguments, rank: int) -> list[str]:
    """What cannot be with this --network_dim."""
    ranks: dict[str, tuple[int, ...]] = {"--network_dim": (rank,)}
    ranks["--network_args conv_dim"] = (arguments.conv_dim or 0,)
    for name in ("block_dims", "conv_block_dims"):
        ranks[f"--network_args {name}"] = getattr(arguments, name) or ()
    ranks["--network_args network_reg_dims"] = tuple(own for _, own in arguments.network_reg_dims)
    divisor, reason = _divisor_of_ranks(arguments)
    return [
        f"{name} {','.join(map(str, numbers))}: {reason}"
        for name, numbers in ranks.items()
        if any(number % divisor for number in numbers)
    ]


def _divisor_of_ranks(arguments: NetworkArguments) -> tuple[int, str]:
    """(what every rank must be a multiple of, why)"""
    if isinstance(arguments, DyLoRAArguments):
        return arguments.unit, f"must be a multiple of unit={arguments.unit}"
    if isinstance(arguments, LoRAArguments) and arguments.init == "orthogonal":
        return 2, "must be even for init=orthogonal"
    return 1, ""


def without_effect(arguments: NetworkArguments, options_given: Set[str]) -> list[str]:
    """What was given and does nothing, or not what its user may expect."""
    reasons = arguments.WITHOUT_EFFECT.items()
    found = [f"{_ALIKE.get(name, name)} has no effect: {why}" for name, why in reasons if _given(arguments, name)]
    found += [*_convolutions(arguments), *_conditions(arguments), *_of_kind(arguments)]
    options = arguments.options_without_effect.items()
    return [
        *(f"--{name} has no effect: {reason}" for name, reason in options if name in options_given),
        *(f"--network_args {notice}" for notice in found),
    ]


def _given(arguments: NetworkArguments, name: str) -> bool:
    """Whether an argument says anything; dropout=0 does not."""
    value, default = getattr(arguments, name), default_of(type(arguments), name)
    return value != default and bool(value or default)


def _convolutions(arguments: NetworkArguments) -> Iterator[str]:
    has_convolutions = arguments.adds_convolutions or find_preset(arguments.preset_of_layers).convolutions
    names = ["conv_dim", "conv_alpha", "conv_block_dims", "conv_block_alphas"]
    if isinstance(arguments, FactorArguments):
        names.append("use_tucker")
    if not has_convolutions:
        reason = "without conv_dim" if arguments.preset == DEFAULT else f"with preset={arguments.preset}"
        for name in names:
            if _given(arguments, name) and name not in arguments.WITHOUT_EFFECT:
                yield f"{name} has no effect {reason}: no 3x3 convolution is trained"
        return
    for single, each in (("conv_dim", "conv_block_dims"), ("conv_alpha", "conv_block_alphas")):
        if _given(arguments, single) and getattr(arguments, each) is not None:
            yield f"{single} has no effect, since {each} is given"


def _conditions(arguments: NetworkArguments) -> Iterator[str]:
    weights = (arguments.down_lr_weight, arguments.mid_lr_weight, arguments.up_lr_weight)
    if arguments.block_lr_zero_threshold and all(one is None for one in weights):
        yield "block_lr_zero_threshold has no effect without down_lr_weight, mid_lr_weight or up_lr_weight"
    if _given(arguments, "rank_dropout_scale") and not arguments.rank_dropout:
        yield "rank_dropout_scale has no effect without rank_dropout"
    for name in ("network_reg_dims", "network_reg_lrs"):
        patterns = [pattern for pattern, _ in getattr(arguments, name)]
        for pattern in sorted({pattern for pattern in patterns if patterns.count(pattern) > 1}):
            yield f"{name}: '{pattern}' is there more than once; only the first has an effect"
    if arguments.bypass_mode:
        yield "bypass_mode has no effect: the fastest way is always taken here"


def _of_kind(arguments: NetworkArguments) -> Iterator[str]:
    if isinstance(arguments, RanklessArguments):
        for name in ("block_dims", "conv_block_dims", "network_reg_dims"):
            if _given(arguments, name):
                yield f"{name}: networks of this kind have no rank, so that only 0 says something: not trained"
        if arguments.conv_dim and arguments.adds_convolutions:
            yield "conv_dim: networks of this kind have no rank; it only adds convolutions, whatever its value"
    if isinstance(arguments, FactorArguments):
        for name in ("wd_on_output", "norm_gradient"):
            if getattr(arguments, name) and not arguments.dora_wd:
                yield f"{name} has no effect without dora_wd"
    if isinstance(arguments, RatioArguments) and arguments.loraplus_lr_ratio is not None:
        own = (arguments.loraplus_unet_lr_ratio, arguments.loraplus_text_encoder_lr_ratio)
        if None not in own:
            yield "loraplus_lr_ratio has no effect, since both parts have their own"
    if isinstance(arguments, LoKrArguments) and arguments.full_matrix and arguments.decompose_both:
        yield "decompose_both has no effect with full_matrix"
    if isinstance(arguments, OFTArguments):
        yield from _of_oft(arguments)


def _of_oft(arguments: OFTArguments) -> Iterator[str]:
    if arguments.preset != DEFAULT:
        for name in ("enable_all_linear", "enable_conv"):
            if getattr(arguments, name):
                yield f"{name} has no effect with preset={arguments.preset}"
    if arguments.constraint is not None:
        for name in ("conv_alpha", "block_alphas", "conv_block_alphas"):
            if _given(arguments, name):
                yield f"{name} has no effect with constraint"
    if arguments.algo is not None and not _given(arguments, "network_dim_is"):
        yield (
            f"algo={arguments.algo}: --network_dim is the number of blocks, as in kohya's tool; for their size, as in "
            "LyCORIS, give network_dim_is=block_size"
        )
    if arguments.algo is not None and arguments.constraint is None:
        yield (
            f"algo={arguments.algo}: --network_alpha limits the rotation, as in kohya's tool; without a limit, as in "
            "LyCORIS, give constraint=0"
        )
