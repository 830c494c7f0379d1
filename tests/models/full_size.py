"""The full-size architectures without memory for their weights: names and shapes only."""

from accelerate import init_empty_weights
from diffusers import UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel


def empty_sd15_unet() -> UNet2DConditionModel:
    with init_empty_weights():
        return UNet2DConditionModel(sample_size=64, cross_attention_dim=768, attention_head_dim=8)


def empty_sd15_text_encoder() -> CLIPTextModel:
    configuration = CLIPTextConfig(
        hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12, vocab_size=49408
    )
    with init_empty_weights():
        return CLIPTextModel(configuration)
