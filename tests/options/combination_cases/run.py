"""Data, schedules, saving, previews, logging and files of the run."""

from tests.options.combination_cases.case import DATA, Case

PROBLEMS = [
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
            '/ \\ : * ? " < > |, no blank or dot at the end, no device name such as CON, '
            "at most 200 bytes in UTF-8 (the folder is --logging_dir)",
            f"--{name} a-b- --logging_dir logs",
        )
        for name in ("log_prefix", "log_tracker_name")
    ),
    Case(
        "--output_config", "--output_config needs --config_file: the file to write",
        "--output_config --config_file new",
    ),
]  # fmt: skip

NOTICES = [
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
        "--keep_tokens_separator |||",
        "--keep_tokens_separator '|||' has no effect without --shuffle_caption, --caption_tag_dropout_rate or "
        "--token_warmup_step: it stays in the captions as text",
        "--keep_tokens_separator ||| --shuffle_caption",
    ),
]  # fmt: skip
