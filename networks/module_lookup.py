"""Finds network modules without importing them, which would import torch."""

import importlib.util
import re
from collections.abc import Mapping

from library.errors import UserError
from library.options.suggestions import suggest
from library.working_directory import search_working_directory
from networks.arguments import MODULES

_OURS = __name__.partition(".")[0]

ALIASES: Mapping[str, str] = {"locon.locon_kohya": "networks.locon"}
"""Names of modules that are no longer published -> the module that takes their place. LoCon was a package of its own
before LyCORIS took it up; it trained the same layers under the same names, with conv_dim and conv_alpha."""

PACKAGES: Mapping[str, str] = {"lycoris": "lycoris-lora"}
"""Import name -> name for pip, where they differ."""

_LYCORIS = "lycoris"
_LYCORIS_MODULE = "lycoris.kohya"

_OTHER_MODELS = re.compile(r"^networks\.\w+_(anima|chroma|flux|hunyuan|lumina|qwen|sd3|wan)\w*$")
"""Modules of kohya's trainer for models that are not trained here."""


def resolve_alias(path: str) -> str:
    """The module that --network_module means by this name."""
    return ALIASES.get(path, path)


def is_ours_or_beside(path: str) -> bool:
    """Whether a module lies in the folder of our own ones, where users put theirs, too."""
    return resolve_alias(path).partition(".")[0] == _OURS


def require_module(path: str) -> None:
    """
    Raises:
        UserError: there is no module of that dotted path. Of other packages only the first part is looked up:
            anything further would import them.
    """
    path = resolve_alias(path)
    search_working_directory()
    package = path.partition(".")[0]
    if path == _LYCORIS:
        raise UserError(f"--network_module {path}: it is a package.{hint(path)}")
    try:
        found = importlib.util.find_spec(path if package == _OURS else package)
    except (ImportError, ValueError):
        found = None
    if found is None:
        raise UserError(explain_missing_module(path, path if package == _OURS else package))


def explain_missing_module(path: str, missing: str) -> str:
    """What is wrong when `path` cannot be imported since `missing` is not there."""
    package = missing.partition(".")[0]
    if package in PACKAGES and missing == package:
        return f"--network_module {path}: it needs the package {PACKAGES[package]}: pip install {PACKAGES[package]}"
    if missing and not f"{path}.".startswith(f"{missing}."):
        name = PACKAGES.get(package, missing)
        return f"--network_module {path}: it needs the package {name}: pip install {name}"
    return f"--network_module {path}: there is no such module.{hint(path)}"


def hint(path: str) -> str:
    """What --network_module may have been meant to name, as a sentence."""
    if _OTHER_MODELS.match(path):
        return " It is for other models; SD 1.x, SD 2.x and SDXL are trained here, usually with networks.lora"
    if _LYCORIS in path.lower():
        return f" Did you mean {_LYCORIS_MODULE}?"
    by_last_part = f"{_OURS}.{path.rpartition('.')[2].lower()}"
    if by_last_part in MODULES:
        return f" Did you mean {by_last_part}?"
    return suggest(path, MODULES) or f" Ours: {', '.join(sorted(MODULES))}"
