"""What is known to be wrong with the base model, before anything of it is loaded."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from library.dataset.findings import Findings
from library.errors import UserError
from library.models.family import FAMILIES, SD1, ModelFamily, family_of_options
from library.models.hub import Hub
from library.models.inspection import check_identity, check_vae, inspect_model, trained_family
from library.models.model_source import MODEL_OPTION, VAE_OPTION, ModelSource, SourceKind, find_model, find_vae
from library.options.resolution import ResolvedOptions


@dataclass(frozen=True)
class LocalModel:
    """A model or VAE that can be loaded, on this computer."""

    name: str
    """Path, or hub id."""
    source: ModelSource
    is_from_hub: bool


@dataclass(frozen=True)
class BaseModel:
    family: ModelFamily
    model: LocalModel
    vae: LocalModel | None
    """Another VAE than the model's own."""


def check_model(resolved: ResolvedOptions, families: Sequence[ModelFamily], findings: Findings) -> BaseModel | None:
    """The model, or None if there are problems, which are added to the findings. May download it."""
    before = len(findings.problems)
    settings = resolved.settings
    name = settings.model.pretrained_model_name_or_path
    family = family_of_options(families, settings.model.v2, settings.model.v_parameterization)
    if family is None:
        findings.problems.append(f"--v2: {families[0].script} trains {families[0].name} models; leave it out")
    elif settings.model.clip_skip is not None and not family.uses_clip_skip:
        findings.warnings.append(
            f"--clip_skip {settings.model.clip_skip} has no effect: {family.name} takes the penultimate layer always"
        )
    if name is None:
        return None
    hub = Hub()
    model = _on_this_computer(find_model(name), MODEL_OPTION, hub.fetch_model, findings)
    vae = _check_vae(settings.model.vae, family or families[0], hub, findings)
    if model is not None:
        _check_identity(resolved, families, model, findings)
        if settings.model.tokenizer_cache_dir is not None and model.source.kind is not SourceKind.FILE:
            findings.warnings.append("--tokenizer_cache_dir has no effect: the model's folder holds its own tokenizers")
    if model is None or family is None or len(findings.problems) > before:
        return None
    return BaseModel(family, model, vae)


def families_of_model(resolved: ResolvedOptions) -> tuple[ModelFamily, ...]:
    """What the script trains that takes this model; those of SD 1.x if the model does not tell. May download it."""
    name = resolved.settings.model.pretrained_model_name_or_path
    model = None if name is None else _on_this_computer(find_model(name), MODEL_OPTION, Hub().fetch_model, Findings())
    try:
        identified = None if model is None else trained_family(inspect_model(model.source, MODEL_OPTION))
    except UserError:
        identified = None
    script = (identified or SD1).script
    return tuple(family for family in FAMILIES if family.script == script)


def _on_this_computer(
    found: ModelSource | str, option: str, fetch: Callable[[str, str], Path], findings: Findings
) -> LocalModel | None:
    if isinstance(found, str):
        findings.problems.append(found)
        return None
    if found.kind is not SourceKind.HUB:
        return LocalModel(found.place, found, is_from_hub=False)
    try:
        source = ModelSource(SourceKind.FOLDER, str(fetch(found.place, option)))
        return LocalModel(found.place, source, is_from_hub=True)
    except UserError as error:
        findings.problems += error.problems
        return None


def _check_vae(name: str | None, family: ModelFamily, hub: Hub, findings: Findings) -> LocalModel | None:
    if not name:
        return None
    vae = _on_this_computer(find_vae(name), VAE_OPTION, hub.fetch_vae, findings)
    if vae is not None:
        try:
            problem = check_vae(vae.source, VAE_OPTION, family)
            findings.problems += [problem] if problem else []
        except UserError as error:
            findings.problems += error.problems
    return vae


def _check_identity(
    resolved: ResolvedOptions, families: Sequence[ModelFamily], model: LocalModel, findings: Findings
) -> None:
    settings = resolved.settings
    try:
        identity = inspect_model(model.source, MODEL_OPTION)
    except UserError as error:
        findings.problems += error.problems
        return
    problems, warnings = check_identity(
        identity,
        model.name,
        tuple(families),
        v2=settings.model.v2,
        v_parameterization=settings.model.v_parameterization,
        zero_terminal_snr=settings.noise.zero_terminal_snr,
        given=resolved.given,
        has_separate_vae=bool(settings.model.vae),
    )
    findings.problems += problems
    findings.warnings += warnings
