"""Whether a model fits the options, found out from headers and configurations before anything heavy is imported."""

import math
from collections.abc import Sequence
from pathlib import Path

from library.errors import UserError
from library.models.checkpoints.folder_identification import (
    identify_folder,
    read_component_headers,
    read_configuration,
)
from library.models.checkpoints.headers import WeightsHeader, read_header
from library.models.checkpoints.identification import VAE_PART, VAE_PREFIX, Identity, ModelKind, identify
from library.models.diffusers_layout import CONFIGURATION
from library.models.family import EPSILON, FAMILIES, SD1, SD2, SDXL, VELOCITY, ModelFamily
from library.models.model_source import MODEL_OPTION, ModelSource, SourceKind

Findings = tuple[list[str], list[str]]
"""Problems and warnings."""

_FAMILY_OF_KIND = {ModelKind.SD1: SD1, ModelKind.SD2: SD2, ModelKind.SDXL: SDXL}

_FAMILY_OF_VAE = {
    **_FAMILY_OF_KIND,
    **dict.fromkeys((ModelKind.INPAINTING, ModelKind.INSTRUCTION, ModelKind.DEPTH, ModelKind.UNCLIP), SD1),
    ModelKind.REFINER: SDXL,
}
"""Whose VAE a whole model holds; that of SD 1.x and 2.x is the same. Models that are not here may hold either."""

_REMEDIES = {
    ModelKind.NETWORK: "give the model that it was trained on",
    ModelKind.VAE: "give it as --vae, and the whole model here",
}
_PARTS = (ModelKind.UNET, ModelKind.TEXT_ENCODER, ModelKind.CONTROLNET, ModelKind.EMBEDDING)
_REMEDY_OF_PARTS = "give the whole base model"
_REMEDY_OF_MODELS = f"models that can be trained here: {', '.join(family.name for family in FAMILIES)}"

_VAE_CLASS = "AutoencoderKL"
_VAE_ENDS = ("encoder.conv_in.weight", "decoder.conv_in.weight")
"""Named alike in the original layout and in that of diffusers; the decoder's takes the latents."""
_LATENT_CHANNELS = SD1.latents.channels


def inspect_model(source: ModelSource, option: str) -> Identity:
    """
    Raises:
        UserError: the model is damaged.
        ValueError: it is a hub id; what it names has to be fetched first.
    """
    if source.kind is SourceKind.HUB:
        raise ValueError(f"{source.place} has not been fetched")
    place = Path(source.place)
    if source.kind is SourceKind.FOLDER:
        return identify_folder(place, option)
    header = read_header(place, option)
    return identify(header.shapes, header.metadata)


def trained_family(identity: Identity) -> ModelFamily | None:
    """The family of a whole base model; None for everything else."""
    return _FAMILY_OF_KIND.get(identity.kind)


def inspect_vae(source: ModelSource, option: str) -> None:
    """
    Raises:
        UserError: there is no VAE of the kind that Stable Diffusion has, or it is damaged.
        ValueError: it is a hub id; what it names has to be fetched first.
    """
    if source.kind is SourceKind.HUB:
        raise ValueError(f"{source.place} has not been fetched")
    place = Path(source.place)
    problem = _vae_folder_problem(place, option) if place.is_dir() else _vae_problem(read_header(place, option))
    if problem is not None:
        raise UserError(f"--{option} '{source.place}' {problem}")


def check_vae(source: ModelSource, option: str, family: ModelFamily) -> str | None:
    """A problem if the VAE is known to be another family's. Bare files do not say whose they are.

    Raises:
        UserError: it is no VAE, or damaged.
    """
    inspect_vae(source, option)
    scale = _latent_scale(Path(source.place), option)
    if scale is None or math.isclose(scale, family.latent_scale, rel_tol=1e-3):
        return None
    remedy = f"; if it is one, correct scaling_factor in its {CONFIGURATION}" if Path(source.place).is_dir() else ""
    return (
        f"--{option} '{source.place}' is no VAE of {family.name}: its latents are scaled by {scale:g}, "
        f"not by {family.latent_scale:g}{remedy}"
    )


def _latent_scale(place: Path, option: str) -> float | None:
    if place.is_dir():
        scale = read_configuration(place, option).get("scaling_factor")
        return float(scale) if isinstance(scale, (int, float)) else None
    header = read_header(place, option)
    family = _FAMILY_OF_VAE.get(identify(header.shapes, header.metadata).kind)
    return None if family is None else family.latent_scale


def _vae_folder_problem(place: Path, option: str) -> str | None:
    name = read_configuration(place, option).get("_class_name", _VAE_CLASS)
    if name != _VAE_CLASS:
        return f"holds no VAE: its {CONFIGURATION} is that of {name}, not of {_VAE_CLASS}"
    headers = read_component_headers(place, option)
    if not headers:
        return "has no file of weights"
    return _vae_problem(WeightsHeader({name: shape for header in headers for name, shape in header.shapes.items()}))


