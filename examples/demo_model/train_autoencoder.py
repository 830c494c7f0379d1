"""Trains the demo model's autoencoder (VAE) on procedurally drawn pictures.

    python examples/demo_model/train_autoencoder.py --output WORK/vae

About 30 minutes on two CPU cores. The next step is train_text_to_image.py.
"""

import argparse
import math
import random
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import scenes
import torch
from diffusers import AutoencoderKL
from torch.nn import functional
from tqdm import trange

SCALING_FACTOR = 0.18215
"""SD 1.x multiplies latents by this; the trained VAE is rescaled so that it gives them unit deviation."""

PICTURE_SIZE = 128
CROP_SIZE = 64
LATENT_NOISE = 0.05
"""Noise added to latents in training, as a share of their deviation: the decoder must forgive small errors."""

LATENT_SIZE_WEIGHT = 1e-4


def new_autoencoder() -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(24, 48, 64, 64),
        layers_per_block=1,
        norm_num_groups=8,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
        sample_size=PICTURE_SIZE,
        scaling_factor=SCALING_FACTOR,
    )


def draw_picture(seed: int) -> np.ndarray:
    """One training picture, uint8 (height, width, 3): half scenes, half clutter."""
    rng = random.Random(seed)
    if rng.random() < 0.5:
        picture = scenes.draw_scene(scenes.random_scene(rng), PICTURE_SIZE, PICTURE_SIZE)
    else:
        picture = scenes.draw_clutter(rng, PICTURE_SIZE, PICTURE_SIZE)
    return np.asarray(picture)


def draw_pictures(count: int) -> torch.Tensor:
    """uint8 (count, 3, 128, 128)"""
    with ProcessPoolExecutor() as pool:
        pictures = np.stack(list(pool.map(draw_picture, range(count), chunksize=64)))
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).contiguous()


def random_crops(pictures: torch.Tensor, count: int) -> torch.Tensor:
    """Float (count, 3, 64, 64) in -1..1 at random places of random pictures, half of them mirrored."""
    limit = PICTURE_SIZE - CROP_SIZE
    crops = []
    for index in torch.randint(len(pictures), (count,)).tolist():
        top, left, mirror = random.randint(0, limit), random.randint(0, limit), random.random() < 0.5
        crop = pictures[index, :, top : top + CROP_SIZE, left : left + CROP_SIZE]
        crops.append(crop.flip(-1) if mirror else crop)
    return (torch.stack(crops).float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)


def train(vae: AutoencoderKL, pictures: torch.Tensor, steps: int, batch_size: int, peak_rate: float) -> None:
    optimizer = torch.optim.AdamW(vae.parameters(), lr=peak_rate, betas=(0.9, 0.99), weight_decay=0.0)
    bar = trange(steps, desc="autoencoder")
    for step in bar:
        rate = peak_rate * min(1, (step + 1) / 100) * 0.5 * (1 + math.cos(math.pi * step / steps))
        optimizer.param_groups[0]["lr"] = rate
        pixels = random_crops(pictures, batch_size)
        latents = vae.encode(pixels).latent_dist.mean
        noise = LATENT_NOISE * latents.detach().std() * torch.randn_like(latents)
        decoded = vae.decode(latents + noise).sample
        absolute, squared = functional.l1_loss(decoded, pixels), functional.mse_loss(decoded, pixels)
        (absolute + squared + LATENT_SIZE_WEIGHT * latents.square().mean()).backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if step % 50 == 0:
            bar.set_postfix(l1=f"{absolute.item():.4f}")


@torch.no_grad()
def rescale_latents(vae: AutoencoderKL, pictures: torch.Tensor) -> None:
    """Folds factors into the layers around the latents.

    Latents x 0.18215 then have deviation 1, and the posterior's deviation is LATENT_NOISE of that.
    """
    latents = torch.cat([vae.encode(batch.float() / 127.5 - 1).latent_dist.mean for batch in pictures[:256].split(32)])
    factor = 1 / (SCALING_FACTOR * latents.std())
    channels = vae.config.latent_channels
    vae.quant_conv.weight[:channels] *= factor
    vae.quant_conv.bias[:channels] *= factor
    vae.quant_conv.weight[channels:] = 0
    vae.quant_conv.bias[channels:] = 2 * math.log(LATENT_NOISE / SCALING_FACTOR)
    vae.post_quant_conv.weight /= factor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True, help="folder for the finished VAE")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--batch_size", type=int, default=16)
    parser.add_argument("--learning_rate", type=float, default=1e-3)
    parser.add_argument("--pictures", type=int, default=6000)
    options = parser.parse_args()
    random.seed(0)
    torch.manual_seed(0)
    pictures = draw_pictures(options.pictures)
    vae = new_autoencoder().to(memory_format=torch.channels_last)
    train(vae, pictures, options.steps, options.batch_size, options.learning_rate)
    rescale_latents(vae.eval(), pictures)
    vae.save_pretrained(options.output)


if __name__ == "__main__":
    main()
