"""Noise and timesteps."""

from tests.options.combination_cases.case import Case

PROBLEMS = [
    Case(
        "--adaptive_noise_scale 0.05",
        "--adaptive_noise_scale 0.05 needs --noise_offset: the offset that it is added to",
        "--adaptive_noise_scale 0.05 --noise_offset 0.1",
    ),
    Case(
        "--min_timestep 999 --max_timestep 1", "--min_timestep 999 must not be above --max_timestep 1",
        "--min_timestep 999",
    ),
    Case(
        "--min_timestep 501 --max_timestep 500", "--min_timestep 501 must not be above --max_timestep 500",
        "--min_timestep 500 --max_timestep 500",
    ),
]  # fmt: skip

NOTICES = [
    Case(
        "--noise_offset 1",
        "--noise_offset 1 is far above the usual 0.05 to 0.1: pictures will be very dark or very bright",
        "--noise_offset 0.5",
    ),
    Case(
        "--adaptive_noise_scale 0.05 --noise_offset 0",
        "--adaptive_noise_scale has no effect with --noise_offset 0",
        "--adaptive_noise_scale 0 --noise_offset 0",
    ),
    Case(
        "--noise_offset_random_strength",
        "--noise_offset_random_strength has no effect without --noise_offset",
        "--noise_offset_random_strength --noise_offset 0.1",
    ),
    Case(
        "--noise_offset_random_strength --noise_offset 0",
        "--noise_offset_random_strength has no effect without --noise_offset",
        "--no_noise_offset_random_strength --noise_offset 0",
    ),
    Case(
        "--multires_noise_discount 0.3",
        "--multires_noise_discount has no effect without --multires_noise_iterations",
        "--multires_noise_discount 0.3 --multires_noise_iterations 6",
    ),
    Case(
        "--multires_noise_iterations 0 --multires_noise_discount 0.1",
        "--multires_noise_discount has no effect without --multires_noise_iterations",
        "--multires_noise_iterations 0",
    ),
    Case(
        "--multires_noise_iterations 1 --multires_noise_discount 0",
        "--multires_noise_iterations 1: the first level has full size, so that the noise stays as it is; "
        "6 to 10 is usual",
        "--multires_noise_iterations 2",
    ),
    Case(
        "--multires_noise_iterations 6 --multires_noise_discount 0",
        "--multires_noise_discount 0: levels below full size count nothing, the noise stays as it is",
        "--multires_noise_iterations 6 --multires_noise_discount 0.01",
    ),
    Case(
        "--noise_offset 0.05 --multires_noise_iterations 6",
        "--noise_offset with --multires_noise_iterations: both strengthen the noise's low frequencies; the offset "
        "is added first, then the levels, and the sum is divided by its standard deviation",
        "--noise_offset 0 --multires_noise_iterations 6",
    ),
    *(
        Case(
            f"--zero_terminal_snr --v_parameterization --{name} {value}",
            f"--{name} with --zero_terminal_snr: both let a model learn overall brightness; pictures are drawn "
            "from plain noise, which the second alone prepares for",
            f"--zero_terminal_snr --v_parameterization --{name} 0",
        )
        for name, value in (("noise_offset", 0.05), ("multires_noise_iterations", 6))
    ),
    Case(
        "--ip_noise_gamma_random_strength",
        "--ip_noise_gamma_random_strength has no effect without --ip_noise_gamma",
        "--ip_noise_gamma_random_strength --ip_noise_gamma 0.1",
    ),
    Case(
        "--min_timestep 500 --max_timestep 500",
        "--min_timestep 500 equals --max_timestep: every image is trained at timestep 500",
        "--min_timestep 499 --max_timestep 500",
    ),
    Case(
        "--zero_terminal_snr --v_parameterization --max_timestep 999",
        "--zero_terminal_snr with --max_timestep 999: the last timesteps, which it is about, are never drawn",
        "--zero_terminal_snr --v_parameterization --max_timestep 1000 --min_timestep 5",
    ),
    *(
        Case(
            f"--min_timestep 499 --max_timestep 500 --{words}",
            f"--{words.split()[0]} has no effect: --min_timestep and --max_timestep leave only timestep 499",
            f"--min_timestep 498 --max_timestep 500 --{words} {more}",
        )
        for words, more in (
            ("timestep_sampling cosine", ""),
            ("stratified_timesteps", ""),
            ("logit_mean 1", "--timestep_sampling logit_normal"),
        )
    ),
    Case(
        "--logit_mean 1",
        "--logit_mean has no effect without --timestep_sampling logit_normal",
        "--logit_mean 1 --timestep_sampling logit_normal",
    ),
    Case(
        "--logit_std 2 --timestep_sampling cosine",
        "--logit_std has no effect without --timestep_sampling logit_normal",
        "--logit_std 2 --timestep_sampling logit_normal --stratified_timesteps",
    ),
]
