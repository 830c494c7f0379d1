"""Tiny random models of the shape of SD 1.x, in every form in which users have models; others: tiny_families.py."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer
from transformers.utils.logging import disable_progress_bar

from library.models.clip_tokenizer import CaptionTokenizer
from library.models.family import SD1
from library.models.model_parts import ModelParts, ModelPrecision, ModelRequest
from library.models.model_source import ModelSource, SourceKind
from library.models.stable_diffusion.adapter import StableDiffusion

WIDTHS = (32, 32, 64, 64)
TEXT_WIDTH = 32
TEXT_LENGTH = 77

_MERGES = (("c", "a"), ("ca", "t</w>"), ("d", "o"), ("do", "g</w>"), ("s", "k"), ("sk", "s</w>"), ("t", "a"))
_START, _END = "<|startoftext|>", "<|endoftext|>"

IN_FULL = ModelPrecision(torch.float32, torch.float32)
NOWHERE = ModelSource(SourceKind.FOLDER, "a model that was never saved")

Weights = dict[str, torch.Tensor]

# The models are so small that more threads would only wait for each other.
torch.set_num_threads(1)


def seeded(seed: int, build: Callable[[], nn.Module]) -> nn.Module:
    """The same weights in every test and process, without touching the global generator.

    Vectors are changed too: norms start as ones and zeros, so that a mix-up of two would not show.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        model = build()
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter += 0.1 * torch.randn_like(parameter)
    return model.eval()


def tiny_unet(**changes: Any) -> UNet2DConditionModel:
    """`changes` are arguments of the U-Net."""
    arguments = {
        "sample_size": 64,
        "block_out_channels": WIDTHS,
        "cross_attention_dim": TEXT_WIDTH,
        "attention_head_dim": 8,
        **changes,
    }
    return seeded(1, lambda: UNet2DConditionModel(**arguments))


def tiny_vae() -> AutoencoderKL:
    def build() -> nn.Module:
        return AutoencoderKL(
            block_out_channels=WIDTHS,
            down_block_types=("DownEncoderBlock2D",) * len(WIDTHS),
            up_block_types=("UpDecoderBlock2D",) * len(WIDTHS),
            layers_per_block=1,
            latent_channels=4,
            sample_size=512,
        )

    return seeded(2, build)


def clip_configuration(vocabulary: int, **changes: Any) -> CLIPTextConfig:
    arguments = {
        "hidden_size": TEXT_WIDTH,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 1,
        "max_position_embeddings": TEXT_LENGTH,
        "bos_token_id": vocabulary - 2,
        "eos_token_id": vocabulary - 1,
        "pad_token_id": vocabulary - 1,
        **changes,
    }
    return CLIPTextConfig(vocab_size=vocabulary, **arguments)


def tiny_text_encoder(vocabulary: int) -> CLIPTextModel:
    return seeded(3, lambda: CLIPTextModel(clip_configuration(vocabulary)))


def tiny_tokenizer(**changes: Any) -> CLIPTokenizer:
    """CLIP's tokenizer with a handful of merges: nearly every byte is a token of its own. "!" has number 0."""
    symbols = [chr(code) for code in (*range(33, 127), *range(161, 173), *range(174, 256), *range(256, 324))]
    joined = ["".join(pair) for pair in _MERGES]
    words = [*symbols, *(symbol + "</w>" for symbol in symbols), *joined, _START, _END]
    vocabulary = {word: number for number, word in enumerate(words)}
    return CLIPTokenizer(vocab=vocabulary, merges=list(_MERGES), model_max_length=TEXT_LENGTH, **changes)


def tiny_adapter() -> StableDiffusion:
    tokenizer = tiny_tokenizer()
    parts = ModelParts(tiny_unet(), (tiny_text_encoder(len(tokenizer)),), (CaptionTokenizer(tokenizer),), tiny_vae())
    return StableDiffusion(ModelRequest(NOWHERE, SD1, IN_FULL), parts)


def scheduler(prediction_type: str) -> DDIMScheduler:
    """
    Args:
        prediction_type: "epsilon" or "v_prediction".
    """
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type=prediction_type,
    )


def tiny_pipeline() -> StableDiffusionPipeline:
    """The same weights as a plain diffusers pipeline."""
    tokenizer = tiny_tokenizer()
    pipeline = StableDiffusionPipeline(
        vae=tiny_vae(),
        text_encoder=tiny_text_encoder(len(tokenizer)),
        tokenizer=tokenizer,
        unet=tiny_unet(),
        scheduler=scheduler("epsilon"),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def save_diffusers_folder(folder: Path) -> None:
    disable_progress_bar()
    tiny_pipeline().save_pretrained(folder)


def original_layout_weights(unet: nn.Module, vae: nn.Module, text_encoder: nn.Module) -> Weights:
    """The weights of a model in one dictionary, under the names of the original single files of SD 1.x."""
    named = original_unet_weights(unet) | original_vae_weights(vae)
    for name, value in text_encoder.state_dict().items():
        named[f"cond_stage_model.transformer.text_model.{name.removeprefix('text_model.')}"] = value
    return {name: value.detach().clone() for name, value in named.items()}


def original_unet_weights(unet: nn.Module) -> Weights:
    bottom_attends = bool(getattr(unet.up_blocks[0], "attentions", None))
    return {
        f"model.diffusion_model.{original_unet_name(name, bottom_attends)}": value
        for name, value in unet.state_dict().items()
    }


def original_vae_weights(vae: nn.Module) -> Weights:
    named = {}
    for name, value in vae.state_dict().items():
        is_attention_matrix = "mid_block.attentions" in name and value.ndim == 2
        named[f"first_stage_model.{original_vae_name(name)}"] = value[..., None, None] if is_attention_matrix else value
    return named


def below(prefix: str, weights: Weights) -> Weights:
    """The tensors below a prefix, without it."""
    return {name[len(prefix) :]: tensor for name, tensor in weights.items() if name.startswith(prefix)}


def _apply(rules: tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...], name: str) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


