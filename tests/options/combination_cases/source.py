"""Where images and captions come from."""

from tests.options.combination_cases.case import DATA, Case

PROBLEMS = [
    Case(
        "--conditioning_data_dir masks",
        "--conditioning_data_dir, a folder of masks, needs --masked_loss; add it",
        "--conditioning_data_dir masks --masked_loss",
    ),
]  # fmt: skip

NOTICES = [
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
]  # fmt: skip
