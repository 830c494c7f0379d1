"""The protocol behind which every model family stands. The training loop knows nothing else of a model."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import nn

from library.models.family import ModelFamily


@dataclass(frozen=True)
class TextConditioning:
    """Encoded captions, as the U-Net takes them."""

    hidden_states: torch.Tensor
    """(batch, tokens, width)"""

    @staticmethod
    def concatenate(parts: Sequence["TextConditioning"]) -> "TextConditioning":
        return TextConditioning(torch.cat([part.hidden_states for part in parts]))


@dataclass(frozen=True)
class NetworkViews:
    """The model as network modules see it (see network_view.py)."""

    unet: nn.Module
    text_encoders: tuple[nn.Module, ...]
    vae: nn.Module

    def text_encoders_as_kohya(self) -> nn.Module | list[nn.Module]:
        """A single text encoder as it is, several as a list: that is how networks tell them apart."""
        return self.text_encoders[0] if len(self.text_encoders) == 1 else list(self.text_encoders)


@dataclass(frozen=True)
class ModelPrecision:
    """How the frozen model is loaded and kept."""

    weights: torch.dtype
    vae: torch.dtype


class ModelAdapter(Protocol):
    """A base model, ready to be trained on top of. All of its own weights are frozen."""

    family: ModelFamily

    def views(self) -> NetworkViews:
        """What networks are built on and applied to."""
        ...

    def tokenize(self, captions: Sequence[str]) -> tuple[torch.Tensor, ...]:
        """Token ids for each text encoder, (captions, length); runs in loader processes."""
        ...

    def encode_text(self, tokens: tuple[torch.Tensor, ...]) -> TextConditioning: ...

    def encode_images(self, pixels: torch.Tensor, posterior_draws: torch.Tensor) -> torch.Tensor:
        """uint8 (batch, 3, height, width) and standard normal draws of the latents' shape -> latents, float32,
        scaled for the U-Net."""
        ...

    def decode_latents(self, latents: torch.Tensor) -> torch.Tensor:
        """Scaled latents -> uint8 (batch, 3, height, width)."""
        ...

    def predict(
        self, noisy_latents: torch.Tensor, timesteps: torch.Tensor, conditioning: TextConditioning
    ) -> torch.Tensor:
        """What the U-Net says; same shape as `noisy_latents`."""
        ...

    def move_vae(self, device: torch.device) -> None: ...

    def move_unet_and_text_encoders(self, device: torch.device) -> None: ...

    def use_xformers(self) -> None:
        """Attention by the package xformers instead of PyTorch's own."""
        ...

    def enable_gradient_checkpointing(self) -> None: ...
