"""Draws previews when it is time, with everything in place for them."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from library.models.adapter import ModelAdapter
from library.options.groups import SamplingOptions
from library.sampling.previews import FOLDER, PreviewPrompt, draw_previews
from library.training.model_setup import CPU, free_device_memory
from library.training.preview_moments import moment_after_epoch, moment_after_step, moment_before_training
from library.training.weight_versions import AS_TRAINED, WeightVersion
from library.wording import counted

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PreviewSchedule:
    """Draws previews when it is time. Every process draws its share of the prompts."""

    accelerator: Accelerator
    model: ModelAdapter
    network: Any
    options: SamplingOptions
    prompts: Sequence[PreviewPrompt]
    output_dir: Path
    output_name: str | None
    vae_home: torch.device
    """where the VAE waits while it is not needed"""
    text_encoders_home: torch.device
    version: WeightVersion = AS_TRAINED
    """of the network's weights, that is drawn with"""

    def at_first(self) -> None:
        self._draw(moment_before_training(self.options))

    def after_step(self, step: int) -> None:
        self._draw(moment_after_step(self.options, step))

    def after_epoch(self, finished_epochs: int) -> None:
        self._draw(moment_after_epoch(self.options, finished_epochs))

    def _draw(self, moment: str | None) -> None:
        if moment is None:
            return
        accelerator = self.accelerator
        mine = self.prompts[accelerator.process_index :: accelerator.num_processes]
        saved = self._draw_without_risk(mine, moment)
        accelerator.wait_for_everyone()
        logger.info("drew %d of %s in '%s'", len(saved), counted(len(mine), "preview"), self.output_dir / FOLDER)

    def _draw_without_risk(self, prompts: Sequence[PreviewPrompt], moment: str) -> list[Path]:
        """Leaves everything where training needs it, even when memory ran out half way."""
        device = self.accelerator.device
        self.network.eval()
        try:
            self.model.move_vae(device)
            self.model.move_text_encoders(device)
            with self.version.applied(), self.accelerator.autocast():
                return draw_previews(
                    self.model, prompts, self.output_dir, self.output_name, moment, device,
                    show_progress=self.accelerator.is_main_process,
                )  # fmt: skip
        except Exception:
            logger.exception("no previews could be drawn; training goes on")
            return []
        finally:
            self.network.train()
            self.model.move_vae(self.vae_home)
            self.model.move_text_encoders(self.text_encoders_home)
            if CPU in (self.vae_home, self.text_encoders_home):
                free_device_memory(device)
