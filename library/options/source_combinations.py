"""Rules about metadata files and masks that are named on the command line."""

from collections.abc import Iterator

from library.options.findings import Finding, Given, Notice, Problem
from library.options.schema import Settings


def _metadata(settings: Settings, given: Given) -> Iterator[Finding]:
    if "in_json" not in given or given & {"dataset_config", "dataset_class"}:
        return
    if "reg_data_dir" in given:
        yield Notice("--reg_data_dir has no effect with --in_json: metadata files list no regularisation images")
    for name in sorted(given & {"caption_extension", "caption_extention"}):
        yield Notice(f"--{name} has no effect with --in_json: that file holds the captions")


def _masks(settings: Settings, given: Given) -> Iterator[Finding]:
    if settings.loss.conditioning_data_dir is None or "dataset_class" in given:
        return
    if "dataset_config" in given:
        yield Notice(
            "--conditioning_data_dir has no effect with --dataset_config; write conditioning_data_dir into its subsets"
        )
    elif "in_json" in given:
        yield Notice("--conditioning_data_dir has no effect with --in_json; it goes with --train_data_dir alone")
    elif not settings.loss.masked_loss:
        yield Problem("--conditioning_data_dir, a folder of masks, needs --masked_loss; add it")
    elif settings.augmentation.alpha_mask:
        yield Notice("--alpha_mask has no effect on images that have a mask in --conditioning_data_dir")


SOURCE_RULES = (_metadata, _masks)
