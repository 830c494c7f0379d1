"""Images on which the network is to change nothing: their target is what the model says without it."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch

from library.dataset.batches.training_batch import TrainingBatch
from library.diffusion.conditioning import TextConditioning
from library.models.adapter import ModelAdapter


@dataclass(frozen=True)
class OutputPreservation:
    """Asks the model what it says without the network, about the rows of a batch that are to stay as they are."""

    without_network: Callable[[float], AbstractContextManager[None]]
    """Given the strength that the network has, and gets back afterwards."""
    adapts_text_encoders: bool
    """whether the network is applied to them, too, so that captions read otherwise without it"""

    @torch.no_grad()
    def predictions(
        self,
        model: ModelAdapter,
        batch: TrainingBatch,
        noisy_latents: torch.Tensor,  # (batch, channels, height, width)
        timesteps: torch.Tensor,  # (batch,)
        text: TextConditioning,  # of the batch, with the network
    ) -> torch.Tensor:
        """What the model predicts for the rows `batch.preserved`. Shape (rows, channels, height, width), float32.

        To be asked after the prediction that is trained, whose dropouts then draw the random numbers that they would
        have drawn anyway.
        """
        rows = batch.preserved
        if rows is None:
            raise ValueError("no row of the batch is to stay as it is")
        with self.without_network(batch.network_multiplier):
            if self.adapts_text_encoders and batch.tokens is not None:
                text = model.encode_text(batch.tokens.rows_at(rows))
            else:
                text = text.rows_at(rows)
            return model.predict(noisy_latents[rows], timesteps[rows], text, batch.sizes[rows]).float()
