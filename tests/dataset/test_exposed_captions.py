"""The captions of a run are known beforehand, and can be limited to some variants per image."""

from collections import defaultdict

import pytest

from library.dataset.batch_plan import batches_of_process
from library.dataset.caption_rules import apply_caption_rules
from library.dataset.exposed_captions import caption_of, captions_of_run, variants_within
from library.randomness import python_generator
from tests.dataset.planned_runs import SEED, batches_of_run, dataset_of

CAPTIONS = [f"image {image}, " + ", ".join(f"tag {tag}" for tag in range(8)) for image in range(6)]
NO_DROPOUT = {"caption_dropout_rate": 0.0, "caption_dropout_every_n_epochs": 0}
SHUFFLE = {"shuffle_caption": True, "keep_tokens": 1}
RULES = {
    "nothing random": {},
    "shuffle": SHUFFLE,
    "tag dropout": {"caption_tag_dropout_rate": 0.3},
    "shuffle and dropout": {**SHUFFLE, "caption_dropout_rate": 0.3},
    "everything": {
        **SHUFFLE, "caption_dropout_rate": 0.2, "caption_tag_dropout_rate": 0.2, "caption_dropout_every_n_epochs": 3
    },
}  # fmt: skip
by_rules = pytest.mark.parametrize("rules", RULES.values(), ids=RULES.keys())


def exposures_of(batches):
    return [(exposure, batch.epoch) for batch in batches for exposure in batch.exposures]


def used(dataset, batches, variants=None):
    """image -> [(exposure number, epoch, caption)]"""
    rules = dataset.settings.subsets[0]
    captions = defaultdict(list)
    for exposure, epoch in exposures_of(batches):
        caption = caption_of(exposure, epoch, rules, SEED, variants)
        captions[exposure.record.image_id].append((exposure.number, epoch, caption))
    return captions


@by_rules
def test_captions_are_drawn_from_seed_image_and_exposure(rules):
    dataset = dataset_of(CAPTIONS, repeats=2, **rules)
    subset = dataset.settings.subsets[0]
    compared = 0
    for exposure, epoch in exposures_of(batches_of_run(dataset, epochs=3)):
        rng = python_generator(SEED, "caption", exposure.record.image_id, exposure.number)
        expected = apply_caption_rules(exposure.record.caption, subset, epoch + 1, rng)
        assert caption_of(exposure, epoch, subset, SEED) == expected
        compared += 1
    assert compared == 36


@by_rules
@pytest.mark.parametrize("variants", [None, 1, 3])
def test_the_captions_of_a_run_are_those_of_its_exposures_in_order_of_first_use(rules, variants):
    dataset = dataset_of(CAPTIONS, repeats=2, **rules)
    batches = batches_of_run(dataset, epochs=4)
    subset = dataset.settings.subsets[0]
    in_order = [caption_of(exposure, epoch, subset, SEED, variants) for exposure, epoch in exposures_of(batches)]
    found = captions_of_run(batches, [dataset], SEED, variants)
    assert found == sorted(set(in_order), key=in_order.index)
    if not rules:
        assert sorted(found) == CAPTIONS


def test_processes_together_use_the_captions_of_the_run():
    dataset = dataset_of(CAPTIONS, **RULES["everything"])
    batches = batches_of_run(dataset, epochs=5)
    shares = [captions_of_run(batches_of_process(batches, rank, 2), [dataset], SEED, variants=2) for rank in (0, 1)]
    assert {*shares[0], *shares[1]} == set(captions_of_run(batches, [dataset], SEED, variants=2))


@pytest.mark.parametrize("variants", [1, 2, 5])
def test_images_use_their_variants_in_turn(variants):
    dataset = dataset_of(CAPTIONS, **SHUFFLE)
    captions = used(dataset, batches_of_run(dataset, epochs=12), variants)
    unlimited = used(dataset, batches_of_run(dataset, epochs=12))
    assert len(captions) == 6
    for image, uses in captions.items():
        assert [number for number, _, _ in uses] == list(range(12))
        own = [caption for _, _, caption in unlimited[image]]
        assert [caption for _, _, caption in uses] == [own[number % variants] for number in range(12)]
        assert len({caption for _, _, caption in uses}) == variants


