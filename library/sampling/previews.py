"""Preview images during training: what to draw, when, and under which name."""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from tqdm import tqdm

from library.atomic_files import atomic_path
from library.models.adapter import ModelAdapter
from library.randomness import derive_seed
from library.sampling.generation import PictureRequest, generate
from library.sampling.prompt_files import Prompt

logger = logging.getLogger(__name__)

FOLDER = "sample"
DEFAULT_STEPS = 30
DEFAULT_SCALE = 7.5
SEED_LIMIT = 2**32


@dataclass(frozen=True)
class PreviewPrompt:
    number: int
    """position in the prompt file"""
    request: PictureRequest
    seed_was_given: bool


def preview_prompts(
    prompts: Sequence[Prompt], default_sampler: str, default_size: int, run_seed: int, zero_terminal_snr: bool = False
) -> list[PreviewPrompt]:
    """Prompts with their defaults. One without a seed gets one that stays the same over the run, so that
    its pictures can be compared.

    Args:
        default_size: pixels per side.
    """
    completed = []
    for prompt in prompts:
        number = prompt["enum"]
        own_seed = derive_seed(run_seed, "preview", number) % SEED_LIMIT
        request = PictureRequest(
            prompt=prompt["prompt"],
            negative_prompt=prompt.get("negative_prompt", ""),
            width=prompt.get("width", default_size),
            height=prompt.get("height", default_size),
            steps=prompt.get("sample_steps", DEFAULT_STEPS),
            scale=prompt.get("scale", DEFAULT_SCALE),
            sampler=prompt.get("sample_sampler", default_sampler),
            seed=prompt.get("seed", own_seed),
            zero_terminal_snr=zero_terminal_snr,
        )
        completed.append(PreviewPrompt(number, request, "seed" in prompt))
    return completed


def preview_file_name(output_name: str | None, moment: str, prompt: PreviewPrompt, drawn_at: float) -> str:
    """NAME_MOMENT_NUMBER_TIME[_SEED].png, where the moment is a step (000100) or an epoch (e000002)."""
    beginning = f"{output_name}_" if output_name else ""
    stamp = time.strftime("%Y%m%d%H%M%S", time.localtime(drawn_at))
    ending = f"_{prompt.request.seed}" if prompt.seed_was_given else ""
    return f"{beginning}{moment}_{prompt.number:02d}_{stamp}{ending}.png"


def draw_previews(
    model: ModelAdapter,
    prompts: Sequence[PreviewPrompt],
    output_dir: Path,
    output_name: str | None,
    moment: str,
    device: torch.device,
    show_progress: bool = False,
) -> list[Path]:
    """Draws and saves the pictures. One that fails, for whatever reason, is reported and left out: training is
    worth more."""
    saved = []
    for prompt in tqdm(prompts, desc="drawing previews", unit="preview", leave=False, disable=not show_progress):
        target = output_dir / FOLDER / preview_file_name(output_name, moment, prompt, time.time())
        try:
            _draw_one(model, prompt.request, target, device)
        except Exception:
            logger.exception("preview %d could not be drawn; training goes on", prompt.number)
            continue
        saved.append(target)
    return saved


def _draw_one(model: ModelAdapter, request: PictureRequest, target: Path, device: torch.device) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    picture = generate(model, request, device)
    with atomic_path(target) as temporary:
        picture.save(temporary, format="PNG")
