"""From pictures to latents, as quickly as the slowest step allows: threads read what the VAE encodes next."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from tqdm import tqdm

from library.caching.encoded_latents import EncodedPicture, Outcome, UnusablePicture
from library.caching.latent_pictures import LatentPicture
from library.dataset.augmentations.augmentation import show
from library.dataset.augmentations.loss_masks import mask_sums
from library.dataset.batches.loading import usable_cores
from library.dataset.images.image_files import UnreadableImageError
from library.dataset.images.pictures import PictureReader
from library.errors import UserError
from library.models.adapter import ModelAdapter
from library.models.latent_codec import NO_FINITE_LATENTS, NonFiniteLatentsError

Batch = Sequence[LatentPicture]
GeneratorOf = Callable[[LatentPicture], torch.Generator]
"""What the sample of a picture is drawn from."""

_MOST_THREADS = 16
_READ_AHEAD = 2
"""Pictures for each thread, beyond the batch that is encoded."""


@dataclass(frozen=True)
class _Shown:
    """A picture of its bucket's size, not mirrored."""

    pixels: np.ndarray
    """uint8 (3, height, width)"""
    mask: np.ndarray | None
    """int16 (height, width) in latent cells"""


@dataclass(frozen=True)
class LatentEncoder:
    """The VAE of a model, what it is given, and how."""

    model: ModelAdapter
    reader: PictureReader
    device: torch.device
    batch_size: int
    dtype: np.dtype
    """in which latents are kept: float32 or float16"""
    resamples: bool = False
    """Mean and deviation are kept instead of one sample."""
    tolerates_unusable: bool = False
    """Pictures that cannot be read or encoded are left out."""
    show_progress: bool = False
    num_threads: int = field(default_factory=lambda: min(_MOST_THREADS, usable_cores()))
    """that read images"""

    def encode(
        self, batches: Sequence[Batch], generator_of: GeneratorOf
    ) -> Iterator[list[tuple[LatentPicture, Outcome]]]:
        """The outcomes of each batch, in order. The caller's thread encodes; others read ahead until it is closed.

        Raises:
            UserError: an image cannot be read or encoded, and that is not tolerated; or memory is short.
        """
        total = sum(map(len, batches))
        with (
            tqdm(total=total, desc="encoding images", unit="image", disable=not self.show_progress) as bar,
            self._read_ahead(batches) as read,
        ):
            for batch, pictures in read:
                outcomes = self._outcomes(batch, pictures, generator_of)
                bar.update(len(batch))
                yield outcomes

    def tolerated(self, picture: UnusablePicture) -> UnusablePicture:
        """
        Raises:
            UserError: it is not.
        """
        if not self.tolerates_unusable:
            raise UserError(f"{picture}; replace or remove it")
        return picture

    @contextmanager
    def _read_ahead(self, batches: Iterable[Batch]) -> Iterator[Iterator[tuple[Batch, list[_Shown | UnusablePicture]]]]:
        with ThreadPoolExecutor(self.num_threads, thread_name_prefix="reading images") as pool:
            try:
                yield self._read(batches, pool)
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def _read(
        self, batches: Iterable[Batch], pool: ThreadPoolExecutor
    ) -> Iterator[tuple[Batch, list[_Shown | UnusablePicture]]]:
        waiting: deque[tuple[Batch, list[Future[_Shown | UnusablePicture]]]] = deque()
        num_waiting = 0

        def take() -> tuple[Batch, list[_Shown | UnusablePicture]]:
            batch, futures = waiting.popleft()
            return batch, [future.result() for future in futures]

        last: tuple[LatentPicture, Future[_Shown | UnusablePicture]] | None = None
        for batch in batches:
            futures = []
            for picture in batch:
                # a mirrored picture follows the one that it mirrors: both are read once
                if last is None or last[0].record is not picture.record:
                    last = picture, pool.submit(self._show, picture)
                futures.append(last[1])
            waiting.append((batch, futures))
            num_waiting += len(batch)
            while num_waiting - len(waiting[0][0]) >= _READ_AHEAD * self.num_threads:
                num_waiting -= len(waiting[0][0])
                yield take()
        while waiting:
            yield take()

    def _show(self, picture: LatentPicture) -> _Shown | UnusablePicture:
        try:
            shown = show(self.reader.read(picture.record), replace(picture.view, flipped=False))
        except UnreadableImageError as error:
            return UnusablePicture(picture.record.path, str(error))
        cell = self.model.family.latents.pixels_per_cell
        mask = None if shown.mask is None else mask_sums(shown.mask, cell)
        return _Shown(np.ascontiguousarray(shown.pixels.transpose(2, 0, 1)), mask)

    def _outcomes(
        self, batch: Batch, pictures: Sequence[_Shown | UnusablePicture], generator_of: GeneratorOf
    ) -> list[tuple[LatentPicture, Outcome]]:
        outcomes: list[Outcome | None] = [
            self.tolerated(one) if isinstance(one, UnusablePicture) else None for one in pictures
        ]
        while rows := [row for row, outcome in enumerate(outcomes) if outcome is None]:
            try:
                encoded = self._encode([(batch[row], pictures[row]) for row in rows], generator_of)
            except NonFiniteLatentsError as error:
                for row in [rows[index] for index in error.rows]:
                    outcomes[row] = self.tolerated(UnusablePicture(batch[row].record.path, NO_FINITE_LATENTS))
            else:
                for row, picture in zip(rows, encoded, strict=True):
                    outcomes[row] = picture
        return list(zip(batch, outcomes, strict=True))

    def _encode(self, shown: Sequence[tuple[LatentPicture, _Shown]], generator_of: GeneratorOf) -> list[EncodedPicture]:
        """
        Raises:
            NonFiniteLatentsError: for these rows.
        """
        pixels = np.stack([_mirrored(one.pixels, picture) for picture, one in shown])
        try:
            numbers = self._numbers(torch.from_numpy(pixels), [generator_of(picture) for picture, _ in shown])
        except torch.OutOfMemoryError:
            raise UserError(_no_memory(*pixels.shape)) from None
        with np.errstate(over="ignore"):
            kept = np.ascontiguousarray(numbers, self.dtype)  # convolutions may leave the channels last
        finite = np.isfinite(kept).all(axis=(1, 2, 3, 4))
        if not finite.all():  # float16 ends at 65504
            raise NonFiniteLatentsError(np.flatnonzero(~finite).tolist())
        return [
            EncodedPicture(
                latents=arrays[0],
                deviations=arrays[1] if self.resamples else None,
                mask=None if one.mask is None else np.ascontiguousarray(_mirrored(one.mask, picture)),
            )
            for (picture, one), arrays in zip(shown, kept, strict=True)
        ]

    def _numbers(self, pixels: torch.Tensor, generators: Sequence[torch.Generator]) -> np.ndarray:
        """float32 (batch, 1 or 2, channels, height, width): samples, or means and deviations.

        What follows is done by NumPy: PyTorch would divide each little step among threads, and wait for those that
        find all cores reading images.
        """
        if self.resamples:
            moments = self.model.latent_moments(self._to_device(pixels))
            return np.stack((moments.mean.cpu().numpy(), moments.deviation.cpu().numpy()), axis=1)
        draws = torch.empty((len(pixels), *self.model.family.latents.shape((pixels.shape[3], pixels.shape[2]))))
        for row, generator in zip(draws, generators, strict=True):
            torch.randn(row.shape, generator=generator, out=row)
        latents = self.model.encode_images(self._to_device(pixels), draws.to(self.device))
        return latents.cpu().numpy()[:, np.newaxis]

    def _to_device(self, pixels: torch.Tensor) -> torch.Tensor:
        if self.device.type != "cuda":
            return pixels.to(self.device)
        return pixels.pin_memory().to(self.device, non_blocking=True)


def _mirrored(array: np.ndarray, picture: LatentPicture) -> np.ndarray:
    return array[..., ::-1] if picture.view.flipped else array


def _no_memory(batch_size: int, channels: int, height: int, width: int) -> str:
    advice = "--vae_batch_size" if batch_size > 1 else "--resolution"
    return (
        f"the GPU has no memory for encoding {batch_size} images of {width}x{height} pixels at a time; "
        f"give a smaller {advice}"
    )
