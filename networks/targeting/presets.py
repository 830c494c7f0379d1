"""Named choices of layers: that of kohya's tool, those of LyCORIS, and files in LyCORIS's form."""

import fnmatch
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from library.errors import UserError
from library.options.suggestions import suggest
from networks.targeting.selection import PartSelection

_TRANSFORMERS = frozenset({"Transformer2DModel"})
_RESIDUAL = frozenset({"ResnetBlock2D"})
CONVOLUTIONAL = frozenset({"ResnetBlock2D", "Downsample2D", "Upsample2D"})
_UNET_ATTENTION = frozenset({"CrossAttention"})
_TEXT_ATTENTION = frozenset({"CLIPAttention", "CLIPSdpaAttention"})
_TEXT_TRANSFORMERS = _TEXT_ATTENTION | {"CLIPMLP"}
_TIME_EMBEDDING = (r"time_embedding\.linear_1", r"time_embedding\.linear_2")
_OUTER_CONVOLUTIONS = ("conv_in", "conv_out")
"""Both as SD 1.x and 2.x name them; the names of SDXL are others, so that LyCORIS's presets leave them out there."""


@dataclass(frozen=True)
class Preset:
    unet: PartSelection
    text_encoder: PartSelection
    convolutions: bool = False
    """Also convolutions larger than 1x1."""
    left_out_names: tuple[str, ...] = ()


_NOTHING = PartSelection()
_ALL_TEXT = PartSelection(_TEXT_TRANSFORMERS)

DEFAULT = "default"
"""As kohya's tool chooses layers; conv_dim adds residual blocks and resampling layers."""
FULL = "full"

PRESETS: Mapping[str, Preset] = {
    DEFAULT: Preset(PartSelection(_TRANSFORMERS), _ALL_TEXT),
    FULL: Preset(
        PartSelection(_TRANSFORMERS | CONVOLUTIONAL, _OUTER_CONVOLUTIONS + _TIME_EMBEDDING),
        _ALL_TEXT,
        convolutions=True,
    ),
    "full-lin": Preset(PartSelection(_TRANSFORMERS | _RESIDUAL, _TIME_EMBEDDING), _ALL_TEXT),
    "attn-mlp": Preset(PartSelection(_TRANSFORMERS), _ALL_TEXT),
    "attn-only": Preset(PartSelection(_UNET_ATTENTION), PartSelection(_TEXT_ATTENTION)),
    "unet-only": Preset(
        PartSelection(_TRANSFORMERS | CONVOLUTIONAL, _OUTER_CONVOLUTIONS + _TIME_EMBEDDING),
        _NOTHING,
        convolutions=True,
    ),
    "unet-transformer-only": Preset(PartSelection(_TRANSFORMERS), _NOTHING),
    "unet-attn-only": Preset(PartSelection(_UNET_ATTENTION), _NOTHING),
    "unet-convblock-only": Preset(PartSelection(CONVOLUTIONAL, _OUTER_CONVOLUTIONS), _NOTHING, convolutions=True),
    "ia3": Preset(
        PartSelection(names=("to_k", "to_v", r"ff\.net\.2")),
        PartSelection(names=("k_proj", "v_proj", r"mlp\.fc2")),
    ),
}
"""All but the first and unet-attn-only are LyCORIS's."""


def find_preset(name: str) -> Preset:
    """A preset by its name or from its file.

    Raises:
        UserError: there is no such preset, or its file is wrong.
    """
    if name in PRESETS:
        return PRESETS[name]
    if not name.lower().endswith(".toml") and not Path(name).is_file():
        raise UserError(
            f"--network_args preset={name}: there is no such preset.{suggest(name, PRESETS)} "
            f"Use one of {', '.join(PRESETS)}, or the path of a TOML file"
        )
    return _preset_of_table(_read_toml(name), name)


def _read_toml(file: str) -> Mapping[str, Any]:
    try:
        return tomllib.loads(Path(file).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"--network_args preset={file}: the file cannot be read: {reason}") from None


_SWITCHES = ("enable_conv", "use_fnmatch")
_LISTS = (
    "unet_target_module", "unet_target_name", "text_encoder_target_module", "text_encoder_target_name", "exclude_name",
)  # fmt: skip
_KINDS_APART = ("module_algo_map", "name_algo_map")


def _preset_of_table(table: Mapping[str, Any], file: str) -> Preset:
    """What a file leaves out is as in the preset "full", as in LyCORIS."""
    problems = [f"--network_args preset={file}: {problem}" for problem in _problems_of_table(table)]
    if problems:
        raise UserError(problems)
    full = PRESETS[FULL]

    def names(key: str, default: tuple[str, ...] = ()) -> tuple[str, ...]:
        if key not in table:
            return default
        return tuple(fnmatch.translate(name) for name in table[key]) if table.get("use_fnmatch") else tuple(table[key])

    def classes(key: str, default: frozenset[str] | None) -> frozenset[str] | None:
        return frozenset(table[key]) if key in table else default

    return Preset(
        PartSelection(classes("unet_target_module", full.unet.classes), names("unet_target_name", full.unet.names)),
        PartSelection(
            classes("text_encoder_target_module", full.text_encoder.classes), names("text_encoder_target_name")
        ),
        convolutions=table.get("enable_conv", full.convolutions),
        left_out_names=names("exclude_name"),
    )


def _problems_of_table(table: Mapping[str, Any]) -> list[str]:
    problems = []
    for key, value in table.items():
        if key in _KINDS_APART:
            if value:
                problems.append(
                    f"{key}: one network has layers of one kind here; leave it out, or train with "
                    "--network_module lycoris.kohya"
                )
        elif key in _SWITCHES:
            if not isinstance(value, bool):
                problems.append(f"{key} must be true or false")
        elif key in _LISTS:
            problems += _problems_of_list(key, value, is_fnmatch=bool(table.get("use_fnmatch")))
        else:
            known = (*_SWITCHES, *_LISTS)
            problems.append(f"there is no key {key}.{suggest(key, known)} Use {', '.join(known)}")
    return problems


def _problems_of_list(key: str, value: Any, is_fnmatch: bool) -> list[str]:
    if not isinstance(value, Sequence) or isinstance(value, str) or not all(isinstance(part, str) for part in value):
        return [f'{key} must be a list of texts, such as ["Transformer2DModel"]']
    if key.endswith("module") or is_fnmatch:
        return []
    return [f"{key}: '{part}' is no regular expression" for part in value if not _is_expression(part)]


def _is_expression(text: str) -> bool:
    try:
        re.compile(text)
    except re.error:
        return False
    return True
