"""Latents that later runs find again, whatever the images are then called and wherever they are.

A picture's entry in a packed file consists of the tensors `KEY.latents`, float16 (channels, height, width), and, if it
has them, `KEY.deviations` of the same shape and `KEY.mask`, int16 (height, width).
"""

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from library.caching.cache_folder import CacheFolder, CacheKind
from library.caching.encoded_latents import EncodedLatents, EncodedPicture, Outcome, UnusablePicture, report_unusable
from library.caching.latent_encoding import Batch, LatentEncoder
from library.caching.latent_pictures import LatentPicture, entry_key, in_batches
from library.caching.pack_writing import PackLimits, PackWriter
from library.caching.packed_files import PackedFile
from library.caching.shared_work import Processes, complete_together
from library.dataset.batches.cached_latents import LatentKey
from library.dataset.images.image_files import UnreadableImageError
from library.dataset.images.pictures import Picture, PictureReader
from library.dataset.records import ImageRecord
from library.randomness import tensor_generator

logger = logging.getLogger(__name__)

KIND = CacheKind(
    contents="latents",
    prefix="latents",
    option="--cache_latents_to_disk",
    alternative="use --cache_latents, which keeps the latents in memory",
)
_LATENTS, _DEVIATIONS, _MASK = ".latents", ".deviations", ".mask"
DTYPE = np.dtype(np.float16)
"""Latents are about one in size: of the kinds with 16 bits, this has the finer steps."""
_BYTES_PER_NUMBER = 2
_SEED = 0
"""A shared cache cannot depend on the seed of a run: what is sampled follows from the picture."""


Fingerprint = str | UnusablePicture


@dataclass(frozen=True)
class _Unchanged:
    """A PictureReader that notices when an image is not what its fingerprint says, since it was replaced while images
    are encoded, or is trusted: its latents would be kept under another image's name."""

    reader: PictureReader
    fingerprints: Mapping[str, Fingerprint]
    """by image id"""
    is_trusted: bool

    def read(self, record: ImageRecord) -> Picture:
        picture = self.reader.read(record)
        if self.fingerprint(record, looks_again=True) != self.fingerprints[record.image_id]:
            since = "it was last looked at; leave out --skip_cache_check" if self.is_trusted else "the run began"
            raise UnreadableImageError(f"it has changed since {since}")
        return picture

    def fingerprint(self, record: ImageRecord, looks_again: bool = False) -> str:
        return self.reader.fingerprint(record, looks_again)

    def keep_facts(self) -> None:
        self.reader.keep_facts()


class LatentsOnDisk:
    """Those of a run's entries that a folder holds. Implements Store."""

    def __init__(self, folder: CacheFolder, wanted: Mapping[str, LatentPicture], batch_size: int):
        """
        Args:
            wanted: entry key -> a picture of this content.
            batch_size: of what is missing.
        """
        self.folder = folder
        self.entries: dict[str, Outcome] = {}
        """by key; unusable pictures, too, once that is known"""
        self._wanted = wanted
        self._batch_size = batch_size
        self.find_new_files()

    def find_new_files(self) -> None:
        """Adds what was written since the last look. Damaged files are left out, with one warning for all."""
        for file in self.folder.new_files(lambda file: not self._wanted.keys().isdisjoint(_entries_in(file))):
            self.entries |= {key: _unpack(file, key) for key in _entries_in(file) if key in self._wanted}

    def missing(self) -> list[Batch]:
        pictures = [picture for key, picture in self._wanted.items() if key not in self.entries]
        return list(in_batches(pictures, self._batch_size))


def fingerprints_of(
    encoder: LatentEncoder,
    pictures: Sequence[LatentPicture],
    processes: Processes = Processes(),  # noqa: B008 - immutable
) -> dict[str, Fingerprint]:
    """By image id: what stands for the content of each image and its mask.

    Several processes are each called with the same pictures and share the work.

    Raises:
        UserError: an image cannot be read, and that is not tolerated.
    """

    def fingerprint(record: ImageRecord) -> Fingerprint:
        try:
            return encoder.reader.fingerprint(record)
        except UnreadableImageError as error:
            return UnusablePicture(record.path, str(error))

    records = list({picture.record.image_id: picture.record for picture in pictures}.values())
    mine = processes.share_of(records)
    with ThreadPoolExecutor(encoder.num_threads) as pool:
        found = tqdm(
            pool.map(fingerprint, mine),
            total=len(mine), desc="looking at images", unit="image", disable=not encoder.show_progress,
        )  # fmt: skip
        shares = processes.gather({record.image_id: one for record, one in zip(mine, found, strict=True)})
    fingerprints = {image_id: one for share in shares for image_id, one in share.items()}
    for one in fingerprints.values():
        if isinstance(one, UnusablePicture):
            encoder.tolerated(one)
    return fingerprints


