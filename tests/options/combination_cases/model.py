"""The base model: text, precision, attention, memory."""

from tests.options.combination_cases.case import Case

PROBLEMS = [
    *(
        Case(
            f"--{option}",
            "--cache_text_encoder_outputs needs --network_train_unet_only: "
            "text encoders that are trained say something else at each step",
            f"--{option} --network_train_unet_only",
        )
        for option in ("cache_text_encoder_outputs", "cache_text_encoder_outputs_to_disk")
    ),
    *(
        Case(
            f"--full_{name} {given}".strip(),
            f"--full_{name} with --mixed_precision {precision}: give --mixed_precision {name}",
            f"--full_{name} --mixed_precision {name} --use_8bit_adam",
        )
        for name, other in (("fp16", "bf16"), ("bf16", "fp16"))
        for given, precision in (
            ("", "no, the default"), ("--mixed_precision no", "no"), (f"--mixed_precision {other}", other),
        )
    ),
    *(
        Case(
            f"--full_fp16 --mixed_precision fp16 {words}",
            f"--full_fp16 with {name}: its eps of 1e-8 is 0 in float16, so that weights become nan at the first step; "
            "give --optimizer_args eps=1e-4, or use --optimizer_type AdamW with no arguments but betas and "
            "weight_decay, which computes in float32",
            f"--full_fp16 --mixed_precision fp16 {remedy}",
        )
        for name, words, remedy in (
            ("AdamW", "--optimizer_args amsgrad=True", "--optimizer_args weight_decay=0.1"),
            ("AdamW", "--optimizer_type AdamW --optimizer_args foreach=True", "--use_8bit_adam"),
            ("adam", "--optimizer_type adam", "--optimizer_type adam --optimizer_args eps=1e-4"),
        )
    ),
    *(
        Case(
            f"--{name}",
            f"--{name} needs --mixed_precision bf16 or fp16: what is kept in 8 bits is computed in 16",
            f"--{name} --mixed_precision {precision}",
        )
        for name in ("fp8_base", "fp8_base_unet")
        for precision in ("bf16", "fp16")
    ),
    *(
        Case(
            f"--{name} --mixed_precision bf16 --network_module lycoris.kohya {arguments}",
            f"--{name} with --network_module lycoris.kohya: it may read the model's weights, which are not kept as "
            "such in 8 bits; leave one of them out, or, for lycoris.kohya, give --network_args bypass_mode=True",
            f"--{name} --mixed_precision bf16 --network_module lycoris.kohya --network_args bypass_mode=true",
        )
        for name in ("fp8_base", "fp8_base_unet")
        for arguments in ("", "--network_args bypass_mode=False")
    ),
]  # fmt: skip

NOTICES = [
    Case(
        "--no_half_vae", "--no_half_vae has no effect with --mixed_precision no: everything is in float32",
        "--no_half_vae --mixed_precision bf16",
    ),
    Case(
        "--zero_terminal_snr",
        "--zero_terminal_snr without --v_parameterization: at the last timestep there is nothing but noise, "
        "from which a model that predicts noise learns nothing; previews leave it out",
        "--zero_terminal_snr --v_parameterization",
    ),
    Case(
        "--v2 --clip_skip 2", "--clip_skip 2 with --v2: SD 2.x models already leave out the last layer",
        "--clip_skip 2",
    ),
    *(
        Case(
            "--text_encoder_cache_budget 2",
            "--text_encoder_cache_budget has no effect without --cache_text_encoder_outputs",
            f"--text_encoder_cache_budget 2 --{option} --network_train_unet_only",
        )
        for option in ("cache_text_encoder_outputs", "cache_text_encoder_outputs_to_disk")
    ),
    Case(
        "--full_bf16 --mixed_precision bf16",
        "--full_bf16: the network's weights have 8 significant bits and are rounded at random after each step, which "
        "is right on average; without it, they stay in float32 at little cost",
        "--mixed_precision bf16",
    ),
    Case(
        "--highvram",
        "--highvram has no effect without --cache_latents or --cache_text_encoder_outputs: nothing leaves the GPU",
        "--highvram --cache_latents_to_disk",
    ),
    Case(
        "--fp8_base --fp8_base_unet --mixed_precision bf16",
        "--fp8_base_unet has no effect, since --fp8_base includes the U-Net",
        "--fp8_base --mixed_precision bf16",
    ),
    Case("--mem_eff_attn --xformers", "--mem_eff_attn has no effect, since --xformers is given", "--mem_eff_attn"),
    Case(
        "--dynamo_backend eager", "--dynamo_backend has no effect without --torch_compile",
        "--dynamo_backend eager --torch_compile",
    ),
    Case(
        "--cpu_offload_checkpointing", "--cpu_offload_checkpointing has no effect without --gradient_checkpointing",
        "--cpu_offload_checkpointing --gradient_checkpointing",
    ),
]  # fmt: skip
