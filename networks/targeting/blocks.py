"""The blocks of a U-Net as kohya's tool counts them, for settings that differ from block to block."""

import re
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class BlockLayout:
    """How many blocks a U-Net has in each part, in the order in which they are counted."""

    before: int
    """of the embeddings of timestep and label"""
    down: int
    mid: int
    up: int
    after: int
    """of the output"""

    @property
    def count(self) -> int:
        return self.before + self.down + self.mid + self.up + self.after


SD_BLOCKS = BlockLayout(before=0, down=12, mid=1, up=12, after=0)
SDXL_BLOCKS = BlockLayout(before=1, down=9, mid=3, up=9, after=1)
LAYOUTS = {layout.count: layout for layout in (SD_BLOCKS, SDXL_BLOCKS)}
"""By the number of blocks, which is how users know them: 25 for SD 1.x and 2.x, 23 for SDXL."""

_SD_BLOCK = re.compile(r"(?P<part>down|up)_blocks\.(?P<level>\d+)\.(?P<kind>[a-z]+)\.(?P<place>\d+)\.")
_SD_LAYERS_PER_LEVEL = 3
_SD_RESAMPLING = ("downsamplers", "upsamplers")
_SD_FIRST = {"down": 1, "up": 13}
_SD_MID = 12
_SD_LAST = SD_BLOCKS.count - 1

_SDXL_BLOCK = re.compile(r"(?P<part>input_blocks|middle_block|output_blocks)\.(?P<number>\d+)\.")
_SDXL_FIRST = {"input_blocks": 1, "middle_block": 10, "output_blocks": 13}
_SDXL_LAST = SDXL_BLOCKS.count - 1


def block_count(unet: Any) -> int:
    """25 for a U-Net with the names of SD 1.x and 2.x, 23 for one with those of SDXL.

    Args:
        unet: its view, an nn.Module.
    """
    children = {name for name, _ in unet.named_children()}
    return SDXL_BLOCKS.count if "input_blocks" in children else SD_BLOCKS.count


def block_of(path: str) -> int:
    """Number of the block that a layer of a U-Net belongs to.

    Layers before all blocks count to the first one, those after all blocks to the last one: kohya's tool, which never
    adapts them, gives them no number in SD 1.x and 2.x.

    Args:
        path: dotted path of the layer in the view, such as down_blocks.0.attentions.0.proj_in.
    """
    sdxl = _SDXL_BLOCK.match(path)
    if sdxl is not None:
        return _SDXL_FIRST[sdxl["part"]] + int(sdxl["number"])
    sd = _SD_BLOCK.match(path)
    if sd is not None:
        place = _SD_LAYERS_PER_LEVEL - 1 if sd["kind"] in _SD_RESAMPLING else int(sd["place"])
        return _SD_FIRST[sd["part"]] + _SD_LAYERS_PER_LEVEL * int(sd["level"]) + place
    if path.startswith("mid_block."):
        return _SD_MID
    if path.startswith("out."):
        return _SDXL_LAST
    return _SD_LAST if path.startswith(("conv_norm_out", "conv_out")) else 0
