"""The settings that diffusers and PEFT keep beside the tensors of a LoRA."""

import json
import math
import re
from collections.abc import Mapping
from typing import Any

METADATA_KEY = "lora_adapter_metadata"
"""Field of a file's metadata: JSON, each setting named PART.SETTING."""


def read_peft_settings(metadata: Mapping[str, str]) -> dict[str, Any]:
    """Settings by name, such as "unet.lora_alpha"; empty if there are none that can be read."""
    try:
        settings = json.loads(metadata.get(METADATA_KEY, "{}"))
    except ValueError:
        return {}
    return settings if isinstance(settings, dict) else {}


def alpha_of(settings: Mapping[str, Any], part: str, path: str, rank: int) -> float:
    """The alpha with which  alpha / rank  is the scale of a layer; without settings the scale is 1.

    Args:
        path: the layer's below its part, with dots.
        rank: of its tensors.
    """
    patterns = settings.get(f"{part}.alpha_pattern") or {}
    alpha = settings.get(f"{part}.lora_alpha")
    for pattern, value in patterns.items():
        if re.fullmatch(rf"(.*\.)?({pattern})", path):
            alpha = value
            break
    if alpha is None:
        return float(rank)
    return float(alpha) * math.sqrt(rank) if settings.get(f"{part}.use_rslora") else float(alpha)
