"""Random changes of a picture, decided for each exposure."""

from library.dataset.batch_plan import Exposure
from library.options.groups import AugmentationOptions
from library.randomness import python_generator

FLIP_PROBABILITY = 0.5


def is_flipped(rules: AugmentationOptions, exposure: Exposure, seed: int) -> bool:
    """Whether this exposure shows the picture mirrored left to right."""
    if not rules.flip_aug:
        return False
    return python_generator(seed, "flip", exposure.record.image_id, exposure.number).random() < FLIP_PROBABILITY
