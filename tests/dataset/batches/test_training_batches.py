"""Batches: the same draws per image whatever the batch size, the loader or the cache."""

import pickle
from dataclasses import replace

import pytest
import torch
from PIL import Image

from library.dataset.batch_plan import batches_of_epoch
from library.dataset.batches.batch_preparation import BatchPreparer
from library.dataset.batches.cached_latents import CachedLatents, LatentKey
from library.dataset.batches.draws import DrawRecipe, PyramidShape
from library.dataset.batches.loading import BatchLoader, LoaderSettings
from library.dataset.findings import Findings
from library.dataset.images.picture_files import FilePictures
from library.dataset.scanning.folder_convention import find_folders
from library.dataset.scanning.scan import scan_dataset
from library.diffusion.conditioning import TextConditioning, TokenizedCaptions
from library.diffusion.latents import LatentLayout
from library.errors import UserError
from library.options.dataset_settings import DatasetSettings, SubsetSettings

LAYOUT = LatentLayout(channels=4, pixels_per_cell=8)
EVERYTHING = DrawRecipe(
    offset=True, offset_strength=True, pyramid=PyramidShape(5, 0.5), input_noise=True, input_strength=True
)


def tokenize(captions):
    """A stand-in: the length of each caption."""
    return TokenizedCaptions((torch.tensor([[[len(caption)]] for caption in captions]),))


def preparer_of(train_data_dir, batch_size=2, seed=5, **rules) -> BatchPreparer:
    (folder,) = find_folders(train_data_dir, is_reg=False).subsets
    subset = SubsetSettings(caption_extension=".txt", shuffle_caption=True, keep_tokens=1, **folder, **rules)
    settings = DatasetSettings(
        resolution=(64, 128), enable_bucket=True, min_bucket_reso=64, max_bucket_reso=128, batch_size=batch_size,
        subsets=(subset,),
    )  # fmt: skip
    dataset = scan_dataset(0, settings, Findings())
    return BatchPreparer(
        (dataset,), seed, LAYOUT, tokenize, prior_loss_weight=1.0, pictures=FilePictures(), recipe=EVERYTHING
    )


def by_exposure(preparer: BatchPreparer, batches, planned):
    """(image, exposure) -> everything that was prepared for it."""
    found = {}
    for batch, plan in zip(batches, planned, strict=True):
        for row, exposure in enumerate(plan.exposures):
            draws = batch.draws
            found[exposure.record.image_id, exposure.number] = (
                batch.captions[row],
                batch.tokens.ids[0][row],
                draws.noise[row],
                draws.offset[row],
                None if draws.posterior is None else draws.posterior[row],
                draws.timestep[row],
                batch.pixels[row] if batch.pixels is not None else batch.latents[row],
                batch.sizes[row],
                draws.offset_strength[row],
                draws.pyramid[row],
                draws.input_noise[row],
                draws.input_strength[row],
            )
    return found


def assert_same(first, second):
    assert first.keys() == second.keys()
    assert len(first) == 15
    for key, parts in first.items():
        assert parts[0] == second[key][0]
        assert all(torch.equal(one, other) for one, other in zip(parts[1:], second[key][1:], strict=True)), key


def prepared(preparer: BatchPreparer, epoch=0, workers=0):
    planned = batches_of_epoch(preparer.datasets, preparer.seed, epoch)
    with BatchLoader(preparer, LoaderSettings(workers, pin_memory=False)).load(planned) as batches:
        return by_exposure(preparer, batches, planned)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("batch_size", [1, 2])
def test_draws_per_image_do_not_depend_on_batch_size_and_workers(train_data_dir, workers, batch_size):
    reference = prepared(preparer_of(train_data_dir, batch_size=4, flip_aug=True))
    assert_same(reference, prepared(preparer_of(train_data_dir, batch_size, flip_aug=True), workers=workers))


def test_a_moved_folder_keeps_its_draws(train_data_dir, tmp_path):
    reference = prepared(preparer_of(train_data_dir))
    moved = train_data_dir.rename(tmp_path / "elsewhere")
    assert_same(reference, prepared(preparer_of(moved)))


