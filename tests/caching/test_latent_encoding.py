"""The encoder gives each picture what the VAE says of it, whoever reads it and when."""

import threading
import time
from contextlib import closing

import numpy as np
import pytest
import torch

from library.caching import latent_encoding
from library.caching.encoded_latents import EncodedPicture, UnusablePicture
from library.caching.latent_pictures import in_batches
from library.caching.latents_on_disk import DTYPE
from library.dataset.augmentations.augmentation import show
from library.dataset.augmentations.loss_masks import mask_sums
from library.dataset.batches.batch_preparation import stack_pixels
from library.dataset.images.picture_files import FilePictures
from library.errors import UserError
from library.randomness import tensor_generator
from tests.caching.stand_in_vae import TOO_BRIGHT, TOO_RED, StandInVae, encoder_of, paint, paint_one_colour, pictures_in


def generator_of(picture):
    return tensor_generator(1, "test", picture.record.image_id, int(picture.view.flipped))


def encode_all(encoder, pictures):
    batches = in_batches(pictures, encoder.batch_size)
    return [pair for outcomes in encoder.encode(batches, generator_of) for pair in outcomes]


@pytest.fixture
def folder(tmp_path):
    """Eleven images in three sizes; the names' order is not that of the sizes."""
    folder = tmp_path / "Bilder für alle"
    for number in range(11):
        paint(folder / f"{number:02}.png", number, size=[(64, 64), (128, 64), (70, 90)][number % 3])
    return folder


def expected_of(picture, resamples=False):
    shown = show(FilePictures().read(picture.record), picture.view)
    moments = StandInVae().latent_moments(stack_pixels([shown]))
    if resamples:
        return moments.mean[0], moments.deviation[0]
    return (moments.mean + moments.deviation * torch.randn(moments.mean[0].shape, generator=generator_of(picture)))[0]


@pytest.mark.parametrize("num_threads", [1, 3])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_samples(folder, num_threads, batch_size):
    vae, pictures = StandInVae(), pictures_in(folder, flip_aug=True)
    encoded = encode_all(encoder_of(vae, num_threads=num_threads, batch_size=batch_size), pictures)
    assert sorted(picture.key for picture, _ in encoded) == sorted(picture.key for picture in pictures)
    assert vae.encoded == len(pictures) == 22
    for picture, outcome in encoded:
        assert torch.equal(torch.from_numpy(outcome.latents), expected_of(picture))
        assert outcome.deviations is None
        assert outcome.mask is None


def test_means_and_deviations(folder):
    for picture, outcome in encode_all(encoder_of(StandInVae(), resamples=True), pictures_in(folder)):
        mean, deviation = expected_of(picture, resamples=True)
        assert np.array_equal(outcome.latents, mean)
        assert np.array_equal(outcome.deviations, deviation)


@pytest.mark.parametrize("flip_aug", [False, True])
def test_sixteen_bits(folder, flip_aug):
    for picture, outcome in encode_all(encoder_of(StandInVae(), dtype=DTYPE), pictures_in(folder, flip_aug=flip_aug)):
        assert outcome.latents.dtype == np.float16
        assert torch.equal(torch.from_numpy(outcome.latents), expected_of(picture).half())


def test_masks_are_those_of_the_picture_as_it_is_shown(tmp_path):
    for number in range(3):
        paint(tmp_path / f"{number}.png", number, size=(100, 64), mode="RGBA")
    pictures = pictures_in(tmp_path, alpha_mask=True, flip_aug=True)
    encoded = encode_all(encoder_of(StandInVae()), pictures)
    assert len(encoded) == 6
    for picture, outcome in encoded:
        shown = show(FilePictures().read(picture.record), picture.view)
        assert np.array_equal(outcome.mask, mask_sums(shown.mask, 8))
        assert outcome.mask.std() > 0
    flipped = {picture.key: outcome.mask for picture, outcome in encoded}
    assert all(
        np.array_equal(flipped[key._replace(flipped=False)], mask[:, ::-1])
        for key, mask in flipped.items()
        if key.flipped
    )


class CountingReader(FilePictures):
    """Tells how many pictures were read, and by how many threads at most at a time."""

    def __init__(self, seconds=0.0):
        super().__init__()
        self.__dict__.update(seconds=seconds, read_names=[], at_once=0, most=0, lock=threading.Lock())

    def read(self, record):
        with self.lock:
            self.read_names.append(record.name)
            self.__dict__["at_once"] += 1
            self.__dict__["most"] = max(self.most, self.at_once)
        time.sleep(self.seconds)
        with self.lock:
            self.__dict__["at_once"] -= 1
        return super().read(record)


