"""Latents of all pictures, encoded once before training and kept in memory."""

import math
from collections.abc import Sequence
from contextlib import closing
from itertools import islice

import numpy as np

from library.caching.encoded_latents import EncodedLatents, Outcome, report_unusable
from library.caching.latent_encoding import LatentEncoder
from library.caching.latent_pictures import LatentPicture, in_batches
from library.caching.shared_work import Processes
from library.dataset.batches.cached_latents import LatentKey
from library.randomness import tensor_generator

DTYPE = np.dtype(np.float32)
_PICTURES_PER_EXCHANGE = 64
"""That each process gives to the others at a time."""


def encode_in_memory(
    encoder: LatentEncoder,
    pictures: Sequence[LatentPicture],
    seed: int,
    processes: Processes = Processes(),  # noqa: B008 - immutable
) -> EncodedLatents:
    """Encodes every picture once. Several processes are each called with the same pictures, share the work, and get
    the same bits that a single one would compute.

    Each sample is drawn from a generator of the picture's own.

    Raises:
        UserError: an image cannot be read or encoded, and that is not tolerated.
    """
    batches = in_batches(pictures, encoder.batch_size)
    at_once = max(1, _PICTURES_PER_EXCHANGE // encoder.batch_size)
    outcomes: dict[LatentKey, Outcome] = {}
    with closing(
        encoder.encode(
            processes.share_of(batches),
            lambda picture: tensor_generator(seed, "cached", picture.record.image_id, int(picture.view.flipped)),
        )
    ) as encoded:
        for _ in range(math.ceil(len(batches) / (at_once * processes.count))):
            mine = [(picture.key, outcome) for batch in islice(encoded, at_once) for picture, outcome in batch]
            outcomes |= {key: outcome for share in processes.gather(mine) for key, outcome in share}
    report_unusable(outcomes)
    return EncodedLatents(outcomes, encoder.model.family.latents.pixels_per_cell, encoder.resamples, encoder.dtype)