def test_draws_differ_between_images_exposures_epochs_and_seeds(train_data_dir):
    preparer = preparer_of(train_data_dir)
    noises = [parts[2].flatten()[:8] for epoch in (0, 1) for parts in prepared(preparer, epoch).values()]
    noises += [parts[2].flatten()[:8] for parts in prepared(preparer_of(train_data_dir, seed=6)).values()]
    assert len({tuple(noise.tolist()) for noise in noises}) == 45


def test_noise_is_standard_normal_and_timesteps_uniform(train_data_dir):
    preparer = preparer_of(train_data_dir)
    rows = [parts for epoch in range(40) for parts in prepared(preparer, epoch).values()]
    noise = torch.cat([parts[2].flatten() for parts in rows])
    timesteps = torch.stack([parts[5] for parts in rows])
    assert noise.mean().item() == pytest.approx(0, abs=0.01)
    assert noise.std().item() == pytest.approx(1, abs=0.01)
    assert timesteps.mean().item() == pytest.approx(0.5, abs=0.05)
    assert timesteps.min() >= 0
    assert timesteps.max() < 1


def test_shuffled_captions_vary_but_keep_their_first_tag(train_data_dir):
    preparer = preparer_of(train_data_dir)
    captions = {parts[0] for epoch in range(10) for parts in prepared(preparer, epoch).values()}
    assert captions == {
        f"sks cat, {rest}" for n in range(5) for rest in (f"tag {n}, outdoors", f"outdoors, tag {n}")
    }  # fmt: skip


def test_flipping_mirrors_about_half_of_the_exposures(train_data_dir):
    plain = {}
    for epoch in range(6):
        plain |= prepared(preparer_of(train_data_dir), epoch)
    flipped = {}
    for epoch in range(6):
        flipped |= prepared(preparer_of(train_data_dir, flip_aug=True), epoch)
    mirrored = [torch.equal(flipped[key][6], plain[key][6].flip(-1)) for key in plain]
    same = [torch.equal(flipped[key][6], plain[key][6]) for key in plain]
    assert all(one != other for one, other in zip(mirrored, same, strict=True))
    assert 0.3 < sum(mirrored) / len(mirrored) < 0.7


class Cache:
    """Hands out what it was given, as samples."""

    def __init__(self, latents):
        self.latents = latents

    def fetch(self, pictures, shape):
        found = torch.stack([self.latents[key] for key in pictures])
        assert found.shape[1:] == shape
        return CachedLatents(found, deviations=None, masks=None, missing=())


def test_cached_latents_are_found_by_image_and_flip(train_data_dir):
    preparer = preparer_of(train_data_dir, flip_aug=True)
    records = preparer.datasets[0].records
    shape = {record.image_id: LAYOUT.shape(record.placement.bucket) for record in records}
    cache = {LatentKey(name, flip): torch.full(size, 10 * n + flip) for n, (name, size) in enumerate(shape.items()) for flip in (False, True)}  # fmt: skip  # noqa: E501
    with_pixels = prepared(preparer)
    with_latents = prepared(replace(preparer, cached_latents=Cache(cache)))
    plain = prepared(preparer_of(train_data_dir))
    for (image, exposure), parts in with_latents.items():
        mirrored = not torch.equal(with_pixels[image, exposure][6], plain[image, exposure][6])
        expected = 10 * list(shape).index(image) + mirrored
        assert (parts[6] == expected).all()
        assert torch.equal(parts[2], with_pixels[image, exposure][2])
        assert parts[4] is None, "nothing is left to draw"


