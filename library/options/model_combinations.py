"""Rules about options of the base model: text, precision, attention, memory."""

from collections.abc import Iterator

from library.options.chosen_optimizer import ChosenOptimizer
from library.options.findings import Finding, Given, Notice, Problem
from library.options.schema import Settings

OWN_NETWORKS = frozenset({
    "networks.boft", "networks.dora", "networks.dylora", "networks.full", "networks.glora", "networks.ia3",
    "networks.locon", "networks.loha", "networks.lokr", "networks.lora", "networks.lora_fa", "networks.oft",
    "locon.locon_kohya",
})  # fmt: skip
"""Network modules that come with the suite, by all of their names. They know how weights are kept in 8 bits, and take
alphas from files."""


def _prediction(settings: Settings, given: Given) -> Iterator[Finding]:
    model = settings.model
    if settings.noise.zero_terminal_snr and not model.v_parameterization:
        yield Notice(
            "--zero_terminal_snr without --v_parameterization: at the last timestep there is nothing but noise, "
            "from which a model that predicts noise learns nothing; previews leave it out"
        )
    if model.v2 and model.clip_skip is not None:
        yield Notice(f"--clip_skip {model.clip_skip} with --v2: SD 2.x models already leave out the last layer")


def _text_cache(settings: Settings, given: Given) -> Iterator[Finding]:
    cache = settings.cache
    if not cache.caches_text:
        if "text_encoder_cache_budget" in given:
            yield Notice("--text_encoder_cache_budget has no effect without --cache_text_encoder_outputs")
    elif not settings.network.network_train_unet_only:
        yield Problem(
            "--cache_text_encoder_outputs needs --network_train_unet_only: "
            "text encoders that are trained say something else at each step"
        )


def _precision(settings: Settings, given: Given) -> Iterator[Finding]:
    precision = settings.precision
    for name, wanted in (("full_fp16", "fp16"), ("full_bf16", "bf16")):
        if getattr(precision, name) and precision.mixed_precision != wanted:
            default = "" if "mixed_precision" in given else ", the default"
            yield Problem(
                f"--{name} with --mixed_precision {precision.mixed_precision}{default}: give --mixed_precision {wanted}"
            )
    if precision.full_bf16 and precision.mixed_precision == "bf16":
        yield Notice(
            "--full_bf16: the network's weights have 8 significant bits and are rounded at random after each step, "
            "which is right on average; without it, they stay in float32 at little cost"
        )
    if precision.full_fp16 and precision.mixed_precision == "fp16" and _divides_by_zero(settings):
        yield Problem(
            f"--full_fp16 with {ChosenOptimizer(settings.optimizer).name}: its eps of 1e-8 is 0 in float16, so that "
            "weights become nan at the first step; give --optimizer_args eps=1e-4, or use --optimizer_type AdamW with "
            "no arguments but betas and weight_decay, which computes in float32"
        )
    for name in ("fp8_base", "fp8_base_unet"):
        if getattr(precision, name) and precision.mixed_precision == "no":
            yield Problem(f"--{name} needs --mixed_precision bf16 or fp16: what is kept in 8 bits is computed in 16")
        if getattr(precision, name):
            yield from _eight_bit_network(settings, name)
    if precision.fp8_base and precision.fp8_base_unet:
        yield Notice("--fp8_base_unet has no effect, since --fp8_base includes the U-Net")
    if settings.model.no_half_vae and precision.mixed_precision == "no":
        yield Notice("--no_half_vae has no effect with --mixed_precision no: everything is in float32")


def _divides_by_zero(settings: Settings) -> bool:
    """Whether the optimizer computes in the weights' precision with an eps that vanishes there. AdamW computes in
    float32, unless it has arguments for which it is torch's."""
    chosen = ChosenOptimizer(settings.optimizer)
    if chosen.class_name not in ("adam", "adamw", "nadam", "radam") or "eps" in chosen.arguments:
        return False
    return chosen.class_name != "adamw" or not chosen.arguments.keys() <= {"betas", "weight_decay"}


def _eight_bit_network(settings: Settings, option: str) -> Iterator[Finding]:
    """Networks that hook into a layer's computation need not know how its weight is kept; others would read it."""
    module = settings.network.network_module
    bypasses = "bypass_mode=true" in map(str.lower, settings.network.network_args or ())
    if module is None or module in OWN_NETWORKS or bypasses:
        return
    yield Problem(
        f"--{option} with --network_module {module}: it may read the model's weights, which are not kept as such in "
        "8 bits; leave one of them out, or, for lycoris.kohya, give --network_args bypass_mode=True"
    )


def _kernels(settings: Settings, given: Given) -> Iterator[Finding]:
    attention = settings.attention
    if attention.mem_eff_attn and attention.xformers:
        yield Notice("--mem_eff_attn has no effect, since --xformers is given")
    if "dynamo_backend" in given and not attention.torch_compile:
        yield Notice("--dynamo_backend has no effect without --torch_compile")
    if settings.memory.highvram and not (settings.cache.caches_latents or settings.cache.caches_text):
        yield Notice(
            "--highvram has no effect without --cache_latents or --cache_text_encoder_outputs: nothing leaves the GPU"
        )
    if settings.memory.cpu_offload_checkpointing and not settings.training.gradient_checkpointing:
        yield Notice("--cpu_offload_checkpointing has no effect without --gradient_checkpointing")


MODEL_RULES = (_prediction, _text_cache, _precision, _kernels)
