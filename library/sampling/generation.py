"""From a prompt to a picture, with the model as it is being trained."""

from dataclasses import dataclass

import torch
from PIL import Image

from library.diffusion.conditioning import TextConditioning, size_numbers
from library.models.adapter import ModelAdapter
from library.sampling.samplers import build_sampler

SIZE_STEP = 8
SMALLEST_SIDE = 64


@dataclass(frozen=True)
class PictureRequest:
    prompt: str
    negative_prompt: str
    width: int
    """pixels; rounded down to a multiple of 8, at least 64"""
    height: int
    steps: int
    scale: float
    """classifier-free guidance; up to 1 = none"""
    sampler: str
    seed: int
    zero_terminal_snr: bool = False
    """whether the model was trained to begin at pure noise"""

    @property
    def size(self) -> tuple[int, int]:
        return _allowed_side(self.width), _allowed_side(self.height)


def _allowed_side(side: int) -> int:
    return max(SMALLEST_SIDE, side // SIZE_STEP * SIZE_STEP)


@torch.no_grad()
def generate(model: ModelAdapter, request: PictureRequest, device: torch.device) -> Image.Image:
    """Draws one picture. All randomness comes from the request's seed, on the CPU; nothing else's is touched."""
    generator = torch.Generator().manual_seed(request.seed)
    prediction_type = model.family.prediction_type
    sampler = build_sampler(request.sampler, prediction_type, request.steps, request.zero_terminal_snr)
    sampler.set_timesteps(request.steps)
    shape = (1, *model.family.latents.shape(request.size))
    latents = torch.randn(shape, generator=generator) * sampler.init_noise_sigma
    latents = latents.to(device)
    text = _encode(model, request, device)
    sizes = torch.tensor([size_numbers(request.size, (0, 0), request.size)], device=device)
    for timestep in sampler.timesteps:
        model_input = sampler.scale_model_input(latents, timestep)
        prediction = _predict(model, model_input, timestep.to(device), text, sizes, request.scale)
        arguments = {"generator": generator} if request.sampler.endswith("euler_a") else {}
        latents = sampler.step(prediction, timestep, latents, **arguments).prev_sample
    pixels = model.decode_latents(latents)[0]
    return Image.fromarray(pixels.permute(1, 2, 0).cpu().numpy())


def _encode(model: ModelAdapter, request: PictureRequest, device: torch.device) -> TextConditioning:
    """One row, or two with guidance: what is not wanted, what is."""
    texts = [request.negative_prompt, request.prompt] if request.scale > 1 else [request.prompt]
    return model.encode_text(model.tokenize.prompts(texts).to(device))


def _predict(
    model: ModelAdapter,
    model_input: torch.Tensor,  # (1, channels, height, width)
    timestep: torch.Tensor,
    text: TextConditioning,  # one or two rows
    sizes: torch.Tensor,  # (1, 6)
    scale: float,
) -> torch.Tensor:
    """Classifier-free guidance (Ho and Salimans 2022, arXiv 2207.12598, equation 6). Float32, like the input."""
    rows = text.hidden_states.shape[0]
    prediction = model.predict(
        model_input.expand(rows, -1, -1, -1), timestep.expand(rows), text, sizes.expand(rows, -1)
    ).float()
    if rows == 1:
        return prediction
    unwanted, wanted = prediction.chunk(2)
    return unwanted + scale * (wanted - unwanted)
