"""Names of the U-Net's modules: those of diffusers, and those of the original code that files follow."""

from collections.abc import Iterator, Sequence

LAYERS_PER_BLOCK = 2
"""Residual blocks of each U-Net level on the way down; one more on the way up."""

NamePair = tuple[str, str]
"""(diffusers, original)"""

_RESNET = (
    ("norm1", "in_layers.0"),
    ("conv1", "in_layers.2"),
    ("time_emb_proj", "emb_layers.1"),
    ("norm2", "out_layers.0"),
    ("conv2", "out_layers.3"),
    ("conv_shortcut", "skip_connection"),
)


def unet_modules(attention: Sequence[bool]) -> Iterator[NamePair]:
    """(diffusers, original) names of the U-Net's modules; all layers below a module keep their names.

    Args:
        attention: for each level on the way down, whether it has attention.
    """
    yield "time_embedding.linear_1", "time_embed.0"
    yield "time_embedding.linear_2", "time_embed.2"
    yield "add_embedding.linear_1", "label_emb.0.0"
    yield "add_embedding.linear_2", "label_emb.0.2"
    yield "conv_in", "input_blocks.0.0"
    for level in range(len(attention)):
        yield from _level_down(level)
    yield from _resnet("mid_block.resnets.0", "middle_block.0")
    yield "mid_block.attentions.0", "middle_block.1"
    yield from _resnet("mid_block.resnets.1", "middle_block.2")
    for level, has_attention in enumerate(reversed(attention)):
        yield from _level_up(level, has_attention)
    yield "conv_norm_out", "out.0"
    yield "conv_out", "out.2"


def _level_down(level: int) -> Iterator[NamePair]:
    first = 1 + level * (LAYERS_PER_BLOCK + 1)
    for layer in range(LAYERS_PER_BLOCK):
        original = f"input_blocks.{first + layer}"
        yield from _resnet(f"down_blocks.{level}.resnets.{layer}", f"{original}.0")
        yield f"down_blocks.{level}.attentions.{layer}", f"{original}.1"
    yield f"down_blocks.{level}.downsamplers.0.conv", f"input_blocks.{first + LAYERS_PER_BLOCK}.0.op"


def _level_up(level: int, has_attention: bool) -> Iterator[NamePair]:
    layers = LAYERS_PER_BLOCK + 1
    for layer in range(layers):
        original = f"output_blocks.{level * layers + layer}"
        yield from _resnet(f"up_blocks.{level}.resnets.{layer}", f"{original}.0")
        yield f"up_blocks.{level}.attentions.{layer}", f"{original}.1"
    last = f"output_blocks.{level * layers + layers - 1}"
    yield f"up_blocks.{level}.upsamplers.0.conv", f"{last}.{2 if has_attention else 1}.conv"


def _resnet(diffusers: str, original: str) -> Iterator[NamePair]:
    for ours, theirs in _RESNET:
        yield f"{diffusers}.{ours}", f"{original}.{theirs}"
