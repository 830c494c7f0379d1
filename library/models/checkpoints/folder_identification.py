"""What kind of model a diffusers folder holds, judged by its configurations and the headers of its weights."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from library.errors import UserError
from library.models.checkpoints.headers import WeightsHeader, read_header
from library.models.checkpoints.identification import (
    KIND_BY_CHANNELS,
    REFINER_TEXT_WIDTH,
    SD1_TEXT_WIDTH,
    SD2_TEXT_WIDTH,
    SDXL_TEXT_ENCODER_PARTS,
    TEXT_ENCODER_PART,
    UNET_PART,
    VAE_PART,
    Identity,
    ModelKind,
)
from library.models.diffusers_layout import (
    CONFIGURATION,
    SCHEDULER,
    SCHEDULER_CONFIGURATION,
    TEXT_ENCODERS,
    TOKENIZERS,
    UNET,
    VAE,
    file_names,
    has_vocabulary,
    weights_files,
)
from library.models.family import EPSILON, VELOCITY

Configuration = Mapping[str, Any]

_PREDICTION_TYPES = {"v_prediction": VELOCITY, "epsilon": EPSILON}
_OPEN_CLIP_ACTIVATION = "gelu"
"""Of SD 2.x's text encoder; that of SD 1.x has "quick_gelu"."""

_TOKENIZER_PARTS = ("tokenizer", "tokenizer 2")


def identify_folder(folder: Path, option: str) -> Identity:
    """
    Raises:
        UserError: a configuration is missing or broken, or a file of weights is damaged; names the file.
    """
    unet = read_configuration(folder / UNET, option) if (folder / UNET).is_dir() else {}
    kind = _kind(folder, unet, option)
    missing = tuple(part for part, is_there in _parts(folder, kind, option) if not is_there)
    scheduler = _scheduler(folder, option)
    evidence = f"its file {SCHEDULER}/{SCHEDULER_CONFIGURATION}"
    prediction_type = _PREDICTION_TYPES.get(str(scheduler.get("prediction_type")))
    zero_terminal_snr = scheduler.get("rescale_betas_zero_snr") is True
    return Identity(
        kind,
        missing,
        prediction_type,
        evidence if prediction_type else "",
        zero_terminal_snr,
        evidence if zero_terminal_snr else "",
    )


def read_configuration(component: Path, option: str, name: str = CONFIGURATION) -> Configuration:
    """
    Raises:
        UserError: it is missing or broken.
    """
    path = component / name
    try:
        configuration = json.loads(path.read_bytes())
        if not isinstance(configuration, dict):
            raise ValueError("no JSON object")
    except OSError as error:
        raise UserError(f"--{option} '{path}' cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"--{option} '{path}' is broken ({error}); download it again") from None
    return configuration


def read_component_headers(component: Path, option: str) -> tuple[WeightsHeader, ...]:
    """Of each file that holds the component's weights; () if there is none.

    Raises:
        UserError: a file is damaged, or listed but not there.
    """
    try:
        files = weights_files(component)
    except ValueError as error:
        raise UserError(f"--{option} {error}") from None
    return tuple(read_header(file, option) for file in files)


def _kind(folder: Path, unet: Configuration, option: str) -> ModelKind:
    """Widths decide where they are those of released models, else the structure."""
    if unet.get("_class_name") == "UNetSpatioTemporalConditionModel":
        return ModelKind.VIDEO
    channels, width = unet.get("in_channels"), unet.get("cross_attention_dim")
    if isinstance(channels, int) and channels in KIND_BY_CHANNELS:
        return KIND_BY_CHANNELS[channels]
    if unet.get("addition_embed_type") == "text_time":
        return ModelKind.REFINER if width == REFINER_TEXT_WIDTH else ModelKind.SDXL
    if width == SD2_TEXT_WIDTH:
        return ModelKind.UNCLIP if unet.get("class_embed_type") else ModelKind.SD2
    if width == SD1_TEXT_WIDTH:
        return ModelKind.SD1
    if any((folder / component[1]).is_dir() for component in (TEXT_ENCODERS, TOKENIZERS)):
        return ModelKind.SDXL
    return _kind_by_text_encoder(folder / TEXT_ENCODERS[0], option)


def _kind_by_text_encoder(component: Path, option: str) -> ModelKind:
    if not component.is_dir():
        return ModelKind.SD1
    configuration = read_configuration(component, option)
    is_open_clip = configuration.get("hidden_act") == _OPEN_CLIP_ACTIVATION
    return ModelKind.SD2 if is_open_clip or configuration.get("hidden_size") == SD2_TEXT_WIDTH else ModelKind.SD1


def _parts(folder: Path, kind: ModelKind, option: str) -> Iterator[tuple[str, bool]]:
    """Each part that a base model has to have, and whether it is there; what is there is looked into."""
    if kind not in (ModelKind.SD1, ModelKind.SD2, ModelKind.SDXL):
        return
    text_encoder_parts = SDXL_TEXT_ENCODER_PARTS if kind is ModelKind.SDXL else (TEXT_ENCODER_PART,)
    yield UNET_PART, _has_model(folder / UNET, option)
    for part, tokenizer_part, text_encoder, tokenizer in zip(
        text_encoder_parts, _TOKENIZER_PARTS, TEXT_ENCODERS, TOKENIZERS, strict=False
    ):
        yield part, _has_model(folder / text_encoder, option)
        yield tokenizer_part, has_vocabulary(file_names(folder / tokenizer))
    yield VAE_PART, _has_model(folder / VAE, option)


def _has_model(component: Path, option: str) -> bool:
    """
    Raises:
        UserError: there is one, but it is damaged or has no configuration.
    """
    if not read_component_headers(component, option):
        return False
    read_configuration(component, option)
    return True


def _scheduler(folder: Path, option: str) -> Configuration:
    """Empty if the folder has none."""
    if not (folder / SCHEDULER / SCHEDULER_CONFIGURATION).is_file():
        return {}
    return read_configuration(folder / SCHEDULER, option, SCHEDULER_CONFIGURATION)