# The inverse of what the library does, written as successive substitutions instead of a table of modules.
# That it is the inverse is judged by the conversion functions of diffusers (test_checkpoints.py).

_UNET_BLOCKS = (
    (r"^time_embedding\.linear_1\.", "time_embed.0."),
    (r"^time_embedding\.linear_2\.", "time_embed.2."),
    (r"^add_embedding\.linear_1\.", "label_emb.0.0."),
    (r"^add_embedding\.linear_2\.", "label_emb.0.2."),
    (r"^conv_in\.", "input_blocks.0.0."),
    (r"^conv_norm_out\.", "out.0."),
    (r"^conv_out\.", "out.2."),
    (r"^mid_block\.resnets\.0\.", "middle_block.0."),
    (r"^mid_block\.attentions\.0\.", "middle_block.1."),
    (r"^mid_block\.resnets\.1\.", "middle_block.2."),
    (r"^down_blocks\.(\d)\.resnets\.(\d)\.", lambda m: f"input_blocks.{3 * int(m[1]) + int(m[2]) + 1}.0."),
    (r"^down_blocks\.(\d)\.attentions\.(\d)\.", lambda m: f"input_blocks.{3 * int(m[1]) + int(m[2]) + 1}.1."),
    (r"^down_blocks\.(\d)\.downsamplers\.0\.conv\.", lambda m: f"input_blocks.{3 * int(m[1]) + 3}.0.op."),
    (r"^up_blocks\.(\d)\.resnets\.(\d)\.", lambda m: f"output_blocks.{3 * int(m[1]) + int(m[2])}.0."),
    (r"^up_blocks\.(\d)\.attentions\.(\d)\.", lambda m: f"output_blocks.{3 * int(m[1]) + int(m[2])}.1."),
    (r"^up_blocks\.(\d)\.upsamplers\.0\.conv\.", lambda m: f"output_blocks.{3 * int(m[1]) + 2}.2.conv."),
)
_UPSAMPLER_WITHOUT_ATTENTION = ((r"^up_blocks\.0\.upsamplers\.0\.conv\.", "output_blocks.2.1.conv."),)
_UNET_RESIDUAL_LAYERS = (
    (r"\.norm1\.(?=\w+$)", ".in_layers.0."),
    (r"\.conv1\.", ".in_layers.2."),
    (r"\.time_emb_proj\.", ".emb_layers.1."),
    (r"\.norm2\.(?=\w+$)", ".out_layers.0."),
    (r"\.conv2\.", ".out_layers.3."),
    (r"\.conv_shortcut\.", ".skip_connection."),
)
_VAE = (
    (r"\.conv_norm_out\.", ".norm_out."),
    (r"\.mid_block\.resnets\.0\.", ".mid.block_1."),
    (r"\.mid_block\.resnets\.1\.", ".mid.block_2."),
    (r"\.mid_block\.attentions\.0\.group_norm\.", ".mid.attn_1.norm."),
    (r"\.mid_block\.attentions\.0\.to_out\.0\.", ".mid.attn_1.proj_out."),
    (r"\.mid_block\.attentions\.0\.to_([qkv])\.", r".mid.attn_1.\1."),
    (r"\.down_blocks\.(\d)\.resnets\.", r".down.\1.block."),
    (r"\.down_blocks\.(\d)\.downsamplers\.0\.", r".down.\1.downsample."),
    (r"\.up_blocks\.(\d)\.resnets\.", lambda m: f".up.{len(WIDTHS) - 1 - int(m[1])}.block."),
    (r"\.up_blocks\.(\d)\.upsamplers\.0\.", lambda m: f".up.{len(WIDTHS) - 1 - int(m[1])}.upsample."),
    (r"\.conv_shortcut\.", ".nin_shortcut."),
)


def original_unet_name(name: str, bottom_attends: bool = False) -> str:
    """
    Args:
        bottom_attends: the first level of the way up has attention, as in SDXL; otherwise its upsampler moves one place
            ahead.
    """
    residual = ".resnets." in name
    if not bottom_attends:
        name = _apply(_UPSAMPLER_WITHOUT_ATTENTION, name)
    name = _apply(_UNET_BLOCKS, name)
    return _apply(_UNET_RESIDUAL_LAYERS, name) if residual else name


def original_vae_name(name: str) -> str:
    return _apply(_VAE, name)