def test_as_many_variants_as_exposures_change_nothing():
    dataset = dataset_of(CAPTIONS, **RULES["everything"])
    batches = batches_of_run(dataset, epochs=7)
    assert used(dataset, batches, variants=7) == used(dataset, batches)


def test_dropout_is_drawn_for_every_exposure_whatever_the_variants():
    dataset = dataset_of(CAPTIONS, **RULES["shuffle and dropout"])
    batches = batches_of_run(dataset, epochs=60)
    limited, unlimited = used(dataset, batches, variants=1), used(dataset, batches)
    for image, uses in limited.items():
        dropped = [caption == "" for _, _, caption in uses]
        assert dropped == [caption == "" for _, _, caption in unlimited[image]]
        assert 0.1 < sum(dropped) / 60 < 0.5
        assert len({caption for _, _, caption in uses}) == 2


@pytest.mark.parametrize("variants", [None, 1, 2, 3])
def test_every_nth_epoch_is_without_captions_whatever_the_variants(variants):
    dataset = dataset_of(CAPTIONS, repeats=2, caption_dropout_every_n_epochs=3, **SHUFFLE)
    for uses in used(dataset, batches_of_run(dataset, epochs=9), variants).values():
        assert {epoch for _, epoch, caption in uses if caption == ""} == {2, 5, 8}
        assert all((caption == "") == (epoch in {2, 5, 8}) for _, epoch, caption in uses)


@by_rules
@pytest.mark.parametrize("budget", range(7, 90, 6))
def test_the_largest_number_of_variants_that_fits(rules, budget):
    dataset = dataset_of(CAPTIONS, repeats=2, **rules)
    batches = batches_of_run(dataset, epochs=6)
    variants = variants_within(budget, batches, [dataset], SEED)
    assert len(captions_of_run(batches, [dataset], SEED, variants)) <= budget
    if variants is not None:
        never_dropped = dataset_of(CAPTIONS, repeats=2, **{**rules, **NO_DROPOUT})
        arrangements = captions_of_run(batches_of_run(never_dropped, epochs=6), [never_dropped], SEED, variants + 1)
        assert len({*arrangements, ""}) > budget


@pytest.mark.parametrize(
    ("budget", "expected"),
    [(0, 1), (6, 1), (7, 1), (12, 1), (13, 2), (18, 2), (19, 3), (24, 3), (25, None), (1000, None)],
)
def test_six_images_with_four_shuffled_captions_each(budget, expected):
    """And the empty caption, which always has room."""
    dataset = dataset_of(CAPTIONS, repeats=2, **SHUFFLE)
    assert variants_within(budget, batches_of_run(dataset, epochs=2), [dataset], SEED) == expected


def test_captions_without_randomness_count_once():
    dataset = dataset_of([*CAPTIONS, CAPTIONS[0]], repeats=50)
    batches = batches_of_run(dataset, epochs=3)
    assert len(captions_of_run(batches, [dataset], SEED)) == 6
    assert variants_within(7, batches, [dataset], SEED) is None


def test_each_subset_has_its_own_rules():
    shuffled, plain = dataset_of(CAPTIONS[:2], **SHUFFLE), dataset_of(["a cat, sitting"])
    moved = [record.__class__(**{**record.__dict__, "dataset": 1}) for record in plain.records]
    datasets = [shuffled, plain.__class__(plain.settings, tuple(moved))]
    batches = [*batches_of_run(datasets[0], epochs=10), *batches_of_run(datasets[1], epochs=10)]
    assert len(captions_of_run(batches, datasets, SEED)) == 21
