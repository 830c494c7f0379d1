"""The modelspec fields (Stability AI's model metadata standard, version 1.0.1)."""

import base64
import mimetypes
import time
from pathlib import Path

from library.models.family import ModelFamily
from library.options.groups import MetadataOptions, TimestepOptions
from library.version import source_identity

SPEC_VERSION = "1.0.1"

_OPTIONAL_FIELDS = (
    "author", "description", "license", "tags", "usage_hint", "merged_from", "trigger_phrase", "preprocessor",
    "is_negative_embedding",
)  # fmt: skip


def modelspec_fields(
    family: ModelFamily,
    options: MetadataOptions,
    timesteps: TimestepOptions,
    output_name: str | None,
    resolution: tuple[int, int] | None,
    saved_at: float,
    clip_skip: int | None = None,
    thumbnail: str | None = None,
) -> dict[str, str]:
    """
    Args:
        resolution: width and height in pixels; None = what the family was trained at.
        saved_at: seconds since 1970.
        thumbnail: a URL, or a data URL, which holds the picture itself (see as_data_url).
    """
    local_time = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(saved_at))
    width, height = resolution or (family.default_resolution, family.default_resolution)
    fields = {
        "sai_model_spec": SPEC_VERSION,
        "architecture": f"{family.architecture}/lora",
        "implementation": family.implementation,
        "implementation_version": source_identity(),
        "title": options.metadata_title or output_name or f"LoRA@{local_time}",
        "resolution": f"{width}x{height}",
        "date": local_time,
        "prediction_type": family.prediction_type,
    }
    if timesteps.min_timestep is not None or timesteps.max_timestep is not None:
        fields["timestep_range"] = f"{timesteps.min_timestep or 0},{timesteps.max_timestep or 1000}"
    if clip_skip is not None:
        fields["encoder_layer"] = str(clip_skip)
    for name in _OPTIONAL_FIELDS:
        value = getattr(options, f"metadata_{name}")
        if value:
            fields[name] = value
    if thumbnail:
        fields["thumbnail"] = thumbnail
    return {f"modelspec.{name}": value for name, value in fields.items()}


def as_data_url(thumbnail: str) -> str:
    """A picture file becomes a data URL, which holds the picture itself; a URL stays as it is.

    Raises:
        OSError: the file cannot be read.
    """
    if thumbnail.startswith(("data:", "http://", "https://")):
        return thumbnail
    kind = mimetypes.guess_type(thumbnail)[0] or "image/png"
    content = base64.b64encode(Path(thumbnail).read_bytes()).decode("ascii")
    return f"data:{kind};base64,{content}"
