"""Trains the demo model's tokenizer, text encoder and U-Net, and writes the finished model.

    python examples/demo_model/train_text_to_image.py --vae WORK/vae --work WORK --output examples/demo_model/model

About an hour on two CPU cores. It can be stopped and started again: it goes on from the last checkpoint.
"""

import argparse
import copy
import json
import math
import random
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import scenes
import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from tqdm import tqdm, trange
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from library.atomic_files import atomic_path
from library.diffusion.elementwise_losses import elementwise_loss
from library.diffusion.masked_means import mean_per_image
from library.diffusion.noise_schedule import BETA_END, BETA_START, NUM_TIMESTEPS, add_noise, scaled_linear_schedule
from library.diffusion.noise_shaping import add_offset_noise
from library.diffusion.timestep_weights import min_snr_weights

SIZES = ((128, 128), (128, 128), (128, 128), (128, 192), (192, 128))
"""Width and height in pixels; the square three times as often."""

TEXT_WIDTH = 96
TEXT_LENGTH = 77
CAPTION_DROPOUT = 0.1
MIN_SNR_GAMMA = 5.0
NOISE_OFFSET = 0.1
EMA_DECAY = 0.9985


def new_tokenizer() -> CLIPTokenizer:
    """Byte-pair encoding in which every word of the captions is one token."""
    rng = random.Random(0)
    captions = [scenes.caption_scene(scenes.random_scene(rng), rng) for _ in range(5000)]
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Whitespace(), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=2000, initial_alphabet=alphabet, end_of_word_suffix="</w>")
    tokenizer.train_from_iterator(captions, trainer)
    learned = tokenizer.get_vocab()
    merged = sorted((word for word in learned if word not in alphabet), key=lambda word: learned[word])
    endings = [symbol + "</w>" for symbol in sorted(alphabet)]
    words = dict.fromkeys([*sorted(alphabet), *endings, *merged, "<|startoftext|>", "<|endoftext|>"])
    merges = [tuple(pair) for pair in json.loads(tokenizer.to_str())["model"]["merges"]]
    vocabulary = {word: number for number, word in enumerate(words)}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=TEXT_LENGTH)


def new_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=TEXT_WIDTH,
            intermediate_size=4 * TEXT_WIDTH,
            num_hidden_layers=3,
            num_attention_heads=4,
            max_position_embeddings=TEXT_LENGTH,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def new_unet() -> UNet2DConditionModel:
    """SD 1.x's blocks, a thousandth of its weights."""
    return UNet2DConditionModel(
        sample_size=16,
        block_out_channels=(48, 64, 96, 96),
        norm_num_groups=16,
        layers_per_block=2,
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=2,
        down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
    )


def draw_example(seed: int) -> tuple[np.ndarray, str]:
    """A picture, uint8 (height, width, 3), and its caption."""
    rng = random.Random(seed)
    scene = scenes.random_scene(rng)
    width, height = SIZES[seed % len(SIZES)]
    return np.asarray(scenes.draw_scene(scene, width, height)), scenes.caption_scene(scene, rng)


@torch.no_grad()
def encode_examples(
    vae: AutoencoderKL, tokenizer: CLIPTokenizer, count: int
) -> dict[tuple[int, ...], tuple[torch.Tensor, torch.Tensor]]:
    """Latent shape -> latents (n, 4, h, w), scaled for the U-Net, and token ids (n, 77)."""
    with ProcessPoolExecutor() as pool:
        examples = list(pool.map(draw_example, range(count), chunksize=64))
    captions = [caption for _, caption in examples]
    ids = tokenizer(captions, padding="max_length", max_length=TEXT_LENGTH, return_tensors="pt")["input_ids"]
    examples_of: dict[tuple[int, ...], list[int]] = {}
    for number, (picture, _) in enumerate(examples):
        examples_of.setdefault(picture.shape, []).append(number)
    encoded = {}
    for numbers in examples_of.values():
        pixels = torch.stack([torch.from_numpy(examples[number][0]) for number in numbers]).permute(0, 3, 1, 2)
        batches = tqdm(pixels.split(32), desc="encoding")
        latents = torch.cat([vae.encode(batch.float() / 127.5 - 1).latent_dist.mean for batch in batches])
        encoded[tuple(latents.shape[1:])] = (latents * vae.config.scaling_factor, ids[numbers])
    return encoded


