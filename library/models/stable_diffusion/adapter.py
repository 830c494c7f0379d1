"""SD 1.x: one CLIP text encoder, noise prediction."""

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextModel

from library.models import family
from library.models.adapter import NetworkViews, TextConditioning
from library.models.clip_tokenizer import CaptionTokenizer, TokenizeForEach
from library.models.network_view import view_of_clip, view_of_unet


def _precision_as_loaded(vae: AutoencoderKL) -> torch.autocast:
    """The trainer's autocast would run a float32 VAE (--no_half_vae) in half precision after all."""
    return torch.autocast(vae.device.type, enabled=False)


class StableDiffusion1:
    """Implements ModelAdapter."""

    family = family.SD1

    def __init__(
        self,
        unet: UNet2DConditionModel,
        text_encoder: CLIPTextModel,
        vae: AutoencoderKL,
        tokenizer: CaptionTokenizer,
    ):
        self._unet = unet
        self._text_encoder = text_encoder
        self._vae = vae
        self.tokenize = TokenizeForEach((tokenizer,))
        for module in (unet, text_encoder, vae):
            module.requires_grad_(False)
            module.eval()
        self._views = NetworkViews(view_of_unet(unet), (view_of_clip(text_encoder),), vae)

    def views(self) -> NetworkViews:
        return self._views

    def encode_text(self, tokens: tuple[torch.Tensor, ...]) -> TextConditioning:
        return TextConditioning(self._text_encoder(tokens[0]).last_hidden_state)

    @torch.no_grad()
    def encode_images(self, pixels: torch.Tensor, posterior_draws: torch.Tensor) -> torch.Tensor:
        scaled_pixels = pixels.to(self._vae.dtype) / 127.5 - 1
        with _precision_as_loaded(self._vae):
            posterior = self._vae.encode(scaled_pixels).latent_dist
        latents = posterior.mean.float() + posterior.std.float() * posterior_draws
        return latents * self._vae.config.scaling_factor

    @torch.no_grad()
    def decode_latents(self, latents: torch.Tensor) -> torch.Tensor:
        latents = (latents / self._vae.config.scaling_factor).to(self._vae.dtype)
        with _precision_as_loaded(self._vae):
            decoded = self._vae.decode(latents).sample.float()
        return ((decoded + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)

    def predict(
        self, noisy_latents: torch.Tensor, timesteps: torch.Tensor, conditioning: TextConditioning
    ) -> torch.Tensor:
        return self._unet(noisy_latents, timesteps, conditioning.hidden_states).sample

    def move_vae(self, device: torch.device) -> None:
        self._vae.to(device)

    def move_unet_and_text_encoders(self, device: torch.device) -> None:
        self._unet.to(device)
        self._text_encoder.to(device)

    def use_xformers(self) -> None:
        self._unet.enable_xformers_memory_efficient_attention()

    def enable_gradient_checkpointing(self) -> None:
        """Recomputation happens in training mode only, which changes nothing else here: there are no dropouts."""
        self._unet.enable_gradient_checkpointing()
        self._unet.train()
        self._text_encoder.gradient_checkpointing_enable({"use_reentrant": False})
        self._text_encoder.train()