def test_a_mirrored_picture_is_not_read_again(folder):
    reader = CountingReader()
    encode_all(encoder_of(StandInVae(), reader=reader, batch_size=1), pictures_in(folder, flip_aug=True))
    assert sorted(reader.read_names) == [f"{number:02}.png" for number in range(11)]


def test_threads_read_ahead_but_not_far(tmp_path):
    for number in range(40):
        paint(tmp_path / f"{number:02}.png", number)
    reader = CountingReader(seconds=0.002)
    encoder = encoder_of(StandInVae(), reader=reader, batch_size=2, num_threads=3)
    with closing(encoder.encode(in_batches(pictures_in(tmp_path), 2), generator_of)) as encoded:
        for taken, _ in enumerate(encoded, start=1):
            time.sleep(0.01)
            assert len(reader.read_names) <= 2 * taken + 2 + 2 * 3
    assert reader.most == 3
    assert len(reader.read_names) == 40


def test_reading_ends_when_nobody_goes_on(tmp_path):
    for number in range(40):
        paint(tmp_path / f"{number:02}.png", number)
    reader = CountingReader(seconds=0.01)
    before = threading.active_count()
    with (
        pytest.raises(KeyboardInterrupt),
        closing(
            encoder_of(StandInVae(), reader=reader).encode(in_batches(pictures_in(tmp_path), 2), generator_of)
        ) as encoded,
    ):
        next(encoded)
        raise KeyboardInterrupt
    assert threading.active_count() == before
    assert len(reader.read_names) < 20


# ---- what cannot be encoded


def damage(folder, name):
    (folder / name).write_bytes((folder / name).read_bytes()[:200])


@pytest.mark.parametrize("batch_size", [1, 4])
def test_unusable_pictures_do_not_touch_the_others(folder, batch_size):
    pictures = pictures_in(folder)
    damage(folder, "04.png")
    paint_one_colour(folder / "06.png", TOO_RED)
    paint_one_colour(folder / "09.png", TOO_BRIGHT)
    encoder = encoder_of(StandInVae(), batch_size=batch_size, dtype=DTYPE, tolerates_unusable=True)
    encoded = {picture.record.name: (picture, outcome) for picture, outcome in encode_all(encoder, pictures)}
    unusable = {name: one.reason for name, (_, one) in encoded.items() if isinstance(one, UnusablePicture)}
    assert sorted(unusable) == ["04.png", "06.png", "09.png"]
    assert "not finite" in unusable["06.png"]
    assert "not finite" in unusable["09.png"]
    assert "not finite" not in unusable["04.png"]
    for name in encoded.keys() - unusable:
        picture, outcome = encoded[name]
        assert isinstance(outcome, EncodedPicture)
        assert torch.equal(torch.from_numpy(outcome.latents), expected_of(picture).half())


@pytest.mark.parametrize("change", [damage, lambda folder, name: paint_one_colour(folder / name, TOO_RED)])
def test_an_unusable_picture_may_be_an_error(folder, change):
    pictures = pictures_in(folder)
    change(folder, "03.png")
    with pytest.raises(UserError, match=r"image '.*03\.png': ."):
        encode_all(encoder_of(StandInVae()), pictures)


def test_what_is_no_bad_image_is_raised_as_it_is(folder, monkeypatch):
    def fail(picture, view):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(latent_encoding, "show", fail)
    with pytest.raises(ZeroDivisionError, match="a bug"):
        encode_all(encoder_of(StandInVae(), tolerates_unusable=True), pictures_in(folder))


@pytest.mark.parametrize(("batch_size", "advice"), [(1, "--resolution"), (4, "--vae_batch_size")])
def test_short_memory_of_the_device(folder, monkeypatch, batch_size, advice):
    def fail(*arguments):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate ...")

    monkeypatch.setattr(StandInVae, "encode_images", fail)
    with pytest.raises(
        UserError, match=rf"no memory for encoding {batch_size} images of 64x64.* give a smaller {advice}"
    ):
        encode_all(encoder_of(StandInVae(), batch_size=batch_size), pictures_in(folder))


def test_a_changed_size_is_noticed(folder):
    pictures = pictures_in(folder)
    paint(folder / "00.png", 0, size=(80, 64))
    with pytest.raises(UserError, match=r"00\.png.*80x64"):
        encode_all(encoder_of(StandInVae()), pictures)
