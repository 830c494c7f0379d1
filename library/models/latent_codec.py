"""Pictures to latents and back, whatever the precision of the VAE."""

import copy

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
        latents = self._encode_with(self.vae, pixels, posterior_draws)
        broken = _broken_rows(latents)
        if broken and self.vae.dtype is not torch.float32:
            latents[broken] = self._encode_with(self._exact_vae(), pixels[broken], posterior_draws[broken])
            broken = _broken_rows(latents)
        if broken:
            raise NonFiniteLatentsError(broken)
        return latents

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

    def _encode_with(self, vae: AutoencoderKL, pixels: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
        with _precision_as_loaded(vae):
            # scaled before it is rounded: half precision knows only 256 steps between 0.5 and 1
            posterior = vae.encode((pixels.float() / 127.5 - 1).to(vae.dtype)).latent_dist
        return (posterior.mean.float() + posterior.std.float() * draws) * self._scale

    def _decode_with(self, vae: AutoencoderKL, latents: torch.Tensor) -> torch.Tensor:
        with _precision_as_loaded(vae):
            return vae.decode((latents / self._scale).to(vae.dtype)).sample.float()


def _precision_as_loaded(vae: AutoencoderKL) -> torch.autocast:
    """The trainer's autocast would run a float32 VAE (--no_half_vae) in half precision after all."""
    return torch.autocast(vae.device.type, enabled=False)


def _broken_rows(tensor: torch.Tensor) -> list[int]:
    finite = tensor.isfinite().flatten(1).all(dim=1).tolist()
    return [row for row, good in enumerate(finite) if not good]
