"""Names of saved files, and which of them a later save removes."""

from library.averaging.snapshot_facts import FOLDER_ENDING

DEFAULT_FINAL = "last"
DEFAULT_EPOCH = "epoch"
DEFAULT_STEP = "at"
EMA_SUFFIX = "-ema"


def final_file(output_name: str | None, extension: str) -> str:
    return f"{output_name or DEFAULT_FINAL}{extension}"


def epoch_file(output_name: str | None, epoch: int, extension: str) -> str:
    return f"{output_name or DEFAULT_EPOCH}-{epoch:06d}{extension}"


def step_file(output_name: str | None, step: int, extension: str) -> str:
    return f"{output_name or DEFAULT_STEP}-step{step:08d}{extension}"


def of_version(file: str, suffix: str) -> str:
    """The name of a file that holds another version of the weights."""
    stem, dot, extension = file.rpartition(".")
    return f"{stem}{suffix}{dot}{extension}"


def snapshot_folder(output_name: str | None) -> str:
    return f"{output_name or DEFAULT_FINAL}{EMA_SUFFIX}{FOLDER_ENDING}"


def snapshot_file(step: int) -> str:
    """To be made that of a version: such files hold metadata, whatever the form of the others."""
    return f"step{step:08d}.safetensors"


def width_suffix(sigma_rel: float) -> str:
    return f"-sigma{sigma_rel:g}"


def epoch_to_remove(epoch: int, every: int, keep: int | None) -> int | None:
    """The epoch whose file goes when `epoch` is saved, so that the last `keep` saves stay; None = none."""
    if keep is None:
        return None
    removed = epoch - every * keep
    return removed if removed >= 0 else None


def step_to_remove(step: int, every: int, keep_steps: int | None) -> int | None:
    """The step whose file goes when `step` is saved, so that those of the last `keep_steps` steps stay."""
    if keep_steps is None:
        return None
    removed = step - keep_steps - 1
    removed -= removed % every
    return removed if removed >= 0 else None
