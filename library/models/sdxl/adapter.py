"""SDXL: two CLIP text encoders, a pooled caption, and picture sizes (Podell et al. 2023, arXiv 2307.01952)."""

import torch

from library.diffusion.conditioning import TextConditioning, TokenizedCaptions
from library.models.latent_diffusion_model import LatentDiffusionModel
from library.models.model_parts import ModelParts, ModelRequest
from library.models.network_view import view_of_sdxl_unet
from library.models.text_chunks import flatten_chunks, join_chunks

PENULTIMATE = -2
"""The layer of both text encoders that the U-Net was trained on, without the last layer's norm."""


class StableDiffusionXL(LatentDiffusionModel):
    """Implements ModelAdapter."""

    def __init__(self, request: ModelRequest, parts: ModelParts):
        super().__init__(request.family, parts, view_of_sdxl_unet)

    def encode_text(self, tokens: TokenizedCaptions) -> TextConditioning:
        first, second = self._text_encoders
        chunks = tokens.ids[0].shape[1]
        outputs = [
            encoder(flatten_chunks(ids), output_hidden_states=True)
            for encoder, ids in zip((first, second), tokens.ids, strict=True)
        ]
        weights = tokens.weights or (None, None)
        states = [
            join_chunks(output.hidden_states[PENULTIMATE], factors, chunks)
            for output, factors in zip(outputs, weights, strict=True)
        ]
        pooled = outputs[1].text_embeds[::chunks]  # of each caption's first chunk
        return TextConditioning(torch.cat(states, dim=-1), pooled)

    def predict(
        self, noisy_latents: torch.Tensor, timesteps: torch.Tensor, text: TextConditioning, sizes: torch.Tensor
    ) -> torch.Tensor:
        extras = {"text_embeds": text.pooled, "time_ids": sizes}
        return self._unet(noisy_latents, timesteps, text.hidden_states, added_cond_kwargs=extras).sample
