"""SD 1.x and 2.x: one CLIP text encoder."""

import torch

from library.diffusion.conditioning import TextConditioning, TokenizedCaptions
from library.errors import UserError
from library.models.latent_diffusion_model import LatentDiffusionModel
from library.models.model_parts import ModelParts, ModelRequest
from library.models.network_view import view_of_unet
from library.models.stable_diffusion.projections import project_by_convolution
from library.models.text_chunks import flatten_chunks, join_chunks


class StableDiffusion(LatentDiffusionModel):
    """Implements ModelAdapter."""

    def __init__(self, request: ModelRequest, parts: ModelParts):
        project_by_convolution(parts.unet)
        super().__init__(request.family, parts, view_of_unet)
        self._clip_skip = self._checked(request.text.clip_skip)

    def _checked(self, clip_skip: int) -> int:
        """
        Raises:
            UserError: there are not so many layers.
        """
        layers = self._text_encoders[0].config.num_hidden_layers
        if clip_skip > layers:
            raise UserError(f"--clip_skip {clip_skip}: the text encoder of this model has {layers} layers")
        return clip_skip

    def encode_text(self, tokens: TokenizedCaptions) -> TextConditioning:
        (ids,), weights = tokens.ids, tokens.weights[0] if tokens.weights else None
        states = self._hidden_states(flatten_chunks(ids))
        return TextConditioning(join_chunks(states, weights, ids.shape[1]))

    def _hidden_states(self, ids: torch.Tensor) -> torch.Tensor:
        """(chunks, 77) -> (chunks, 77, width): the chosen layer, with the last layer's norm."""
        (encoder,) = self._text_encoders
        if self._clip_skip == 1:
            return encoder(ids).last_hidden_state
        states = encoder(ids, output_hidden_states=True).hidden_states[-self._clip_skip]
        return getattr(encoder, "text_model", encoder).final_layer_norm(states)

    def predict(
        self, noisy_latents: torch.Tensor, timesteps: torch.Tensor, text: TextConditioning, sizes: torch.Tensor
    ) -> torch.Tensor:
        return self._unet(noisy_latents, timesteps, text.hidden_states).sample
