"""Changes of the noise before it is added: offset, multi-resolution (pyramid) noise, input perturbation."""

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch.nn.functional import interpolate

Size = tuple[int, int]
"""(height, width) in latent cells"""


def add_offset_noise(
    noise: torch.Tensor,  # (batch, channels, height, width)
    offset_draws: torch.Tensor,  # (batch, channels), standard normal
    strength: float | torch.Tensor,  # or (batch, channels), or what broadcasts to it
) -> torch.Tensor:
    """Shifts each channel of each image by a random constant, which lets a model learn overall brightness.

    Source: N. Guttenberg, "Diffusion with Offset Noise", 2023.
    """
    return noise + (strength * offset_draws)[:, :, None, None]


def adapt_offset_strength(
    strength: float | torch.Tensor,  # or what broadcasts to (batch, channels)
    latents: torch.Tensor,  # (batch, channels, height, width)
    scale: float,
) -> torch.Tensor:
    """The strength plus `scale` times how far each channel of each picture is from 0 on average; never below 0, which
    a negative scale could lead to. Shape (batch, channels)."""
    return (strength + scale * latents.mean(dim=(2, 3)).abs()).clamp(min=0)


def pyramid_sizes(size: Size, shares: Iterable[float]) -> Iterator[Size]:
    """Sizes of the levels of a pyramid over noise of `size`: level i is smaller by r^i, where r = 2 + 2 * share is
    drawn anew for each level, so that level 0 has full size. A level with a side of 1 is the last.

    Args:
        shares: a number in [0, 1) for each level, taken when its size is asked for.
    """
    for level, share in enumerate(shares):
        shrinkage = (2 + 2 * share) ** level
        height, width = (max(1, int(side / shrinkage)) for side in size)
        yield height, width
        if 1 in (height, width):
            return


def draw_pyramid(
    shape: tuple[int, int, int],  # (channels, height, width)
    iterations: int,
    generator: torch.Generator,
) -> list[torch.Tensor]:
    """At most `iterations` levels of one image, (1, channels, height, width) each, standard normal, from full size
    downwards. How many are asked for does not change the first ones."""
    channels, height, width = shape
    shares = (torch.rand((), dtype=torch.float64, generator=generator).item() for _ in range(iterations))
    return [torch.randn(1, channels, *size, generator=generator) for size in pyramid_sizes((height, width), shares)]


def sum_pyramid(
    levels: Sequence[torch.Tensor],  # (batch, channels, height, width) each, the first of full size
    discount: float,
) -> torch.Tensor:
    """The levels, enlarged to the size of the first, level i times discount^i. Shape of the first.

    Source: J. Whitaker, "Multi-Resolution Noise for Diffusion Model Training", 2023.
    """
    size = levels[0].shape[2:]
    enlarged = (interpolate(level, size=size, mode="bilinear", align_corners=False) for level in levels[1:])
    return sum((discount**number * level for number, level in enumerate(enlarged, start=1)), levels[0])


def add_pyramid_noise(
    noise: torch.Tensor,  # (batch, channels, height, width)
    pyramid: torch.Tensor,  # same shape: what sum_pyramid gives for each image
) -> torch.Tensor:
    """The sum, divided by each image's own standard deviation (n - 1), so that an image's noise does not depend on
    its neighbours in the batch."""
    total = noise + pyramid
    return total / total.std(dim=(1, 2, 3), keepdim=True)


def perturb_input(
    noise: torch.Tensor,  # (batch, channels, height, width): the target
    input_draws: torch.Tensor,  # same shape, standard normal
    strength: float | torch.Tensor,  # or (batch,), or (1,)
) -> torch.Tensor:
    """The noise for the model's input only: it differs from the target as the model's own predictions will.

    Source: Ning et al. 2023, "Input Perturbation Reduces Exposure Bias in Diffusion Models", arXiv 2301.11706.
    """
    if isinstance(strength, torch.Tensor):
        strength = strength.view(-1, 1, 1, 1)
    return noise + strength * input_draws
