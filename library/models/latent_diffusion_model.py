"""What the model families have in common: a U-Net on a VAE's latents, led by CLIP text encoders."""

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import nn

from library.diffusion.conditioning import TextConditioning, TokenizedCaptions
from library.models.adapter import NetworkViews
from library.models.block_compilation import compile_blocks
from library.models.clip_tokenizer import TokenizeForEach
from library.models.eight_bit_weights import store_in_eight_bits
from library.models.family import ModelFamily
from library.models.latent_codec import LatentCodec, LatentMoments
from library.models.model_parts import ModelParts
from library.models.network_view import view_of_clip
from library.models.offloaded_checkpointing import checkpoint_in_main_memory


class LatentDiffusionModel(ABC):
    """Implements ModelAdapter but for what the families do differently."""

    def __init__(self, family: ModelFamily, parts: ModelParts, view_of_unet: Callable[[nn.Module], nn.Module]):
        self.family = family
        self.tokenize = TokenizeForEach(parts.tokenizers)
        self._unet = parts.unet
        self._text_encoders = parts.text_encoders
        self._codec = LatentCodec(parts.vae, family.latent_scale)
        for module in (parts.unet, *parts.text_encoders, parts.vae):
            module.requires_grad_(False)
            module.eval()
        encoder_views = tuple(view_of_clip(encoder) for encoder in parts.text_encoders)
        self._views = NetworkViews(view_of_unet(parts.unet), encoder_views, parts.vae)

    @abstractmethod
    def encode_text(self, tokens: TokenizedCaptions) -> TextConditioning: ...

    @abstractmethod
    def predict(
        self, noisy_latents: torch.Tensor, timesteps: torch.Tensor, text: TextConditioning, sizes: torch.Tensor
    ) -> torch.Tensor: ...

    def views(self) -> NetworkViews:
        return self._views

    def encode_images(self, pixels: torch.Tensor, posterior_draws: torch.Tensor) -> torch.Tensor:
        return self._codec.encode(pixels, posterior_draws)

    def latent_moments(self, pixels: torch.Tensor) -> LatentMoments:
        return self._codec.moments(pixels)

    def decode_latents(self, latents: torch.Tensor) -> torch.Tensor:
        return self._codec.decode(latents)

    def text_encoders(self) -> tuple[nn.Module, ...]:
        return self._text_encoders

    def move_vae(self, device: torch.device) -> None:
        self._codec.move(device)

    def move_unet(self, device: torch.device) -> None:
        self._unet.to(device)

    def move_text_encoders(self, device: torch.device) -> None:
        for encoder in self._text_encoders:
            encoder.to(device)

    def use_xformers(self) -> None:
        self._unet.enable_xformers_memory_efficient_attention()

    def enable_gradient_checkpointing(self, in_main_memory: bool) -> None:
        """Recomputation happens in training mode only, which changes nothing else here: there are no dropouts."""
        if in_main_memory:
            self._unet.enable_gradient_checkpointing(checkpoint_in_main_memory)
        else:
            self._unet.enable_gradient_checkpointing()
        self._unet.train()
        for encoder in self._text_encoders:
            encoder.gradient_checkpointing_enable({"use_reentrant": False})
            encoder.train()

    def store_in_eight_bits(self, text_encoders: bool, compute_dtype: torch.dtype) -> None:
        store_in_eight_bits(self._unet, compute_dtype)
        for encoder in self._text_encoders if text_encoders else ():
            store_in_eight_bits(encoder, compute_dtype)

    def compile_blocks(self, backend: str) -> None:
        compile_blocks(self._unet, backend)
