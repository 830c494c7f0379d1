"""Every random number of a batch, drawn for each image from generators of its own."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from library.dataset.batch_plan import Exposure, PlannedBatch
from library.diffusion.latents import LatentLayout
from library.diffusion.noise_shaping import draw_pyramid, sum_pyramid
from library.diffusion.timesteps import evenly_spread_draws
from library.randomness import derive_seed, tensor_generator


@dataclass(frozen=True)
class PyramidShape:
    """What makes multi-resolution noise; see noise_shaping.sum_pyramid."""

    iterations: int
    discount: float


@dataclass(frozen=True)
class DrawRecipe:
    """Which draws the options of a run ask for, besides those of every run."""

    offset: bool = False
    offset_strength: bool = False
    pyramid: PyramidShape | None = None
    input_noise: bool = False
    input_strength: bool = False
    stratified: bool = False
    """Timesteps follow from the exposures' places in the run, so that neighbours cover the range."""


@dataclass(frozen=True)
class Draws:
    """Raw random numbers of a batch. None = not asked for."""

    noise: torch.Tensor
    """(batch, channels, height, width) in latent cells, standard normal"""
    offset: torch.Tensor | None
    """(batch, channels), standard normal: for offset noise"""
    posterior: torch.Tensor | None
    """(batch, channels, height, width), standard normal: for sampling what the VAE says of a picture; None where
    nothing is left to sample, since the latents were sampled when they were cached"""
    timestep: torch.Tensor
    """(batch,), uniform in [0, 1), float32 (not every device knows float64)"""
    offset_strength: torch.Tensor | None = None
    """(batch,), uniform in [0, 1)"""
    pyramid: torch.Tensor | None = None
    """(batch, channels, height, width): the levels of multi-resolution noise, enlarged and summed"""
    input_noise: torch.Tensor | None = None
    """(batch, channels, height, width), standard normal: for input perturbation"""
    input_strength: torch.Tensor | None = None
    """(batch,), uniform in [0, 1)"""


def drawn(draws: torch.Tensor | None) -> torch.Tensor:
    """
    Raises:
        ValueError: the batch was prepared for other options.
    """
    if draws is None:
        raise ValueError("the batch lacks draws that these options need: prepare it with their draw_recipe")
    return draws


def draw_for(
    batch: PlannedBatch,
    layout: LatentLayout,
    seed: int,
    recipe: DrawRecipe,
    samples_posterior: bool = True,
) -> Draws:
    """The draws of a batch. Each image's depend on the seed, its id and its exposure only (stratified timesteps: on
    the seed and the exposure's place), and each kind of draw has a generator of its own, so that no option changes
    what another one draws."""
    exposures, shape = batch.exposures, layout.shape(batch.exposures[0].record.placement.bucket)

    def draw(purpose: str, from_generator: Callable[[torch.Generator], torch.Tensor]) -> torch.Tensor:
        return torch.stack([from_generator(_generator(seed, purpose, one)) for one in exposures])

    def normal(purpose: str, size: tuple[int, ...] = shape) -> torch.Tensor:
        return draw(purpose, lambda generator: torch.randn(size, generator=generator))

    def uniform(purpose: str) -> torch.Tensor:
        return draw(purpose, lambda generator: torch.rand((), generator=generator))

    pyramid = recipe.pyramid
    return Draws(
        noise=normal("noise"),
        posterior=normal("posterior") if samples_posterior else None,
        timestep=_stratified(batch, seed) if recipe.stratified else uniform("timestep"),
        offset=normal("noise offset", shape[:1]) if recipe.offset else None,
        offset_strength=uniform("strength of the noise offset") if recipe.offset_strength else None,
        pyramid=None if pyramid is None else draw("noise pyramid", lambda one: _pyramid(shape, pyramid, one)),
        input_noise=normal("input noise") if recipe.input_noise else None,
        input_strength=uniform("strength of the input noise") if recipe.input_strength else None,
    )


def _stratified(batch: PlannedBatch, seed: int) -> torch.Tensor:
    shift = 2 * derive_seed(seed, "stratified timesteps")  # 63 bits are derived, all 64 are used
    return evenly_spread_draws(batch.first_place, len(batch.exposures), shift)


def _pyramid(shape: tuple[int, int, int], pyramid: PyramidShape, generator: torch.Generator) -> torch.Tensor:
    """(channels, height, width)"""
    return sum_pyramid(draw_pyramid(shape, pyramid.iterations, generator), pyramid.discount)[0]


def _generator(seed: int, purpose: str, exposure: Exposure) -> torch.Generator:
    return tensor_generator(seed, purpose, exposure.record.image_id, exposure.number)
