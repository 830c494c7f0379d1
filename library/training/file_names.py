"""Names of saved files, and which of them a later save removes."""

DEFAULT_FINAL = "last"
DEFAULT_EPOCH = "epoch"
DEFAULT_STEP = "at"


def final_file(output_name: str | None, extension: str) -> str:
    return f"{output_name or DEFAULT_FINAL}{extension}"


def epoch_file(output_name: str | None, epoch: int, extension: str) -> str:
    return f"{output_name or DEFAULT_EPOCH}-{epoch:06d}{extension}"


def step_file(output_name: str | None, step: int, extension: str) -> str:
    return f"{output_name or DEFAULT_STEP}-step{step:08d}{extension}"


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