def encode_on_disk(
    encoder: LatentEncoder,
    pictures: Sequence[LatentPicture],
    fingerprints: Mapping[str, Fingerprint],
    folder: Path,
    processes: Processes = Processes(),  # noqa: B008 - immutable
    is_trusted: bool = False,
    limits: PackLimits = PackLimits(),  # noqa: B008 - immutable
) -> EncodedLatents:
    """Encodes the pictures that the folder lacks, and gives access to all of them.

    Several processes are each called with the same pictures and share the work.

    Args:
        encoder: keeps latents in float16.
        fingerprints: of their images, from `fingerprints_of`.
        folder: of one settings key.
        is_trusted: files are not compared with what was once written to them, and fingerprints may be out of date.

    Raises:
        UserError: an image cannot be read or encoded, and that is not tolerated; or the folder cannot be written.
    """
    keys = {
        picture.key: entry_key(picture, fingerprint)
        for picture in pictures
        if isinstance(fingerprint := fingerprints[picture.record.image_id], str)
    }
    wanted: dict[str, LatentPicture] = {}
    for picture in pictures:
        if picture.key in keys:
            wanted.setdefault(keys[picture.key], picture)
    store = LatentsOnDisk(CacheFolder(folder, KIND, is_trusted), wanted, encoder.batch_size)
    logger.info(f"{len(store.entries)} of {len(wanted)} different pictures are encoded already in '{folder}'")
    careful = replace(encoder, reader=_Unchanged(encoder.reader, fingerprints, is_trusted))
    complete_together(store, lambda share: _write(careful, share, store, keys, limits), processes)
    if store.missing():
        raise store.folder.refusal("files that were just written are not there, or are damaged")
    outcomes: dict[LatentKey, Outcome] = {}
    for picture in pictures:
        fingerprint = fingerprints[picture.record.image_id]
        outcomes[picture.key] = store.entries[keys[picture.key]] if isinstance(fingerprint, str) else fingerprint
    report_unusable(outcomes)
    return EncodedLatents(outcomes, encoder.model.family.latents.pixels_per_cell, encoder.resamples, encoder.dtype)


def _write(
    encoder: LatentEncoder,
    batches: Sequence[Batch],
    store: LatentsOnDisk,
    keys: Mapping[LatentKey, str],
    limits: PackLimits,
) -> None:
    if not batches:
        return
    store.folder.prepare_for(sum(_bytes_of(picture, encoder) for batch in store.missing() for picture in batch))

    def generator_of(picture: LatentPicture) -> torch.Generator:
        return tensor_generator(_SEED, "cached", keys[picture.key])

    with (
        PackWriter(store.folder, limits) as writer,
        closing(encoder.encode(batches, generator_of)) as encoded,
    ):
        for picture, outcome in chain.from_iterable(encoded):
            if isinstance(outcome, UnusablePicture):
                store.entries[keys[picture.key]] = outcome
            else:
                writer.put(_pack(outcome, keys[picture.key]))


def _bytes_of(picture: LatentPicture, encoder: LatentEncoder) -> int:
    """On the disk, at most."""
    channels, height, width = encoder.model.family.latents.shape(picture.view.placement.bucket)
    numbers = channels * (2 if encoder.resamples else 1) + picture.may_have_mask
    return numbers * height * width * _BYTES_PER_NUMBER


def _pack(picture: EncodedPicture, key: str) -> dict[str, torch.Tensor]:
    arrays = {_LATENTS: picture.latents, _DEVIATIONS: picture.deviations, _MASK: picture.mask}
    return {f"{key}{name}": torch.from_numpy(array) for name, array in arrays.items() if array is not None}


def _unpack(file: PackedFile, key: str) -> EncodedPicture:
    def array(name: str) -> np.ndarray | None:
        tensor = file.tensors.get(f"{key}{name}")
        return None if tensor is None else tensor.numpy()

    return EncodedPicture(file.tensors[f"{key}{_LATENTS}"].numpy(), array(_DEVIATIONS), array(_MASK))


def _entries_in(file: PackedFile) -> list[str]:
    return [name.removesuffix(_LATENTS) for name in file.tensors if name.endswith(_LATENTS)]
