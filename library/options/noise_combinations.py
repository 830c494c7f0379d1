"""Rules about options of noise and timesteps that depend on each other."""

from collections.abc import Iterator

from library.options.findings import Finding, Given, Notice, Problem
from library.options.schema import Settings

HIGH_OFFSET = 0.5
"""Above it, an offset is most likely a slip."""


def _noise_offset(settings: Settings, given: Given) -> Iterator[Finding]:
    noise = settings.noise
    if noise.noise_offset:
        if noise.noise_offset > HIGH_OFFSET:
            yield Notice(
                f"--noise_offset {noise.noise_offset:g} is far above the usual 0.05 to 0.1: pictures will be very dark "
                "or very bright"
            )
        return
    if noise.adaptive_noise_scale and noise.noise_offset is None:
        yield Problem(
            f"--adaptive_noise_scale {noise.adaptive_noise_scale} needs --noise_offset: the offset that it is added to"
        )
    elif noise.adaptive_noise_scale:
        yield Notice("--adaptive_noise_scale has no effect with --noise_offset 0")
    if noise.noise_offset_random_strength:
        yield Notice("--noise_offset_random_strength has no effect without --noise_offset")


def _multires_noise(settings: Settings, given: Given) -> Iterator[Finding]:
    noise = settings.noise
    if not noise.multires_noise_iterations:
        if "multires_noise_discount" in given:
            yield Notice("--multires_noise_discount has no effect without --multires_noise_iterations")
    elif noise.multires_noise_iterations == 1:
        yield Notice(
            "--multires_noise_iterations 1: the first level has full size, so that the noise stays as it is; "
            "6 to 10 is usual"
        )
    elif noise.multires_noise_discount == 0:
        yield Notice("--multires_noise_discount 0: levels below full size count nothing, the noise stays as it is")


def _low_frequencies(settings: Settings, given: Given) -> Iterator[Finding]:
    """Options that let a model learn overall brightness, each in a way of its own."""
    noise = settings.noise
    if noise.noise_offset and noise.multires_noise_iterations:
        yield Notice(
            "--noise_offset with --multires_noise_iterations: both strengthen the noise's low frequencies; the offset "
            "is added first, then the levels, and the sum is divided by its standard deviation"
        )
    for name in ("noise_offset", "multires_noise_iterations"):
        if getattr(noise, name) and noise.zero_terminal_snr:
            yield Notice(
                f"--{name} with --zero_terminal_snr: both let a model learn overall brightness; pictures are drawn "
                "from plain noise, which the second alone prepares for"
            )


def _input_noise(settings: Settings, given: Given) -> Iterator[Finding]:
    if settings.noise.ip_noise_gamma_random_strength and not settings.noise.ip_noise_gamma:
        yield Notice("--ip_noise_gamma_random_strength has no effect without --ip_noise_gamma")


def _timesteps(settings: Settings, given: Given) -> Iterator[Finding]:
    timesteps = settings.timesteps
    low, high = timesteps.min_timestep or 0, timesteps.max_timestep or 1000
    if low > high:
        yield Problem(f"--min_timestep {low} must not be above --max_timestep {high}")
        return
    if low == high:
        yield Notice(f"--min_timestep {low} equals --max_timestep: every image is trained at timestep {low}")
    if settings.noise.zero_terminal_snr and high < 1000:
        yield Notice(
            f"--zero_terminal_snr with --max_timestep {high}: the last timesteps, which it is about, are never drawn"
        )
    if high - low <= 1:
        for name in sorted(given & _WHICH_TIMESTEP):
            if getattr(timesteps, name):
                yield Notice(f"--{name} has no effect: --min_timestep and --max_timestep leave only timestep {low}")
    elif timesteps.timestep_sampling != "logit_normal":
        for name in sorted(given & {"logit_mean", "logit_std"}):
            yield Notice(f"--{name} has no effect without --timestep_sampling logit_normal")


_WHICH_TIMESTEP = {"timestep_sampling", "logit_mean", "logit_std", "stratified_timesteps"}

NOISE_RULES = (_noise_offset, _multires_noise, _low_frequencies, _input_noise, _timesteps)
