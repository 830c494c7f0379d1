"""How often each regularisation image is used, so that there are as many as training images."""

from collections.abc import Sequence
from dataclasses import replace

from library.dataset.findings import Findings
from library.dataset.records import Dataset
from library.wording import counted


def balance_regularisation(dataset: Dataset, findings: Findings) -> Dataset:
    """Gives every regularisation image its repeats; those that are not needed get none."""
    of_training = [record for record in dataset.records if not record.is_reg]
    regularisation = [record for record in dataset.records if record.is_reg]
    if not regularisation:
        return dataset
    wanted = dataset.num_train_images
    repeats = regularisation_repeats(wanted, [record.repeats for record in regularisation])
    unused = repeats.count(0)
    if unused:
        findings.warnings.append(
            f"not used, as not needed beside {counted(wanted, 'training image')} (with repeats): "
            f"{unused} of {counted(len(regularisation), 'regularisation image')}"
        )
    balanced = [replace(record, repeats=times) for record, times in zip(regularisation, repeats, strict=True)]
    return replace(dataset, records=(*of_training, *balanced))


def regularisation_repeats(num_train_images: int, own_repeats: Sequence[int]) -> list[int]:
    """Repeats of every regularisation image in an epoch; 0 = not used.

    Images are taken in order with their own repeats until `num_train_images` (which counts repeats) has been
    reached; the first round may overshoot. If there are too few, further rounds add one repeat per image.
    """
    repeats = [0] * len(own_repeats)
    total = 0
    for index, own in enumerate(own_repeats):
        if total >= num_train_images:
            break
        repeats[index] = own
        total += own
    while own_repeats and total < num_train_images:
        for index in range(len(own_repeats)):
            if total >= num_train_images:
                break
            repeats[index] += 1
            total += 1
    return repeats
