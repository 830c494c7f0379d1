"""The captions of a run are known beforehand, and can be limited to some variants per image."""

from collections import defaultdict

import pytest

from library.dataset.batch_plan import batches_of_process, count_batches
from library.dataset.captions.caption_rules import Moment, apply_caption_rules
from library.dataset.captions.exposed_captions import ExposedCaptions
from library.randomness import python_generator
from library.training.batch_schedule import BatchSchedule
from library.training.step_counts import count_steps
from tests.dataset.batches.planned_runs import SEED, batches_of_run, dataset_of

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
STEPS = 36


def run_of(dataset):
    """36 steps, of one batch of two images each."""
    counts = count_steps(count_batches([dataset]), 1, 1, STEPS, None)
    return list(BatchSchedule((dataset,), SEED, counts, num_processes=1).of_run([0]))


by_rules = pytest.mark.parametrize("rules", RULES.values(), ids=RULES.keys())


def exposed(dataset, variants=None) -> ExposedCaptions:
    return ExposedCaptions((dataset,), SEED, STEPS, variants)


def in_order(dataset, batches, variants=None):
    """[(exposure, batch, caption)]"""
    captions = exposed(dataset, variants)
    return [
        (exposure, batch, caption)
        for batch in batches
        for exposure, caption in zip(batch.exposures, captions.of_batch(batch), strict=True)
    ]


def used(dataset, batches, variants=None):
    """image -> [(exposure number, epoch, caption)]"""
    captions = defaultdict(list)
    for exposure, batch, caption in in_order(dataset, batches, variants):
        captions[exposure.record.image_id].append((exposure.number, batch.epoch, caption))
    return captions


def num_variants(budget, batches, dataset):
    return exposed(dataset).limited_to(budget, batches).variants


@by_rules
def test_captions_are_drawn_from_seed_image_and_exposure(rules):
    dataset = dataset_of(CAPTIONS, repeats=2, **rules)
    subset = dataset.settings.subsets[0]
    found = in_order(dataset, batches_of_run(dataset, epochs=3))
    assert len(found) == 36
    for exposure, batch, caption in found:
        rng = python_generator(SEED, "caption", exposure.record.image_id, exposure.number)
        moment = Moment(batch.epoch, batch.step, STEPS)
        assert caption == apply_caption_rules(exposure.record.caption, subset, moment, rng)


@by_rules
@pytest.mark.parametrize("variants", [None, 1, 3])
def test_the_captions_of_a_run_are_those_of_its_exposures_in_order_of_first_use(rules, variants):
    dataset = dataset_of(CAPTIONS, repeats=2, **rules)
    batches = batches_of_run(dataset, epochs=4)
    each = [caption for _, _, caption in in_order(dataset, batches, variants)]
    found = exposed(dataset, variants).of_run(batches)
    assert found == sorted(set(each), key=each.index)
    if not rules:
        assert sorted(found) == CAPTIONS


def test_processes_together_use_the_captions_of_the_run():
    dataset = dataset_of(CAPTIONS, **RULES["everything"])
    batches = batches_of_run(dataset, epochs=5)
    shares = [exposed(dataset, variants=2).of_run(batches_of_process(batches, rank, 2)) for rank in (0, 1)]
    assert {*shares[0], *shares[1]} == set(exposed(dataset, variants=2).of_run(batches))


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
    variants = num_variants(budget, batches, dataset)
    assert len(exposed(dataset, variants).of_run(batches)) <= budget
    if variants is not None:
        never_dropped = dataset_of(CAPTIONS, repeats=2, **{**rules, **NO_DROPOUT})
        arrangements = exposed(never_dropped, variants + 1).of_run(batches_of_run(never_dropped, epochs=6))
        assert len({*arrangements, ""}) > budget


@pytest.mark.parametrize(
    ("budget", "expected"),
    [(0, 1), (6, 1), (7, 1), (12, 1), (13, 2), (18, 2), (19, 3), (24, 3), (25, None), (1000, None)],
)
def test_six_images_with_four_shuffled_captions_each(budget, expected):
    """And the empty caption, which always has room."""
    dataset = dataset_of(CAPTIONS, repeats=2, **SHUFFLE)
    assert num_variants(budget, batches_of_run(dataset, epochs=2), dataset) == expected


def test_captions_without_randomness_count_once():
    dataset = dataset_of([*CAPTIONS, CAPTIONS[0]], repeats=50)
    batches = batches_of_run(dataset, epochs=3)
    assert len(exposed(dataset).of_run(batches)) == 6
    assert num_variants(7, batches, dataset) is None


def test_each_subset_has_its_own_rules():
    shuffled, plain = dataset_of(CAPTIONS[:2], **SHUFFLE), dataset_of(["a cat, sitting"])
    moved = [record.__class__(**{**record.__dict__, "dataset": 1}) for record in plain.records]
    datasets = [shuffled, plain.__class__(plain.settings, tuple(moved))]
    batches = [*batches_of_run(datasets[0], epochs=10), *batches_of_run(datasets[1], epochs=10)]
    assert len(ExposedCaptions(datasets, SEED, STEPS).of_run(batches)) == 21


# Tag warm-up: nine tags are added over the first 18 of 36 steps


@pytest.mark.parametrize("variants", [None, 1, 2])
def test_a_warm_up_goes_by_the_step_that_trains_the_batch(variants):
    dataset = dataset_of(CAPTIONS, token_warmup_step=0.5)
    for exposure, batch, caption in in_order(dataset, run_of(dataset), variants):
        tags = exposure.record.caption.split(", ")
        assert caption == ", ".join(tags[: 1 + batch.step * 8 // 18])


def test_arrangements_take_turns_during_a_warm_up_too():
    dataset = dataset_of(CAPTIONS, token_warmup_step=18, **SHUFFLE)
    found = in_order(dataset, run_of(dataset), variants=2)
    for exposure, batch, caption in found:
        rng = python_generator(SEED, "caption", exposure.record.image_id, exposure.number % 2)
        moment = Moment(batch.epoch, batch.step, STEPS)
        assert caption == apply_caption_rules(exposure.record.caption, dataset.settings.subsets[0], moment, rng)
    assert len({caption for _, _, caption in found}) > 6 * 2


@pytest.mark.parametrize("budget", [40, 50, 60, 70])
def test_a_warm_up_leaves_room_for_fewer_variants(budget):
    dataset, without = dataset_of(CAPTIONS, token_warmup_step=18, **SHUFFLE), dataset_of(CAPTIONS, **SHUFFLE)
    batches = run_of(dataset)
    variants = num_variants(budget, batches, dataset)
    assert len({*exposed(dataset, variants).of_run(batches), ""}) <= budget
    if variants is not None:
        assert len({*exposed(dataset, variants + 1).of_run(batches), ""}) > budget
        assert variants < (num_variants(budget, batches, without) or 12)