def test_sizes_are_those_of_the_picture_as_it_is(tmp_path):
    """Original height and width, top and left of the crop, height and width of the bucket; mirrored with it."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name, size in (("wide", (200, 90)), ("tall", (64, 101)), ("square", (64, 70))):
        Image.new("RGB", size).save(folder / f"{name}.png")
    subsets = (SubsetSettings(image_dir=folder, class_tokens="x", num_repeats=8, flip_aug=True),)
    settings = DatasetSettings(
        resolution=(96, 96), enable_bucket=True, min_bucket_reso=64, max_bucket_reso=128, subsets=subsets
    )
    dataset = scan_dataset(0, settings, Findings())
    placements = {record.path.stem: record.placement for record in dataset.records}
    found = {}
    for planned in batches_of_epoch([dataset], 1, 0):
        batch = BatchPreparer((dataset,), 1, LAYOUT, tokenize, 1.0, FilePictures()).prepare(planned)
        assert batch.sizes.dtype == torch.int64
        assert batch.sizes.shape == (1, 6)
        found.setdefault(planned.exposures[0].record.path.stem, set()).add(tuple(batch.sizes[0].tolist()))
    boxes = {name: (one.resized, one.bucket, one.crop) for name, one in placements.items()}
    assert boxes == {
        "wide": ((142, 64), (128, 64), (7, 0)),
        "tall": ((81, 128), (64, 128), (8, 0)),
        "square": ((64, 70), (64, 64), (0, 3)),
    }
    assert found == {
        "wide": {(90, 200, 0, 7, 64, 128)},
        "tall": {(101, 64, 0, 8, 128, 64), (101, 64, 0, 9, 128, 64)},
        "square": {(70, 64, 3, 0, 64, 64)},
    }


def test_encoded_captions_take_the_place_of_tokens(train_data_dir):
    """A stand-in for the cache: each caption's length as its encoding."""

    def encoded(captions):
        lengths = torch.tensor([float(len(caption)) for caption in captions])
        return TextConditioning(lengths.view(-1, 1, 1), lengths.view(-1, 1))

    preparer = preparer_of(train_data_dir)
    with_text = replace(preparer, cached_text=encoded)
    for planned in batches_of_epoch(preparer.datasets, 5, 0):
        plain, batch = preparer.prepare(planned), with_text.prepare(planned)
        assert (plain.text, batch.tokens) == (None, None)
        assert batch.captions == plain.captions
        assert batch.text.hidden_states[:, 0, 0].tolist() == [len(caption) for caption in plain.captions]
        moved = batch.to(torch.device("meta"))
        assert {moved.text.pooled.device.type, moved.sizes.device.type, moved.draws.noise.device.type} == {"meta"}
        assert plain.to(torch.device("meta")).tokens.ids[0].device.type == "meta"


def test_a_limited_number_of_variants(train_data_dir):
    preparer = replace(preparer_of(train_data_dir), caption_variants=1)
    captions = {}
    for epoch in range(6):
        for (image, _), parts in prepared(preparer, epoch).items():
            captions.setdefault(image, set()).add(parts[0])
    assert len(captions) == 5
    assert all(len(variants) == 1 for variants in captions.values())
    orders = {next(iter(variants)).split(", ")[1].startswith("tag") for variants in captions.values()}
    assert orders == {True, False}, "the one variant is shuffled"


def test_regularisation_images_weigh_less(tmp_path):
    for name in ("train", "reg"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (64, 64)).save(tmp_path / name / "a.png")
    subsets = tuple(
        SubsetSettings(image_dir=tmp_path / name, class_tokens="x", is_reg=name == "reg") for name in ("train", "reg")
    )
    dataset = scan_dataset(0, DatasetSettings(resolution=(64, 64), batch_size=2, subsets=subsets), Findings())
    preparer = BatchPreparer((dataset,), 1, LAYOUT, tokenize, prior_loss_weight=0.25, pictures=FilePictures())
    (planned,) = batches_of_epoch([dataset], 1, 0)
    batch = preparer.prepare(planned)
    assert dict(zip(batch.image_ids, batch.loss_weights.tolist(), strict=True)) == {"0/0/a.png": 1.0, "0/1/a.png": 0.25}


def test_an_image_that_has_changed_its_size_is_an_error_that_names_it(train_data_dir):
    preparer = replace(preparer_of(train_data_dir), skips_unreadable=False)
    planned = batches_of_epoch(preparer.datasets, 5, 0)
    Image.new("RGB", (72, 80)).save(train_data_dir / "3_sks cat" / "image 4.png")
    with pytest.raises(UserError, match=r"image 4\.png': it is 72x80 now, but was 80x72"):
        for batch in planned:
            preparer.prepare(batch)


def test_the_preparer_can_be_sent_to_a_process(train_data_dir):
    preparer = preparer_of(train_data_dir)
    planned = batches_of_epoch(preparer.datasets, 5, 0)
    copy = pickle.loads(pickle.dumps(preparer))
    assert torch.equal(copy.prepare(planned[0]).draws.noise, preparer.prepare(planned[0]).draws.noise)
