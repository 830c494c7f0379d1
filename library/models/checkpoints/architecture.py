"""What models' configurations would have said, read from the shapes of the tensors in a single file."""

from collections.abc import Mapping, Sequence
from typing import Any

from library.unet_names import LAYERS_PER_BLOCK

Shapes = Mapping[str, tuple[int, ...]]
"""Tensor name -> shape. Names are the original ones, without the prefix of the model's part."""

HEAD_WIDTH = 64
"""Channels of an attention head in all text encoders and, unless the number of heads is fixed, U-Nets."""

SIZE_EMBEDDING_WIDTH = 256
"""Sines and cosines for each number in which a U-Net is told sizes."""


def unet_configuration(unet: Shapes, heads: int | None) -> dict[str, Any]:
    """Arguments of diffusers' UNet2DConditionModel.

    Args:
        heads: attention heads of every level; None = as many as heads of the usual width fit.

    Raises:
        KeyError: a tensor that tells the architecture is missing.
    """
    widths = _unet_widths(unet)
    depths = _depths(unet)
    return {
        "in_channels": unet["input_blocks.0.0.weight"][1],
        "out_channels": unet["out.2.weight"][0],
        "block_out_channels": tuple(widths),
        "down_block_types": tuple("CrossAttnDownBlock2D" if depth else "DownBlock2D" for depth in depths),
        "up_block_types": tuple("CrossAttnUpBlock2D" if depth else "UpBlock2D" for depth in reversed(depths)),
        "layers_per_block": LAYERS_PER_BLOCK,
        "transformer_layers_per_block": _transformer_layers(depths, _depth(unet, "middle_block.1")),
        "cross_attention_dim": unet["middle_block.1.transformer_blocks.0.attn2.to_k.weight"][1],
        "attention_head_dim": heads or tuple(max(1, width // HEAD_WIDTH) for width in widths),
        "use_linear_projection": len(unet["middle_block.1.proj_in.weight"]) == 2,
        "sample_size": 64,
        **_size_conditioning(unet),
    }


def attention_levels(unet: Shapes) -> tuple[bool, ...]:
    """For each level of the way down, whether it has attention."""
    return tuple(depth > 0 for depth in _depths(unet))


def _unet_widths(unet: Shapes) -> list[int]:
    widths: list[int] = []
    while (name := f"input_blocks.{1 + len(widths) * (LAYERS_PER_BLOCK + 1)}.0.out_layers.3.weight") in unet:
        widths.append(unet[name][0])
    return widths


def _depths(unet: Shapes) -> list[int]:
    """Blocks of the transformers of each level of the way down."""
    starts = (1 + level * (LAYERS_PER_BLOCK + 1) for level in range(len(_unet_widths(unet))))
    return [_depth(unet, f"input_blocks.{start}.1") for start in starts]


def _depth(unet: Shapes, transformer: str) -> int:
    """Blocks of a transformer; 0 = there is none."""
    return _count(unet, transformer + ".transformer_blocks.{}.norm1.weight")


def _transformer_layers(depths: Sequence[int], middle: int) -> int | tuple[int, ...]:
    """diffusers takes the middle's depth from the last level; a level without attention there has none of its own."""
    if set(depths) <= {0, 1} and middle == 1:
        return 1
    return (*(max(1, depth) for depth in depths[:-1]), middle)


def _size_conditioning(unet: Shapes) -> dict[str, Any]:
    projection = unet.get("label_emb.0.0.weight")
    if projection is None:
        return {}
    return {
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": SIZE_EMBEDDING_WIDTH,
        "projection_class_embeddings_input_dim": projection[1],
    }


ORIGINAL_VAE_LAYER = "encoder.down.{}.block.{}.conv1.weight"
DIFFUSERS_VAE_LAYER = "encoder.down_blocks.{}.resnets.{}.conv1.weight"


def vae_configuration(vae: Shapes, scaling_factor: float, layer: str = ORIGINAL_VAE_LAYER) -> dict[str, Any]:
    """Arguments of diffusers' AutoencoderKL.

    Args:
        layer: name of the tensor of a level and layer, which tells the names that `vae` has.

    Raises:
        KeyError: a tensor that tells the architecture is missing.
    """
    widths: list[int] = []
    while (first := layer.format(len(widths), 0)) in vae:
        widths.append(vae[first][0])
    return {
        "block_out_channels": tuple(widths),
        "layers_per_block": _count(vae, layer.format(0, "{}")),
        "down_block_types": ("DownEncoderBlock2D",) * len(widths),
        "up_block_types": ("UpDecoderBlock2D",) * len(widths),
        "latent_channels": vae["post_quant_conv.weight"][0],
        "scaling_factor": scaling_factor,
        "sample_size": 512,
    }


def clip_configuration(text_encoder: Shapes, activation: str) -> dict[str, Any]:
    """Arguments of transformers' CLIPTextConfig. Takes transformers' names without `text_model.`

    Raises:
        KeyError: a tensor that tells the architecture is missing.
    """
    vocabulary, width = text_encoder["embeddings.token_embedding.weight"]
    projection = text_encoder.get("text_projection.weight", (width,))
    return {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "intermediate_size": text_encoder["encoder.layers.0.mlp.fc1.weight"][0],
        "num_hidden_layers": _count(text_encoder, "encoder.layers.{}.mlp.fc1.weight"),
        "num_attention_heads": max(1, width // HEAD_WIDTH),
        "max_position_embeddings": text_encoder["embeddings.position_embedding.weight"][0],
        "hidden_act": activation,
        "projection_dim": projection[0],
        "bos_token_id": vocabulary - 2,
        "eos_token_id": vocabulary - 1,
        "pad_token_id": vocabulary - 1,
    }


def _count(shapes: Shapes, name: str) -> int:
    """How many numbers from 0 on make `name` the name of a tensor."""
    number = 0
    while name.format(number) in shapes:
        number += 1
    return number