def endless_batches(examples, batch_size: int, empty: torch.Tensor) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Random batches of one size each; some captions are replaced by the empty one."""
    shapes = list(examples)
    weights = [len(examples[shape][0]) for shape in shapes]
    while True:
        latents, tokens = examples[random.choices(shapes, weights)[0]]
        chosen = torch.randint(len(latents), (batch_size,))
        dropped = torch.rand(batch_size) < CAPTION_DROPOUT
        yield latents[chosen], torch.where(dropped[:, None], empty, tokens[chosen])


def train(
    unet, text_encoder, ema, optimizer, batches, first_step: int, steps: int, peak_rate: float, checkpoint
) -> None:
    schedule = scaled_linear_schedule()
    weights = min_snr_weights(schedule, MIN_SNR_GAMMA)
    parameters = [*unet.parameters(), *text_encoder.parameters()]
    averages = [*ema[0].parameters(), *ema[1].parameters()]
    bar = trange(first_step, steps, initial=first_step, total=steps, desc="text to image")
    running = 0.0
    for step in bar:
        rate = peak_rate * min(1, (step + 1) / 300) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / steps)))
        optimizer.param_groups[0]["lr"] = rate
        latents, tokens = next(batches)
        timesteps = torch.randint(NUM_TIMESTEPS, (len(latents),))
        noise = add_offset_noise(torch.randn_like(latents), torch.randn(latents.shape[:2]), NOISE_OFFSET)
        noisy = add_noise(schedule, latents, noise, timesteps)
        prediction = unet(noisy, timesteps, text_encoder(tokens).last_hidden_state).sample
        loss = (mean_per_image(elementwise_loss("l2", prediction, noise)) * weights[timesteps]).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        with torch.no_grad():
            decay = min(EMA_DECAY, (1 + step) / (10 + step))
            torch._foreach_lerp_(averages, parameters, 1 - decay)
        running = loss.item() if step == first_step else 0.98 * running + 0.02 * loss.item()
        if step % 20 == 0:
            bar.set_postfix(loss=f"{running:.4f}")
        if (step + 1) % 250 == 0:
            checkpoint(step + 1)


def pipeline(vae, text_encoder, tokenizer, unet) -> StableDiffusionPipeline:
    scheduler = DDIMScheduler(
        beta_start=BETA_START,
        beta_end=BETA_END,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )
    return StableDiffusionPipeline(
        vae, text_encoder, tokenizer, unet, scheduler, None, None, requires_safety_checker=False
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vae", type=Path, required=True, help="folder that train_autoencoder.py wrote")
    parser.add_argument("--work", type=Path, required=True, help="folder for checkpoints")
    parser.add_argument("--output", type=Path, required=True, help="folder for the finished model, in float16")
    parser.add_argument("--steps", type=int, default=2400)
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--learning_rate", type=float, default=1e-3)
    parser.add_argument("--examples", type=int, default=8000)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    random.seed(1)
    torch.manual_seed(1)
    tokenizer = new_tokenizer()
    vae = AutoencoderKL.from_pretrained(options.vae)
    unet = new_unet().to(memory_format=torch.channels_last)
    text_encoder = new_text_encoder(tokenizer)
    ema = (copy.deepcopy(unet), copy.deepcopy(text_encoder))
    parts = {"unet": unet, "text": text_encoder, "ema_unet": ema[0], "ema_text": ema[1]}
    parameters = [*unet.parameters(), *text_encoder.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=options.learning_rate, betas=(0.9, 0.99), weight_decay=0.01)
    state_file, examples_file = options.work / "state.pt", options.work / "examples.pt"

    def checkpoint(step: int) -> None:
        state = {name: part.state_dict() for name, part in parts.items()}
        with atomic_path(state_file) as temporary:
            torch.save({**state, "optimizer": optimizer.state_dict(), "step": step}, temporary)

    if not examples_file.exists():
        with atomic_path(examples_file) as temporary:
            torch.save(encode_examples(vae, tokenizer, options.examples), temporary)
    examples = torch.load(examples_file)
    first_step = 0
    if state_file.exists():
        state = torch.load(state_file)
        first_step = state["step"]
        optimizer.load_state_dict(state["optimizer"])
        for name, part in parts.items():
            part.load_state_dict(state[name])
        torch.manual_seed(first_step)
        random.seed(first_step)
    empty = tokenizer([""], padding="max_length", max_length=TEXT_LENGTH, return_tensors="pt")["input_ids"]
    batches = endless_batches(examples, options.batch_size, empty)
    train(unet, text_encoder, ema, optimizer, batches, first_step, options.steps, options.learning_rate, checkpoint)
    finished = pipeline(vae, ema[1], tokenizer, ema[0]).to(torch.float16)
    finished.save_pretrained(options.output)


if __name__ == "__main__":
    main()
