"""The protocol behind which every model family stands. The training loop knows nothing else of a model."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import nn

from library.diffusion.conditioning import TextConditioning, TokenizedCaptions
from library.models.clip_tokenizer import TokenizeForEach
from library.models.family import ModelFamily
from library.models.latent_codec import LatentMoments


@dataclass(frozen=True)
class NetworkViews:
    """The model as network modules see it (see network_view.py)."""

    unet: nn.Module
    text_encoders: tuple[nn.Module, ...]
    vae: nn.Module

    def text_encoders_as_kohya(self) -> nn.Module | list[nn.Module]:
        """A single text encoder as it is, several as a list: that is how networks tell them apart."""
        return self.text_encoders[0] if len(self.text_encoders) == 1 else list(self.text_encoders)


class ModelAdapter(Protocol):
    """A base model, ready to be trained on top of. All of its own weights are frozen."""

    family: ModelFamily

    def views(self) -> NetworkViews:
        """What networks are built on and applied to."""
        ...

    tokenize: TokenizeForEach
    """Captions -> tokens for each text encoder; runs in loader processes."""

    def encode_text(self, tokens: TokenizedCaptions) -> TextConditioning: ...

    def encode_images(self, pixels: torch.Tensor, posterior_draws: torch.Tensor) -> torch.Tensor:
        """uint8 (batch, 3, height, width) and standard normal draws of the latents' shape -> latents, float32,
        scaled for the U-Net.

        Raises:
            NonFiniteLatentsError: the VAE gives none that could be used; says for which rows.
        """
        ...

    def latent_moments(self, pixels: torch.Tensor) -> LatentMoments:
        """What `encode_images` samples from: mean and standard deviation, float32, scaled for the U-Net.

        Raises:
            NonFiniteLatentsError: as for `encode_images`.
        """
        ...

    def decode_latents(self, latents: torch.Tensor) -> torch.Tensor:
        """Scaled latents -> uint8 (batch, 3, height, width)."""
        ...

    def predict(
        self, noisy_latents: torch.Tensor, timesteps: torch.Tensor, text: TextConditioning, sizes: torch.Tensor
    ) -> torch.Tensor:
        """What the U-Net says; same shape as `noisy_latents`.

        Args:
            sizes: (batch, 6) as conditioning.size_numbers gives them; families that know no sizes ignore them.
        """
        ...

    def text_encoders(self) -> tuple[nn.Module, ...]:
        """For a fingerprint of their weights."""
        ...

    def move_vae(self, device: torch.device) -> None: ...

    def move_unet(self, device: torch.device) -> None: ...

    def move_text_encoders(self, device: torch.device) -> None: ...

    def use_xformers(self) -> None:
        """Attention by the package xformers instead of PyTorch's own."""
        ...

    def enable_gradient_checkpointing(self, in_main_memory: bool) -> None:
        """
        Args:
            in_main_memory: keep what the recomputation of the U-Net begins with in main memory.
        """
        ...

    def store_in_eight_bits(self, text_encoders: bool, compute_dtype: torch.dtype) -> None:
        """The U-Net's weights, and those of the text encoders if wanted, in 8 bits; before a network is applied."""
        ...

    def compile_blocks(self, backend: str) -> None:
        """The repeated blocks of the U-Net; after a network was applied."""
        ...
