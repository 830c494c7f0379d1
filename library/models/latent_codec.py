"""Pictures to latents and back, whatever the precision of the VAE."""

import copy
from dataclasses import dataclass

import torch
from diffusers import AutoencoderKL

NO_FINITE_LATENTS = (
    "the VAE gives latents that are not finite, even in float32; give another VAE by --vae, or remove the image"
)


class NonFiniteLatentsError(ValueError):
    """The VAE gives no usable latents for some pictures, not even in float32."""

    def __init__(self, rows: list[int]):
        super().__init__(f"no finite latents for the pictures {rows} of the batch")
        self.rows = rows


@dataclass(frozen=True)
class LatentMoments:
    """What a VAE says of pictures: a normal distribution for each number."""

    mean: torch.Tensor
    """float32 (batch, channels, height, width) in latent cells"""
    deviation: torch.Tensor
    """the same shape"""


class LatentCodec:
    """A frozen VAE. In half precision it may overflow; the pictures concerned are then computed in float32, each
    by itself, so that what becomes of a picture does not depend on those before it."""

    def __init__(self, vae: AutoencoderKL, scale: float):
        self.vae = vae
        self._scale = scale
        self._exact_copy: AutoencoderKL | None = None

    @torch.no_grad()
    def encode(self, pixels: torch.Tensor, posterior_draws: torch.Tensor) -> torch.Tensor:
        """uint8 (batch, 3, height, width) and standard normal draws of the latents' shape -> latents, float32,
        scaled for the U-Net. Looking whether they are finite is the only time that this waits for the device.

        Raises:
            NonFiniteLatentsError: float32 does not help either.
        """
        moments = self._moments(pixels)
        return (moments.mean + moments.deviation * posterior_draws) * self._scale

    @torch.no_grad()
    def moments(self, pixels: torch.Tensor) -> LatentMoments:
        """What `encode` samples from, scaled likewise: draws times deviation plus mean give latents.

        Raises:
            NonFiniteLatentsError: float32 does not help either.
        """
        moments = self._moments(pixels)
        return LatentMoments(moments.mean * self._scale, moments.deviation * self._scale)

    @torch.no_grad()
    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Scaled latents -> uint8 (batch, 3, height, width)."""
        decoded = self._decode_with(self.vae, latents)
        broken = _broken_rows(decoded)
        if broken and self.vae.dtype is not torch.float32:
            decoded[broken] = self._decode_with(self._exact_vae(), latents[broken])
        return ((decoded + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)

    def move(self, device: torch.device) -> None:
        self.vae.to(device)
        if self._exact_copy is not None:
            self._exact_copy.to(device)

    def _exact_vae(self) -> AutoencoderKL:
        if self._exact_copy is None:
            self._exact_copy = copy.deepcopy(self.vae).float()
        return self._exact_copy

    def _moments(self, pixels: torch.Tensor) -> LatentMoments:
        """Not scaled."""
        moments = self._moments_by(self.vae, pixels)
        broken = _broken_moments(moments)
        if broken and self.vae.dtype is not torch.float32:
            exact = self._moments_by(self._exact_vae(), pixels[broken])
            moments.mean[broken], moments.deviation[broken] = exact.mean, exact.deviation
            broken = _broken_moments(moments)
        if broken:
            raise NonFiniteLatentsError(broken)
        return moments

    def _moments_by(self, vae: AutoencoderKL, pixels: torch.Tensor) -> LatentMoments:
        with _precision_as_loaded(vae):
            # scaled before it is rounded: half precision knows only 256 steps between 0.5 and 1
            posterior = vae.encode((pixels.float() / 127.5 - 1).to(vae.dtype)).latent_dist
        return LatentMoments(posterior.mean.float(), posterior.std.float())

    def _decode_with(self, vae: AutoencoderKL, latents: torch.Tensor) -> torch.Tensor:
        with _precision_as_loaded(vae):
            return vae.decode((latents / self._scale).to(vae.dtype)).sample.float()


def _precision_as_loaded(vae: AutoencoderKL) -> torch.autocast:
    """The trainer's autocast would run a float32 VAE (--no_half_vae) in half precision after all."""
    return torch.autocast(vae.device.type, enabled=False)


def _broken_rows(tensor: torch.Tensor) -> list[int]:
    finite = tensor.isfinite().flatten(1).all(dim=1).tolist()
    return [row for row, good in enumerate(finite) if not good]


def _broken_moments(moments: LatentMoments) -> list[int]:
    return _broken_rows(torch.stack((moments.mean, moments.deviation), dim=1))
