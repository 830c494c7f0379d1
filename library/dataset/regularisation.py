"""How often each regularisation image is used, so that there are as many as training images."""

from collections.abc import Sequence


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
