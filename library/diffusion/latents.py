"""How a model family stores pictures."""

from dataclasses import dataclass


@dataclass(frozen=True)
class LatentLayout:
    """Latent channels, and pixels per latent cell on each side."""

    channels: int
    pixels_per_cell: int

    def shape(self, bucket: tuple[int, int]) -> tuple[int, int, int]:
        """(channels, height, width) in latent cells of a (width, height) picture in pixels."""
        return self.channels, bucket[1] // self.pixels_per_cell, bucket[0] // self.pixels_per_cell
