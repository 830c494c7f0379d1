"""Options that depend on each other: each rule with values that trigger it and values that do not."""

from dataclasses import dataclass

import pytest

from library.options.combinations import RULES
from library.options.model_combinations import OWN_NETWORKS
from networks.arguments import MODULES
from networks.module_lookup import ALIASES
from tests.options.resolving import COMPLETE, resolve, resolve_complete, write_config

DATA = ("--train_data_dir", "--resolution")
"""What a dataset file stands in for."""


@dataclass(frozen=True)
class Case:
    words: str
    """Added to a complete command line; they trigger the rule."""
    message: str
    quiet: str
    """Added instead, they trigger nothing."""
    without: tuple[str, ...] = ()
    """Options taken out of the complete command line, in the first case only."""
    without_in_quiet: tuple[str, ...] = ()


PROBLEMS = [
    Case(
        "--conditioning_data_dir masks",
        "--conditioning_data_dir, a folder of masks, needs --masked_loss; add it",
        "--conditioning_data_dir masks --masked_loss",
    ),
    Case(
        "", "--train_data_dir or --dataset_config is missing: name the training images",
        "--in_json m.json --dataset_repeats 3", without=("--train_data_dir",), without_in_quiet=("--train_data_dir",),
    ),
    Case(
        "", "--pretrained_model_name_or_path is missing: name the base model (file, folder or hub id)",
        "", without=("--pretrained_model_name_or_path",),
    ),
    Case("", "--output_dir is missing: name the folder for the trained network", "", without=("--output_dir",)),
    Case(
        "", "--network_module is missing: name what to train, usually --network_module networks.lora",
        "", without=("--network_module",),
    ),
    Case(
        "", "--train_data_dir or --dataset_config is missing: name the training images",
        "--dataset_config data.toml", without=("--train_data_dir",), without_in_quiet=("--train_data_dir",),
    ),
    Case(
        "",
        "--resolution is missing: give the training size in pixels, "
        "usually --resolution 512 for SD 1.x and 1024 for SDXL",
        "--dataset_config data.toml", without=("--resolution",), without_in_quiet=DATA,
    ),
    Case(
        "--network_train_unet_only --network_train_text_encoder_only",
        "--network_train_unet_only and --network_train_text_encoder_only exclude each other; "
        "leave both out to train both parts",
        "--network_train_unet_only --no_network_train_text_encoder_only",
    ),
    *(
        Case(
            f"--dataset_class my.Set --{name} --network_train_unet_only",
            f"--{name} with --dataset_class needs --cache_dir: there is no image folder for the files",
            f"--dataset_class my.Set --{name} --network_train_unet_only --cache_dir cache",
            without=("--train_data_dir",), without_in_quiet=("--train_data_dir",),
        )
        for name in ("cache_latents_to_disk", "cache_text_encoder_outputs_to_disk")
    ),
    Case(
        "--dataset_class my.Set",
        "--resolution is missing: give the training size in pixels, "
        "usually --resolution 512 for SD 1.x and 1024 for SDXL",
        "--dataset_class my.Set", without=DATA, without_in_quiet=("--train_data_dir",),
    ),
    Case("--network_args a=1 b=2 a=3", "--network_args: a is given twice", "--network_args a=1 b=1 aa=1"),
    Case("--text_encoder_lr 1e-5 -1", "--text_encoder_lr: must be at least 0", "--text_encoder_lr 1e-5 0"),
    Case(
        "--use_8bit_adam --optimizer_type Lion",
        "--use_8bit_adam means --optimizer_type AdamW8bit, but --optimizer_type Lion was given; leave one of them out",
        "--use_8bit_adam --optimizer_type adamw8BIT",
    ),
    Case(
        "--lr_scheduler cosine_with_min_lr",
        "--lr_scheduler cosine_with_min_lr needs --lr_scheduler_min_lr_ratio",
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
        "--min_timestep 500 --max_timestep 500", "--min_timestep 500 must be below --max_timestep 500",
        "--min_timestep 499 --max_timestep 500",
    ),
    Case(
        "--min_timestep 999 --max_timestep 1", "--min_timestep 999 must be below --max_timestep 1",
        "--min_timestep 999",
    ),
    Case(
        "--sample_every_n_steps 5", "--sample_every_n_steps needs --sample_prompts: a file with one prompt per line",
        "--sample_every_n_steps 5 --sample_prompts p.txt",
    ),
    Case(
        "--sample_every_n_epochs 1", "--sample_every_n_epochs needs --sample_prompts: a file with one prompt per line",
        "--sample_every_n_epochs 0",
    ),
    Case(
        "--sample_at_first", "--sample_at_first needs --sample_prompts: a file with one prompt per line",
        "--sample_at_first --sample_prompts p.txt",
    ),
    Case(
        "--log_with tensorboard", "--log_with tensorboard needs --logging_dir: the folder for the logs",
        "--log_with tensorboard --logging_dir logs",
    ),
    *(
        Case(
            f"--{name} a/b --logging_dir logs",
            f"--{name} 'a/b': must be a file name that every system takes: not empty, without "
            '/ \\ : * ? " < > |, no blank or dot at the end, no device name such as CON (the folder is --logging_dir)',
            f"--{name} a-b- --logging_dir logs",
        )
        for name in ("log_prefix", "log_tracker_name")
    ),
    *(
        Case(
            words, "nothing would be trained: the learning rate of every part is 0; raise --learning_rate",
            f"{words} --unet_lr 1e-4",
        )
        for words in (
            "--learning_rate 0",
            "--learning_rate 0 --network_train_unet_only",
            "--unet_lr 0 --text_encoder_lr 0",
        )
    ),
    Case(
        "--learning_rate 0 --network_train_text_encoder_only",
        "nothing would be trained: the learning rate of every part is 0; raise --learning_rate",
        "--learning_rate 0 --text_encoder_lr 1e-4 --network_train_text_encoder_only",
    ),
    Case(
        "--output_config", "--output_config needs --config_file: the file to write",
        "--output_config --config_file new",
    ),
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
            f"--full_{name} --mixed_precision {other}",
            f"--full_{name} needs --mixed_precision {name}, but it is {other}",
            f"--full_{name} --mixed_precision {name} --use_8bit_adam",
        )
        for name, others in (("fp16", ("no", "bf16")), ("bf16", ("no", "fp16")))
        for other in others
    ),
    *(
        Case(
            f"--full_fp16 --mixed_precision fp16 {words}",
            "--full_fp16 with AdamW: its eps of 1e-8 is 0 in float16, so that weights become nan at the first step; "
            "use --optimizer_type AdamW8bit, or --optimizer_args eps=1e-4",
            f"--full_fp16 --mixed_precision fp16 {remedy}",
        )
        for words, remedy in (
            ("", "--optimizer_type AdamW8bit"),
            ("--optimizer_type AdamW", "--optimizer_args eps=1e-4"),
            ("--optimizer_args weight_decay=0.1", "--use_8bit_adam"),
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
            f"--{name} --mixed_precision bf16 --network_module lycoris.kohya --network_args bypass_mode=True",
        )
        for name in ("fp8_base", "fp8_base_unet")
        for arguments in ("", "--network_args bypass_mode=False")
    ),
    Case(
        "--dim_from_weights",
        "--dim_from_weights needs --network_weights: the file that the ranks and alphas are taken from",
        "--dim_from_weights --network_weights a.safetensors",
    ),
    Case(
        "--base_weights a.safetensors --base_weights_multiplier 0.5 2",
        "--base_weights_multiplier 0.5 2: there are more multipliers than --base_weights (1); leave out the rest",
        "--base_weights a.safetensors b.safetensors --base_weights_multiplier 0.5 2",
    ),
    Case(
        "--base_weights_multiplier 0.5",
        "--base_weights_multiplier 0.5: there are more multipliers than --base_weights (0); leave out the rest",
        "--base_weights a.safetensors b.safetensors --base_weights_multiplier 0.5",
    ),
]  # fmt: skip

