"""What kind of model a file holds, judged by the names of its tensors."""

from collections.abc import Mapping

import torch

SD1 = "a Stable Diffusion 1.x model"
SD2 = "a Stable Diffusion 2.x model"
SDXL = "a Stable Diffusion XL model"
NETWORK = "a LoRA or similar network, not a base model"
VAE_ONLY = "a VAE alone"
UNKNOWN = "no Stable Diffusion model that is known here"

SD2_TEXT_WIDTH = 1024
"""Features that the U-Net takes of each token; 768 in SD 1.x."""

_CONTEXT_WEIGHT = "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"


def identify(weights: Mapping[str, torch.Tensor]) -> str:
    """One of the descriptions above."""
    if any(name.startswith(("lora_", "lycoris_", "unet.")) or ".lora_" in name for name in weights):
        return NETWORK
    if any(name.startswith("conditioner.embedders.") for name in weights):
        return SDXL
    if any(name.startswith("model.diffusion_model.") for name in weights):
        if any(name.startswith("model.diffusion_model.label_emb.") for name in weights):
            return SDXL
        if any(name.startswith("cond_stage_model.model.") for name in weights):
            return SD2
        context = weights.get(_CONTEXT_WEIGHT)
        return SD2 if context is not None and context.shape[1] == SD2_TEXT_WIDTH else SD1
    if any(name.startswith(("first_stage_model.", "decoder.", "encoder.")) for name in weights):
        return VAE_ONLY
    return UNKNOWN
