"""The order of the data is a pure function of the seed and the epoch."""

from collections import Counter
from pathlib import Path

from library.dataset.batch_plan import batches_of_epoch, batches_of_process
from library.dataset.buckets.aspect_buckets import Placement
from library.dataset.records import Dataset, ImageRecord
from library.options.dataset_settings import DatasetSettings, SubsetSettings


def dataset_of(images, batch_size, index=0) -> Dataset:
    """images: list of (bucket, repeats)"""
    records = tuple(
        ImageRecord(
            index, 0, f"{n}.png", Path(f"{n}.png"), bucket, Placement(bucket, bucket, (0, 0)), "", repeats, is_reg=False
        )
        for n, (bucket, repeats) in enumerate(images)
    )
    return Dataset(DatasetSettings(batch_size=batch_size, subsets=(SubsetSettings(),)), records)


IMAGES = [((64, 64), 3)] * 5 + [((128, 64), 2)] * 3 + [((64, 128), 1)]


def exposures_of(batches):
    return [(one.record.image_id, one.number) for batch in batches for one in batch.exposures]


def test_every_image_appears_as_often_as_it_has_repeats():
    batches = batches_of_epoch([dataset_of(IMAGES, 2)], seed=1, epoch=0)
    uses = Counter(image for image, _ in exposures_of(batches))
    assert uses == {f"0/0/{n}.png": repeats for n, (_, repeats) in enumerate(IMAGES)}


def test_exposures_count_on_over_epochs():
    datasets = [dataset_of(IMAGES, 2)]
    seen = [exposure for epoch in range(3) for exposure in exposures_of(batches_of_epoch(datasets, 1, epoch))]
    assert len(seen) == len(set(seen)) == 3 * 22
    assert {number for image, number in seen if image == "0/0/0.png"} == set(range(9))


def test_a_batch_has_one_size():
    for batch in batches_of_epoch([dataset_of(IMAGES, 4)], 1, 0):
        assert len({one.record.placement.bucket for one in batch.exposures}) == 1
        assert len(batch.exposures) <= 4


def test_same_seed_same_order_and_other_seeds_and_epochs_others():
    datasets = [dataset_of(IMAGES, 2)]
    orders = [exposures_of(batches_of_epoch(datasets, seed, epoch)) for seed, epoch in [(1, 0), (1, 0), (2, 0), (1, 1)]]
    assert orders[0] == orders[1]
    assert orders[0] != orders[2]
    assert [image for image, _ in orders[0]] != [image for image, _ in orders[3]]


def test_the_exposures_of_an_epoch_do_not_depend_on_the_batch_size():
    plans = [exposures_of(batches_of_epoch([dataset_of(IMAGES, size)], 1, 5)) for size in (1, 2, 4)]
    assert set(plans[0]) == set(plans[1]) == set(plans[2])


def test_batches_are_numbered_over_the_run():
    datasets = [dataset_of(IMAGES, 2), dataset_of(IMAGES, 3, index=1)]
    epochs = [batches_of_epoch(datasets, 1, epoch) for epoch in range(2)]
    indices = [batch.index for batches in epochs for batch in batches]
    assert indices == list(range(2 * len(epochs[0])))


def test_datasets_do_not_mix_in_a_batch():
    for batch in batches_of_epoch([dataset_of(IMAGES, 2), dataset_of(IMAGES, 3, index=1)], 1, 0):
        assert len({one.record.dataset for one in batch.exposures}) == 1


def test_processes_share_the_batches_and_the_first_fill_the_gap():
    batches = batches_of_epoch([dataset_of([((64, 64), 1)] * 5, 1)], 1, 0)
    shares = [batches_of_process(batches, process, 2) for process in range(2)]
    assert [len(share) for share in shares] == [3, 3]
    assert shares[0] == batches[0::2]
    assert shares[1] == [batches[1], batches[3], batches[0]]


def test_more_processes_than_batches():
    batches = batches_of_epoch([dataset_of([((64, 64), 1)], 1)], 1, 0)
    assert [batches_of_process(batches, process, 3) for process in range(3)] == [batches] * 3


def test_exposures_have_places_over_the_run():
    datasets = [dataset_of(IMAGES, 2), dataset_of(IMAGES, 3, index=1)]
    batches = [batch for epoch in range(3) for batch in batches_of_epoch(datasets, 1, epoch)]
    places = [batch.first_place + row for batch in batches for row in range(len(batch.exposures))]
    assert places == list(range(3 * 2 * 22))


def test_an_epoch_knows_its_places_without_those_before():
    datasets = [dataset_of(IMAGES, 2)]
    assert batches_of_epoch(datasets, 1, epoch=7)[0].first_place == 7 * 22
