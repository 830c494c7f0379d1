"""The full-size architectures without memory for their weights: names and shapes only."""

from functools import cache
from typing import Any

from accelerate import init_empty_weights
from diffusers import UNet2DConditionModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from library.models.adapter import NetworkViews
from library.models.network_view import view_of_clip, view_of_sdxl_unet, view_of_unet
from library.models.stable_diffusion.projections import project_by_convolution

SDXL_UNET = {
    "sample_size": 128,
    "block_out_channels": (320, 640, 1280),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 2, 10),
    "attention_head_dim": (5, 10, 20),
    "cross_attention_dim": 2048,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}
SD2_UNET = {
    "sample_size": 96,
    "attention_head_dim": (5, 10, 20, 20),
    "cross_attention_dim": 1024,
    "use_linear_projection": True,
}


def _empty_unet(**configuration: Any) -> UNet2DConditionModel:
    with init_empty_weights():
        return UNet2DConditionModel(**configuration)


def empty_sd15_unet() -> UNet2DConditionModel:
    return _empty_unet(sample_size=64, cross_attention_dim=768, attention_head_dim=8)


def empty_sd21_unet() -> UNet2DConditionModel:
    return _empty_unet(**SD2_UNET)


def empty_sdxl_unet() -> UNet2DConditionModel:
    return _empty_unet(**SDXL_UNET)


def _configuration(width: int, layers: int, **changes: Any) -> CLIPTextConfig:
    return CLIPTextConfig(
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=layers,
        num_attention_heads=width // 64,
        vocab_size=49408,
        **changes,
    )


def empty_sd15_text_encoder() -> CLIPTextModel:
    """CLIP-L, which is also SDXL's first text encoder."""
    with init_empty_weights():
        return CLIPTextModel(_configuration(768, 12))


def empty_sd21_text_encoder() -> CLIPTextModel:
    with init_empty_weights():
        return CLIPTextModel(_configuration(1024, 23, hidden_act="gelu"))


def empty_sdxl_second_text_encoder() -> CLIPTextModelWithProjection:
    with init_empty_weights():
        return CLIPTextModelWithProjection(_configuration(1280, 32, hidden_act="gelu", projection_dim=1280))


@cache
def full_size_views(family: str) -> NetworkViews:
    """What networks see of sd15, sd21 or sdxl."""
    if family == "sdxl":
        encoders = (view_of_clip(empty_sd15_text_encoder()), view_of_clip(empty_sdxl_second_text_encoder()))
        return NetworkViews(view_of_sdxl_unet(empty_sdxl_unet()), encoders, nn.Identity())
    build_unet, build_encoder = {
        "sd15": (empty_sd15_unet, empty_sd15_text_encoder),
        "sd21": (empty_sd21_unet, empty_sd21_text_encoder),
    }[family]
    unet = build_unet()
    project_by_convolution(unet)
    return NetworkViews(view_of_unet(unet), (view_of_clip(build_encoder()),), nn.Identity())