def _vae_problem(header: WeightsHeader) -> str | None:
    shapes = {name.removeprefix(VAE_PREFIX): shape for name, shape in header.shapes.items()}
    lacking = [name for name in _VAE_ENDS if len(shapes.get(name, ())) != 4]
    if lacking:
        kind = identify(header.shapes, header.metadata).kind
        if kind is ModelKind.VAE:
            return f"is no whole VAE of Stable Diffusion's form: it lacks {lacking[0]}"
        return f"holds no VAE: it looks like {kind.value}"
    channels = shapes[_VAE_ENDS[1]][1]
    if channels != _LATENT_CHANNELS:
        return f"is the VAE of another kind of model: its latents have {channels} channels, not {_LATENT_CHANNELS}"
    return None


def check_identity(
    identity: Identity,
    place: str,
    families: Sequence[ModelFamily],
    v2: bool,
    v_parameterization: bool,
    zero_terminal_snr: bool,
    given: frozenset[str],
    has_separate_vae: bool,
) -> Findings:
    """Whether a base model is one that the script trains, whole, and what the options say it is.

    Args:
        place: what the user named.
        families: those that the script trains.
        given: names of the options that the user wrote, also when negated as in --no_v_parameterization.
        has_separate_vae: --vae is given.
    """
    named = f"--{MODEL_OPTION} '{place}'"
    looks = f"{named} looks like {identity.kind.value}"
    family = trained_family(identity)
    if family is None:
        remedy = _REMEDY_OF_PARTS if identity.kind in _PARTS else _REMEDY_OF_MODELS
        return [f"{looks}; {_REMEDIES.get(identity.kind, remedy)}"], []
    if family.name not in {one.name for one in families}:
        return [f"{looks}; train it with {family.script}{' --v2' if family.is_v2 else ''}"], []
    problems = []
    if family.is_v2 != v2 and any(one.is_v2 == v2 for one in families):
        problems.append(f"{looks}; {'add' if family.is_v2 else 'leave out'} --v2")
    missing = [part for part in identity.missing if not (part == VAE_PART and has_separate_vae)]
    if missing:
        remedy = "name one with --vae" if missing == [VAE_PART] else "give a model that has all parts"
        problems.append(
            f"{named} is incomplete: it looks like {identity.kind.value} without {_listed(missing)}; {remedy}"
        )
    warnings: list[str] = []
    for more_problems, more_warnings in (
        _check_prediction(identity, named, v_parameterization, given),
        _check_schedule(identity, named, zero_terminal_snr, given),
    ):
        problems += more_problems
        warnings += more_warnings
    return problems, warnings


def _check_prediction(identity: Identity, named: str, v_parameterization: bool, given: frozenset[str]) -> Findings:
    was_given, evidence = "v_parameterization" in given, identity.prediction_evidence
    if identity.prediction_type == VELOCITY and not v_parameterization:
        if was_given:
            return [], [f"{named} predicts v, as {evidence} says, but is trained to predict noise instead"]
        return [
            f"{named} predicts v, as {evidence} says; add --v_parameterization, "
            "or --no_v_parameterization to train it to predict noise instead"
        ], []
    if identity.prediction_type == EPSILON and v_parameterization:
        return [
            f"{named} predicts noise, not v, as {evidence} says; leave out --v_parameterization, "
            "or, if that is wrong, correct it there"
        ], []
    if identity.kind is not ModelKind.SD2 and identity.prediction_type is None and v_parameterization:
        return [], [
            f"{named} does not say what it predicts, and is trained to predict v, as --v_parameterization asks; "
            f"most models that look like {identity.kind.value} predict noise"
        ]
    if identity.kind is ModelKind.SD2 and identity.prediction_type is None and not was_given:
        return [], [
            f"{named} does not say whether it predicts noise or v; it is trained to predict noise. "
            "Models for 768 pixels mostly predict v: for these, add --v_parameterization, else --no_v_parameterization"
        ]
    return [], []


def _check_schedule(identity: Identity, named: str, zero_terminal_snr: bool, given: frozenset[str]) -> Findings:
    if not identity.zero_terminal_snr or zero_terminal_snr:
        return [], []
    trained = f"{named} was trained with zero terminal SNR, as {identity.zero_terminal_snr_evidence} says"
    if "zero_terminal_snr" in given:
        return [], [f"{trained}, but the run goes on without it"]
    return [f"{trained}; add --zero_terminal_snr, or --no_zero_terminal_snr to train without it"], []


def _listed(parts: Sequence[str]) -> str:
    return ", ".join(parts[:-1]) + " and " + parts[-1] if len(parts) > 1 else parts[0]
