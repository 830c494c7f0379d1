"""The budget: how many captions it holds, and what is said about it."""

import pytest

from library.caching.text_cache_plan import budget_for, captions_within, plan_text_cache
from library.dataset.captions.exposed_captions import ExposedCaptions
from tests.dataset.batches.planned_runs import SEED, batches_of_run, dataset_of

SDXL_FLOAT32 = (77 * 2048 + 1280) * 4
MIB = 2**20
CAPTIONS = [f"image {image}, " + ", ".join(f"tag {tag}" for tag in range(8)) for image in range(6)]


def plan(budget, dataset, epochs=4, bytes_each=MIB):
    return plan_text_cache(batches_of_run(dataset, epochs), exposed(dataset), bytes_each, budget)


def exposed(dataset, variants=None) -> ExposedCaptions:
    return ExposedCaptions((dataset,), SEED, 100, variants)


@pytest.mark.parametrize(
    ("budget", "bytes_each", "expected"),
    [(4, SDXL_FLOAT32, 6754), (0.5, MIB, 512), (1, MIB, 1024), (0.0001, MIB, 0), (2, 2**30, 2)],
)
def test_captions_within_a_budget(budget, bytes_each, expected):
    assert captions_within(budget, bytes_each) == expected


@pytest.mark.parametrize("captions", [1, 2, 999, 1024, 6755, 100_000])
@pytest.mark.parametrize("bytes_each", [1, 77 * 768 * 2, SDXL_FLOAT32, MIB])
def test_the_budget_that_is_recommended_is_enough_and_not_much_more(captions, bytes_each):
    budget = budget_for(captions, bytes_each)
    assert captions_within(budget, bytes_each) >= captions
    assert budget - 0.01 < captions * bytes_each / 2**30


def test_all_captions_fit():
    dataset = dataset_of(CAPTIONS, shuffle_caption=True)
    planned = plan(1, dataset)
    assert planned.exposed == exposed(dataset)
    assert list(planned.captions) == exposed(dataset).of_run(batches_of_run(dataset, 4))
    assert planned.report == "24 distinct captions in this run, all encoded once (24.0 MiB)"


def test_the_budget_limits_the_variants():
    dataset = dataset_of(CAPTIONS, shuffle_caption=True)
    planned = plan(20 / 1024, dataset)
    assert planned.exposed == exposed(dataset, variants=3)
    assert list(planned.captions) == exposed(dataset, 3).of_run(batches_of_run(dataset, 4))
    assert planned.report == (
        "this run would use 24 distinct captions, and --text_encoder_cache_budget 0.0195312 holds 20: each image uses "
        "3 caption variants in turn (18 captions, 18.0 MiB); raise --text_encoder_cache_budget to 0.03 for all"
    )


def test_one_variant_is_used_even_if_it_does_not_fit():
    planned = plan(0.001, dataset_of(CAPTIONS, shuffle_caption=True), bytes_each=2**30)
    assert planned.exposed.variants == 1
    assert len(planned.captions) == 6
    assert planned.report == (
        "this run would use 24 distinct captions, and --text_encoder_cache_budget 0.001 holds 0: each image uses "
        "1 caption variant (6 captions, 6.00 GiB, which is still more than that); "
        "raise --text_encoder_cache_budget to 24 for all"
    )


def test_captions_that_never_vary_are_not_limited_by_repeats():
    planned = plan(6 / 1024, dataset_of(CAPTIONS, repeats=100))
    assert planned.exposed.variants is None
    assert len(planned.captions) == 6
