"""Latents in memory: the same bits whatever the number of processes."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch

from library.caching import latents_in_memory
from library.caching.latent_pictures import pictures_of
from library.caching.latents_in_memory import encode_in_memory
from library.dataset.batches.cached_latents import LatentKey
from library.dataset.records import Dataset
from library.errors import UserError
from library.randomness import tensor_generator
from tests.caching.meeting import Meeting
from tests.caching.stand_in_vae import (
    SEED,
    TOO_RED,
    StandInVae,
    dataset_in,
    encoder_of,
    fetch,
    paint,
    paint_one_colour,
    pictures_in,
)


@pytest.fixture
def folder(tmp_path):
    for number in range(13):
        paint(tmp_path / f"{number:02}.png", number)
    return tmp_path


def test_each_picture_has_a_generator_of_its_own(folder):
    pictures = pictures_in(folder, flip_aug=True)
    cached = fetch(encode_in_memory(encoder_of(StandInVae()), pictures, SEED), pictures)
    moments = fetch(encode_in_memory(encoder_of(StandInVae(), resamples=True), pictures, SEED), pictures)
    assert cached.latents.dtype == torch.float32
    assert cached.deviations is None
    assert cached.masks is None
    assert cached.missing == ()
    for row, picture in enumerate(pictures):
        generator = tensor_generator(SEED, "cached", picture.record.image_id, int(picture.view.flipped))
        draws = torch.randn(4, 8, 8, generator=generator)
        assert torch.equal(cached.latents[row], moments.latents[row] + moments.deviations[row] * draws)


def test_masks_of_mixed_batches(tmp_path):
    paint(tmp_path / "a.png", mode="RGBA")
    paint(tmp_path / "b.png", mode="RGB")
    pictures = pictures_in(tmp_path, alpha_mask=True)
    cached = fetch(encode_in_memory(encoder_of(StandInVae()), pictures, SEED), pictures)
    assert cached.masks.shape == (2, 8, 8)
    assert cached.masks.dtype == torch.float32
    assert 0.3 < cached.masks[0].mean() < 0.7
    assert (cached.masks[1] == 1).all()


def test_pictures_that_nobody_uses_are_not_encoded(folder):
    dataset = dataset_in(folder)
    records = tuple(replace(record, repeats=index % 2) for index, record in enumerate(dataset.records))
    assert len(pictures_of([Dataset(dataset.settings, records)])) == 6


def test_the_largest_come_first(tmp_path):
    small = dataset_in(paint(tmp_path / "s" / "1.png").parent)
    large = dataset_in(paint(tmp_path / "l" / "1.png", size=(128, 128)).parent, bucket=(128, 128))
    assert [picture.view.placement.bucket for picture in pictures_of([small, large])] == [(128, 128), (64, 64)]


@pytest.mark.parametrize("exchange", [1, 3, 64])
@pytest.mark.parametrize("count", [2, 3])
def test_several_processes_share_the_work_and_all_get_everything(folder, monkeypatch, count, exchange):
    monkeypatch.setattr(latents_in_memory, "_PICTURES_PER_EXCHANGE", exchange)
    pictures, meeting = pictures_in(folder), Meeting(count)
    vaes = [StandInVae() for _ in range(count)]

    def run(index):
        return encode_in_memory(encoder_of(vaes[index]), pictures, SEED, meeting.processes(index))

    with ThreadPoolExecutor(count) as pool:
        shared = list(pool.map(run, range(count)))
    alone = StandInVae()
    expected = fetch(encode_in_memory(encoder_of(alone), pictures, SEED), pictures).latents
    for latents in shared:
        assert torch.equal(fetch(latents, pictures).latents, expected)
    assert sum(vae.encoded for vae in vaes) == alone.encoded == 13
    assert max(len(vae.calls) for vae in vaes) - min(len(vae.calls) for vae in vaes) <= 1


def test_what_one_process_cannot_use_all_know(folder, caplog):
    paint_one_colour(folder / "05.png", TOO_RED)
    pictures, meeting = pictures_in(folder), Meeting(2)

    def run(index):
        encoder = encoder_of(StandInVae(), tolerates_unusable=True)
        return encode_in_memory(encoder, pictures, SEED, meeting.processes(index))

    with ThreadPoolExecutor(2) as pool:
        shared = list(pool.map(run, range(2)))
    for latents in shared:
        cached = fetch(latents, pictures)
        assert [pictures[row].record.name for row in cached.missing] == ["05.png"]
        assert not cached.latents[cached.missing[0]].any()
    assert "left out of the training, since encoding failed: 1 image: image '" in caplog.text
    assert "05.png" in caplog.text


def test_if_nothing_can_be_used_there_is_no_run(tmp_path):
    for number in range(3):
        paint_one_colour(tmp_path / f"{number}.png", TOO_RED)
    with pytest.raises(UserError, match=r"no image can be encoded; the first: image '.*0\.png': .*not finite"):
        encode_in_memory(encoder_of(StandInVae(), tolerates_unusable=True), pictures_in(tmp_path), SEED)


def test_a_picture_that_was_never_encoded_is_a_bug(folder):
    pictures = pictures_in(folder)
    latents = encode_in_memory(encoder_of(StandInVae()), pictures, SEED)
    with pytest.raises(KeyError):
        latents.fetch([LatentKey("0/0/other.png", False)], (4, 8, 8))