NOTICES = [
    *(
        Case(
            f"--dim_from_weights --network_weights a.safetensors --network_{size} 4",
            f"--network_{size} has no effect with --dim_from_weights: each layer has the file's rank and alpha",
            f"--network_{size} 4",
        )
        for size in ("dim", "alpha")
    ),
    Case(
        "--network_weights a.safetensors --network_alpha 4",
        "--network_alpha has no effect on layers that --network_weights holds: the file's alpha counts",
        "--network_weights a.safetensors --network_alpha 4 --network_module lycoris.kohya",
    ),
    Case(
        "--base_weights a.pt b.pt --base_weights_multiplier 0.5 0",
        "--base_weights 'b.pt' has no effect, since its --base_weights_multiplier is 0",
        "--base_weights a.pt b.pt --base_weights_multiplier 0.5 1",
    ),
    Case(
        "--in_json m.json --reg_data_dir reg",
        "--reg_data_dir has no effect with --in_json: metadata files list no regularisation images",
        "--reg_data_dir reg",
    ),
    *(
        Case(
            f"--in_json m.json --{name} .txt", f"--{name} has no effect with --in_json: that file holds the captions",
            f"--{name} .txt",
        )
        for name in ("caption_extension", "caption_extention")
    ),
    Case(
        "--conditioning_data_dir m --masked_loss --dataset_config data.toml",
        "--conditioning_data_dir has no effect with --dataset_config; write conditioning_data_dir into its subsets",
        "--conditioning_data_dir m --masked_loss", without=DATA,
    ),
    Case(
        "--conditioning_data_dir m --masked_loss --in_json m.json",
        "--conditioning_data_dir has no effect with --in_json; it goes with --train_data_dir alone",
        "--masked_loss --in_json m.json",
    ),
    Case(
        "--conditioning_data_dir m --masked_loss --alpha_mask",
        "--alpha_mask has no effect on images that have a mask in --conditioning_data_dir",
        "--masked_loss --alpha_mask",
    ),
    *(
        Case(f"--{option} {value}", f"--{option} has no effect with --lr_scheduler constant", quiet)
        for option, value, quiet in (
            ("lr_scheduler_num_cycles", "2", "--lr_scheduler_num_cycles 2 --lr_scheduler cosine_with_restarts"),
            ("lr_scheduler_power", "2", "--lr_scheduler_power 2 --lr_scheduler polynomial"),
            ("lr_scheduler_timescale", "10", "--lr_scheduler_timescale 10 --lr_scheduler inverse_sqrt"),
            ("lr_scheduler_min_lr_ratio", "0.1", "--lr_scheduler_min_lr_ratio 0.1 --lr_scheduler warmup_stable_decay"),
            ("lr_decay_steps", "0.1", "--lr_decay_steps 0.1 --lr_scheduler warmup_stable_decay"),
        )
    ),
    Case(
        "--dataset_config data.toml --reg_data_dir reg",
        "--reg_data_dir has no effect, since --dataset_config describes the datasets",
        "--reg_data_dir reg", without=("--train_data_dir",),
    ),
    Case(
        "--dataset_config data.toml",
        "--train_data_dir has no effect, since --dataset_config describes the datasets",
        "--dataset_config data.toml", without_in_quiet=("--train_data_dir",),
    ),
    *(
        Case(
            f"--{name} {value}", f"--{name} has no effect without --enable_bucket", f"--{name} {value} --enable_bucket"
        )
        for name, value in [("min_bucket_reso", 128), ("max_bucket_reso", 768), ("bucket_reso_steps", 32)]
    ),
    *(
        Case(
            f"--dataset_class my.Set {words}",
            f"{words.split()[0]} has no effect with --dataset_class, which takes the place of all folders",
            "--dataset_class my.Set --dataset_repeats 2",
            without=("--train_data_dir",), without_in_quiet=("--train_data_dir",),
        )
        for words in (
            "--train_data_dir other", "--reg_data_dir reg", "--dataset_config data.toml", "--in_json captions.json",
            "--caption_extension .txt", "--recursive", "--cache_info", "--conditioning_data_dir masks",
        )
    ),
    Case(
        "--bucket_no_upscale", "--bucket_no_upscale has no effect without --enable_bucket",
        "--bucket_no_upscale --enable_bucket",
    ),
    Case(
        "--persistent_data_loader_workers --max_data_loader_n_workers 0",
        "--persistent_data_loader_workers has no effect with --max_data_loader_n_workers 0",
        "--persistent_data_loader_workers --max_data_loader_n_workers 1",
    ),
    Case(
        "--no_persistent_data_loader_workers --max_data_loader_n_workers 1",
        "--no_persistent_data_loader_workers has no effect: worker processes live as long as the run",
        "--persistent_data_loader_workers --max_data_loader_n_workers 1",
    ),
    Case(
        "--enforce_bucket_limits --enable_bucket",
        "--enforce_bucket_limits has no effect without --bucket_no_upscale: the limits are kept anyway",
        "--enforce_bucket_limits --enable_bucket --bucket_no_upscale",
    ),
    Case(
        "--dataset_repeats 2",
        "--dataset_repeats has no effect with --train_data_dir: the folders' names say the repeats",
        "--dataset_repeats 2 --dataset_config data.toml", without_in_quiet=("--train_data_dir",),
    ),
    Case(
        "--prior_loss_weight 0.5", "--prior_loss_weight has no effect without regularisation images (--reg_data_dir)",
        "--prior_loss_weight 0.5 --reg_data_dir reg",
    ),
    *(
        Case(
            f"{words} --cache_latents",
            f"{words.split()[0]} has no effect with --cache_latents: no images are read while training", words,
        )
        for words in ("--max_data_loader_n_workers 1", "--persistent_data_loader_workers")
    ),
    Case(
        "--no_half_vae", "--no_half_vae has no effect with --mixed_precision no: everything is in float32",
        "--no_half_vae --mixed_precision bf16",
    ),
    Case(
        "--training_comment hello --no_metadata", "--training_comment has no effect with --no_metadata",
        "--training_comment hello",
    ),
    Case(
        "--cache_latents_to_disk --max_data_loader_n_workers 1",
        "--max_data_loader_n_workers has no effect with --cache_latents_to_disk: no images are read while training",
        "--max_data_loader_n_workers 1",
    ),
    *(
        Case(
            "--vae_batch_size 2",
            "--vae_batch_size has no effect without --cache_latents",
            f"--vae_batch_size 2 {remedy}",
        )
        for remedy in ("--cache_latents", "--cache_latents_to_disk")
    ),
    *(
        Case(
            "--resample_latents",
            "--resample_latents has no effect without --cache_latents: latents are drawn anew anyway",
            f"--resample_latents {remedy}",
        )
        for remedy in ("--cache_latents", "--cache_latents_to_disk")
    ),
    Case(
        "--cache_latents_to_disk --skip_cache_check",
        "--skip_cache_check: caches on disk are trusted without a look at the images; images that were changed "
        "since they were encoded are trained on as they were",
        "--cache_latents_to_disk",
    ),
    Case(
        "--cache_latents --skip_cache_check",
        "--skip_cache_check has no effect without --cache_latents_to_disk or --cache_text_encoder_outputs_to_disk",
        "--cache_latents --skip_cache_check --cache_info",
    ),
    *[
        Case(
            "--keep_tokens 1",
            "--keep_tokens has no effect without --shuffle_caption, --caption_tag_dropout_rate or --token_warmup_step",
            f"--keep_tokens 1 {remedy}",
        )
        for remedy in ("--shuffle_caption", "--caption_tag_dropout_rate 0.1", "--token_warmup_step 0.1")
    ],
    *(
        Case(f"--{name} 1", f"--{name} 1 leaves out every caption: the images are trained without any text", quiet)
        for name, quiet in [
            ("caption_dropout_rate", "--caption_dropout_rate 0.9"),
            ("caption_dropout_every_n_epochs", "--caption_dropout_every_n_epochs 2"),
        ]
    ),
    Case(
        "--token_warmup_min 1", "--token_warmup_min has no effect without --token_warmup_step",
        "--token_warmup_min 1 --token_warmup_step 0.1",
    ),
    Case(
        "--network_train_unet_only --text_encoder_lr 1e-5",
        "--text_encoder_lr has no effect with --network_train_unet_only",
        "--network_train_text_encoder_only --text_encoder_lr 1e-5",
    ),
    Case(
        "--network_train_text_encoder_only --unet_lr 1e-5",
        "--unet_lr has no effect with --network_train_text_encoder_only",
        "--network_train_unet_only --unet_lr 1e-5",
    ),
    Case(
        "--max_train_epochs 2", "--max_train_steps has no effect, since --max_train_epochs is given",
        "--max_train_epochs 2", without_in_quiet=("--max_train_steps",),
    ),
    Case(
        "", "neither --max_train_steps nor --max_train_epochs was given: training stops after 1600 steps",
        "--max_train_epochs 2", without=("--max_train_steps",), without_in_quiet=("--max_train_steps",),
    ),
    Case(
        "--save_n_epoch_ratio 4 --save_every_n_epochs 1",
        "--save_every_n_epochs has no effect, since --save_n_epoch_ratio is given",
        "--save_n_epoch_ratio 4",
    ),
    Case(
        "--save_last_n_epochs 2", "--save_last_n_epochs has no effect without --save_every_n_epochs",
        "--save_last_n_epochs 2 --save_every_n_epochs 1",
    ),
    Case(
        "--save_last_n_epochs 2", "--save_last_n_epochs has no effect without --save_every_n_epochs",
        "--save_last_n_epochs 2 --save_n_epoch_ratio 4",
    ),
    Case(
        "--save_last_n_steps 20 --save_every_n_epochs 1",
        "--save_last_n_steps has no effect without --save_every_n_steps",
        "--save_last_n_steps 20 --save_every_n_steps 10",
    ),
    *(
        Case(
            f"--save_model_as {kind}",
            f"--save_model_as {kind}: such files hold no metadata; safetensors files do",
            "--save_model_as safetensors",
        )
        for kind in ("ckpt", "pt")
    ),
    Case(
        "--sample_prompts p.txt",
        "--sample_prompts has no effect without --sample_every_n_steps, --sample_every_n_epochs or --sample_at_first",
        "--sample_prompts p.txt --sample_at_first",
    ),
    Case(
        "--sample_prompts p.txt --sample_every_n_steps 5 --sample_every_n_epochs 1",
        "--sample_every_n_steps has no effect, since --sample_every_n_epochs is given",
        "--sample_prompts p.txt --sample_every_n_steps 5 --sample_every_n_epochs 0",
    ),
    *(
        Case(
            f"--{words}", f"--{words.split()[0]} has no effect without --logging_dir", f"--{words} --logging_dir logs"
        )
        for words in ("log_prefix run", "log_tracker_name name", "log_config")
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
        "--full_bf16: bfloat16 has 8 significant bits, so that small updates of the network are lost; "
        "without it, the network stays in float32 at little cost",
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
    Case(
        "--keep_tokens_separator |||",
        "--keep_tokens_separator '|||' has no effect without --shuffle_caption, --caption_tag_dropout_rate or "
        "--token_warmup_step: it stays in the captions as text",
        "--keep_tokens_separator ||| --shuffle_caption",
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


def named(case: Case) -> str:
    return case.message.split(":")[0][:60]


@pytest.mark.parametrize("case", PROBLEMS, ids=named)
def test_problem(case):
    resolved = resolve_complete(*case.words.split(), without=case.without)
    assert resolved.problems == (case.message,)
    assert resolved.warnings == ()
    quiet = resolve_complete(*case.quiet.split(), without=case.without_in_quiet)
    assert quiet.problems == ()


@pytest.mark.parametrize("case", NOTICES, ids=named)
def test_notice(case):
    resolved = resolve_complete(*case.words.split(), without=case.without)
    assert resolved.problems == ()
    assert resolved.warnings == (case.message,)
    quiet = resolve_complete(*case.quiet.split(), without=case.without_in_quiet)
    assert (quiet.problems, quiet.warnings) == ((), ())


def test_every_rule_is_among_the_cases():
    assert len(RULES) == 21
    triggered = set()
    for case in (*PROBLEMS, *NOTICES):
        resolved = resolve_complete(*case.words.split(), without=case.without)
        given = frozenset(name for name, origin in resolved.origins.items() if origin != "default")
        triggered |= {rule.__name__ for rule in RULES if any(rule(resolved.settings, given))}
    assert triggered == {rule.__name__ for rule in RULES}


def test_a_complete_command_line_triggers_nothing():
    resolved = resolve_complete()
    assert (resolved.problems, resolved.warnings) == ((), ())


def test_an_empty_command_line_names_all_that_is_missing():
    resolved = resolve()
    missing = [problem.split(" is missing")[0] for problem in resolved.problems]
    assert missing == [
        "--pretrained_model_name_or_path",
        "--output_dir",
        "--network_module",
        "--train_data_dir or --dataset_config",
        "--resolution",
    ]


def test_a_configuration_that_is_written_may_be_incomplete():
    resolved = resolve("--output_config", "--config_file", "later")
    assert resolved.problems == ()


def test_regularisation_images_alone():
    resolved = resolve_complete("--reg_data_dir", "reg", without=("--train_data_dir",))
    assert resolved.problems == (
        "--train_data_dir or --dataset_config is missing: name the training images",
        "--reg_data_dir adds to training images; it needs --train_data_dir",
    )


UNUSABLE_NAMES = [
    *(f"my{letter}dog" for letter in '/\\:*?"<>|\n\x1f'),
    "",
    "dog.",
    "dog ",
    "con",
    "NUL",
    "aux.v2",
    "COM1",
    "lpt9.a.b",
]


@pytest.mark.parametrize("name", UNUSABLE_NAMES)
def test_names_that_some_system_cannot_have(name):
    resolved = resolve_complete(f"--output_name={name}")
    assert resolved.problems == (
        f"--output_name '{name}': must be a file name that every system takes: not empty, without "
        '/ \\ : * ? " < > |, no blank or dot at the end, no device name such as CON (the folder is --output_dir)',
    )


@pytest.mark.parametrize("name", ["my dog", ".größer 日本-v1.5_(x)", "100%", "console", "com10", "my con"])
def test_names_that_every_system_can_have(name):
    assert resolve_complete(f"--output_name={name}").problems == ()


@pytest.mark.parametrize(
    "words", ["--min_bucket_reso 128", "--bucket_no_upscale", "--keep_tokens 2", "--token_warmup_min 2"]
)
def test_a_dataset_file_may_switch_on_what_the_command_line_does_not(words):
    """Whether such an option has an effect is then up to the tables of the file."""
    resolved = resolve_complete("--dataset_config", "data.toml", *words.split(), without=DATA)
    assert (resolved.problems, resolved.warnings) == ((), ())


def test_rules_see_what_the_file_says(tmp_path):
    lines = [f"{option[2:]} = {value if value.isdigit() else repr(value)}" for option, value in COMPLETE.items()]
    lines += ["lr_warmup_steps = 5", "vae_batch_size = 2"]
    resolved = resolve("--config_file", write_config(tmp_path, "\n".join(lines)))
    assert len(lines) == 8
    assert [problem.split(":")[0] for problem in resolved.problems] == ["--lr_warmup_steps 5"]
    assert resolved.warnings == ("--vae_batch_size has no effect without --cache_latents",)


def test_a_default_that_was_written_down_is_no_default():
    assert resolve_complete().settings.buckets.min_bucket_reso == 256
    assert resolve_complete("--min_bucket_reso", "256").warnings == (
        "--min_bucket_reso has no effect without --enable_bucket",
    )


def test_notices_of_one_rule_come_in_alphabetical_order():
    resolved = resolve_complete("--min_bucket_reso", "64", "--max_bucket_reso", "512", "--bucket_reso_steps", "64")
    assert [notice.split()[0] for notice in resolved.warnings] == [
        "--bucket_reso_steps",
        "--max_bucket_reso",
        "--min_bucket_reso",
    ]
    resolved = resolve_complete("--dataset_config", "data.toml", "--reg_data_dir", "reg")
    assert [notice.split()[0] for notice in resolved.warnings] == ["--reg_data_dir", "--train_data_dir"]


def test_networks_known_to_understand_eight_bits_are_our_own():
    assert MODULES.keys() | ALIASES.keys() == OWN_NETWORKS
    assert len(OWN_NETWORKS) == 13
