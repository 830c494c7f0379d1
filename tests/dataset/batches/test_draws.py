"""What is drawn for a batch, when, and from which generator."""

from dataclasses import fields, replace

import pytest
import torch

from library.dataset.batch_plan import PlannedBatch, batches_of_process
from library.dataset.batches.draws import DrawRecipe, PyramidShape, draw_for
from library.diffusion.latents import LatentLayout
from library.diffusion.noise_shaping import draw_pyramid, sum_pyramid
from library.randomness import tensor_generator
from tests.dataset.batches.planned_runs import SEED, batches_of_run, dataset_of
from tests.diffusion.test_timesteps import largest_gap

LAYOUT = LatentLayout(channels=4, pixels_per_cell=8)
EVERYTHING = DrawRecipe(
    offset=True, offset_strength=True, pyramid=PyramidShape(5, 0.5), input_noise=True, input_strength=True
)
ALWAYS = {"noise", "posterior", "timestep"}


def a_batch() -> PlannedBatch:
    return batches_of_run(dataset_of(["a", "b", "c"], batch_size=3), epochs=1)[0]


@pytest.mark.parametrize(
    ("recipe", "drawn"),
    [
        (DrawRecipe(), set()),
        (DrawRecipe(offset=True), {"offset"}),
        (DrawRecipe(offset_strength=True), {"offset_strength"}),
        (DrawRecipe(pyramid=PyramidShape(3, 0.1)), {"pyramid"}),
        (DrawRecipe(input_noise=True), {"input_noise"}),
        (DrawRecipe(input_strength=True), {"input_strength"}),
        (DrawRecipe(stratified=True), set()),
        (EVERYTHING, {"offset", "offset_strength", "pyramid", "input_noise", "input_strength"}),
    ],
)
def test_only_what_the_recipe_asks_for_is_drawn(recipe, drawn):
    draws, everything = (draw_for(a_batch(), LAYOUT, SEED, one) for one in (recipe, EVERYTHING))
    found = {field.name for field in fields(draws) if getattr(draws, field.name) is not None}
    assert found == ALWAYS | drawn
    unchanged = found - {"timestep" if recipe.stratified else "", "" if recipe == EVERYTHING else "pyramid"}
    assert unchanged >= {"noise", "posterior"}
    for name in unchanged:
        assert torch.equal(getattr(draws, name), getattr(everything, name)), name


def test_nothing_is_drawn_of_latents_that_are_samples_already():
    assert draw_for(a_batch(), LAYOUT, SEED, DrawRecipe(), samples_posterior=False).posterior is None


def test_every_kind_of_draw_has_a_generator_of_its_own():
    """Their purposes are written out here, since later versions must draw the same numbers."""
    draws = draw_for(a_batch(), LAYOUT, SEED, EVERYTHING)
    for row, exposure in enumerate(a_batch().exposures):

        def generator(purpose: str, one=exposure) -> torch.Generator:
            return tensor_generator(SEED, purpose, one.record.image_id, one.number)

        pyramid = sum_pyramid(draw_pyramid((4, 8, 8), 5, generator("noise pyramid")), 0.5)[0]
        assert torch.equal(draws.noise[row], torch.randn(4, 8, 8, generator=generator("noise")))
        assert torch.equal(draws.offset[row], torch.randn(4, generator=generator("noise offset")))
        assert torch.equal(draws.posterior[row], torch.randn(4, 8, 8, generator=generator("posterior")))
        assert torch.equal(draws.timestep[row], torch.rand((), generator=generator("timestep")))
        assert torch.equal(draws.pyramid[row], pyramid)
        assert torch.equal(draws.input_noise[row], torch.randn(4, 8, 8, generator=generator("input noise")))
    assert draws.offset.shape == (3, 4)
    assert draws.timestep.shape == draws.offset_strength.shape == draws.input_strength.shape == (3,)
    strengths = torch.cat([draws.timestep, draws.offset_strength, draws.input_strength])
    assert len(set(strengths.tolist())) == 9


def stratified(planned: PlannedBatch, seed: int = SEED) -> torch.Tensor:
    return draw_for(planned, LAYOUT, seed, DrawRecipe(stratified=True)).timestep


@pytest.mark.parametrize("batch_size", range(1, 9))
def test_neighbours_cover_the_timesteps_whatever_the_batch_size(batch_size):
    """Over ends of epochs and short batches, too."""
    dataset = dataset_of([str(number) for number in range(13)], repeats=2, batch_size=batch_size)
    draws = torch.cat([stratified(planned) for planned in batches_of_run(dataset, epochs=3)])
    assert draws.shape == (3 * 26,)
    for count in (2, 3, 4, 8, 16):
        for start in range(len(draws) - count + 1):
            assert largest_gap(draws[start : start + count]) <= 2 / count


@pytest.mark.parametrize("processes", [2, 3])
def test_processes_cover_the_timesteps_together(processes):
    dataset = dataset_of([str(number) for number in range(24)], batch_size=2)
    batches = batches_of_run(dataset, epochs=1)
    shares = [batches_of_process(batches, process, processes) for process in range(processes)]
    for at_once in zip(*shares, strict=True):
        draws = torch.cat([stratified(planned) for planned in at_once])
        assert largest_gap(draws) <= 2 / len(draws)
    alone = torch.cat([stratified(planned) for planned in batches])
    together = torch.cat([stratified(planned) for at_once in zip(*shares, strict=True) for planned in at_once])
    assert torch.equal(together, alone)


def test_each_place_is_uniform_over_seeds():
    planned = replace(a_batch(), first_place=1000)
    draws = torch.stack([stratified(planned, seed) for seed in range(400)])
    for row in range(3):
        counts = torch.histc(draws[:, row], bins=10, min=0, max=1)
        chi_squared = ((counts - 40).square() / 40).sum().item()
        assert chi_squared < 27.9  # exceeded once in a thousand times with 9 degrees of freedom


def test_the_images_of_a_dataset_have_timesteps_of_all_ranges_in_time():
    """An image does not stay in one stratum from epoch to epoch."""
    dataset = dataset_of([str(number) for number in range(4)], batch_size=2)
    seen = {number: [] for number in range(4)}
    for planned in batches_of_run(dataset, epochs=50):
        for draw, exposure in zip(stratified(planned).tolist(), planned.exposures, strict=True):
            seen[int(exposure.record.path.stem)].append(draw)
    for draws in seen.values():
        assert len(draws) == 50
        assert largest_gap(torch.tensor(draws)) < 0.15
