"""Models from a hub: the local copy if there is one, else a download."""

import errno
import json
import logging
import queue
import threading
from collections.abc import Callable, Collection
from pathlib import Path

import huggingface_hub
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

from library.errors import UserError
from library.models.diffusers_layout import (
    CONFIGURATION,
    MODEL_INDEX,
    SCHEDULER,
    SCHEDULER_CONFIGURATION,
    TEXT_ENCODERS,
    TOKENIZERS,
    UNET,
    VAE,
    choose_weights,
    file_names,
    has_vocabulary,
    is_index,
    shards_among,
    weights_files,
)

logger = logging.getLogger(__name__)

ANSWER_WITHIN = 5.0
"""seconds a hub has to answer before it counts as out of reach"""

_MODELS = (UNET, VAE, *TEXT_ENCODERS)
_ALWAYS_NEEDED = (UNET, VAE, TEXT_ENCODERS[0], TOKENIZERS[0])

_DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO}


class Hub:
    """The hub as one run sees it: whether it can be reached is found out once, before anything is asked of it."""

    def __init__(self) -> None:
        self._out_of_reach: str | None = None
        """Why, once that is known."""
        self._files: dict[str, frozenset[str]] = {}
        """Hub id -> names of the files it has there."""

    def fetch_model(self, hub_id: str, option: str) -> Path:
        """The folder with a hub's diffusers model: weights in full precision if there are any, else in half.

        Raises:
            UserError: the model is neither here nor on the hub, or it cannot be fetched.
        """
        return self._fetch(hub_id, option, _is_complete_model, _model_files)

    def fetch_vae(self, hub_id: str, option: str) -> Path:
        """The folder of a VAE itself; on the hub it may be alone or part of a diffusers model.

        Raises:
            UserError: the VAE is neither here nor on the hub, or it cannot be fetched.
        """
        return _vae_folder(self._fetch(hub_id, option, _is_complete_vae, _vae_files))

    def _fetch(
        self,
        hub_id: str,
        option: str,
        is_complete: Callable[[Path], bool],
        choose: Callable[[Collection[str]], list[str]],
    ) -> Path:
        here = _local_copy(hub_id)
        if here is not None and is_complete(here):
            return here
        state = "not on this computer" if here is None else "only in part on this computer"
        logger.info("%s is %s; asking the hub", hub_id, state)
        try:
            wanted = choose(self._files_of(hub_id, option, state))
        except ValueError as error:
            raise UserError(f"--{option} '{hub_id}': {error}") from None
        return _download(hub_id, option, wanted)

    def _files_of(self, hub_id: str, option: str, state: str) -> frozenset[str]:
        """
        Raises:
            UserError: the hub does not answer, or has no such model.
        """
        if hub_id in self._files:
            return self._files[hub_id]
        try:
            if self._out_of_reach is None:
                self._files[hub_id] = _within(ANSWER_WITHIN, lambda: _ask_for_files(hub_id))
                return self._files[hub_id]
        except GatedRepoError:
            raise UserError(_gated(hub_id, option)) from None
        except RepositoryNotFoundError:
            raise UserError(
                f"--{option} '{hub_id}': there is no such file or folder here and no such model on the hub; "
                "for a private model, log in with: hf auth login"
            ) from None
        except Exception as error:  # noqa: BLE001 - errors of whichever HTTP library the hub's client is built on
            self._out_of_reach = type(error).__name__
        raise UserError(
            f"--{option} '{hub_id}': there is no such file or folder, the model is {state}, "
            f"and the hub cannot be reached ({self._out_of_reach})"
        )


def _ask_for_files(hub_id: str) -> frozenset[str]:
    information = huggingface_hub.HfApi().model_info(hub_id, timeout=ANSWER_WITHIN)
    return frozenset(file.rfilename for file in information.siblings or ())


def _within(seconds: float, question: Callable[[], frozenset[str]]) -> frozenset[str]:
    """The answer. Looking up a host's name heeds no time limit of the HTTP library, so that waiting has one of its own.

    Raises:
        TimeoutError: there was no answer in time.
        Exception: whatever the question raises.
    """
    answers: queue.SimpleQueue[frozenset[str] | Exception] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answers.put(question())
        except Exception as error:  # noqa: BLE001 - handed to who waits
            answers.put(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        answer = answers.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError from None
    if isinstance(answer, Exception):
        raise answer
    return answer


# ---- what is here


def _local_copy(hub_id: str) -> Path | None:
    """The newest copy that is known here, whole or not: what has to be in it is judged elsewhere."""
    try:
        return Path(huggingface_hub.snapshot_download(hub_id, allow_patterns=[], local_files_only=True))
    except OSError:  # LocalEntryNotFoundError is one
        return None


def _is_complete_model(folder: Path) -> bool:
    """Whether an earlier download got to its end: the hub's client hands out what there is of it."""
    return all(
        _is_complete_component(folder / name) if name in _MODELS else has_vocabulary(file_names(folder / name))
        for name in _components_here(folder)
    )


def _components_here(folder: Path) -> set[str]:
    """The components that a local copy has to have."""
    optional = (TEXT_ENCODERS[1], TOKENIZERS[1])
    try:
        index = json.loads((folder / MODEL_INDEX).read_bytes())
        return {*_ALWAYS_NEEDED, *(name for name in optional if any(index.get(name) or ()))}
    except (OSError, ValueError, AttributeError, TypeError):
        return {*_ALWAYS_NEEDED, *(name for name in optional if (folder / name).is_dir())}


def _is_complete_component(folder: Path) -> bool:
    try:
        files = weights_files(folder)
    except ValueError:
        return False
    return (folder / CONFIGURATION).is_file() and bool(files) and all(file.is_file() for file in files)


def _vae_folder(folder: Path) -> Path:
    return folder / VAE if (folder / VAE).is_dir() else folder


def _is_complete_vae(folder: Path) -> bool:
    return _is_complete_component(_vae_folder(folder))


# ---- what is fetched


def _model_files(there: Collection[str]) -> list[str]:
    """The files to fetch of those that a hub has.

    Raises:
        ValueError: they are not those of a diffusers model.
    """
    if f"{UNET}/{CONFIGURATION}" not in there:
        raise ValueError(
            f"the hub has no diffusers model under this name, since it has no folder '{UNET}'; "
            "download the file that you want, and give its path"
        )
    wanted = [name for name in (MODEL_INDEX, f"{SCHEDULER}/{SCHEDULER_CONFIGURATION}") if name in there]
    for component in _MODELS:
        wanted += _component_files(there, f"{component}/")
    for component in TOKENIZERS:
        texts = (".json", ".txt")
        wanted += sorted(name for name in there if name.startswith(f"{component}/") and name.endswith(texts))
    return wanted


def _vae_files(there: Collection[str]) -> list[str]:
    """The files to fetch of those that a hub has.

    Raises:
        ValueError: there is no VAE among them.
    """
    wanted = _component_files(there, f"{VAE}/") or _component_files(there, "")
    if not wanted:
        raise ValueError(
            "the hub has no VAE in diffusers' form under this name; download the file that you want, and give its path"
        )
    return wanted


def _component_files(there: Collection[str], prefix: str) -> list[str]:
    """Configuration and weights of a component; [] if it is not there."""
    names = {name.removeprefix(prefix) for name in there if name.startswith(prefix)}
    weights = choose_weights(names)
    if weights is None or CONFIGURATION not in names:
        return []
    shards = shards_among(weights, names) if is_index(weights) else []
    return [prefix + name for name in (CONFIGURATION, weights, *sorted(shards))]


def _download(hub_id: str, option: str, wanted: list[str]) -> Path:
    """
    Raises:
        UserError: it fails; says why.
    """
    try:
        return Path(huggingface_hub.snapshot_download(hub_id, allow_patterns=wanted))
    except GatedRepoError:
        raise UserError(_gated(hub_id, option)) from None
    except Exception as error:  # noqa: BLE001 - errors of whichever HTTP library the hub's client is built on
        if isinstance(error, OSError) and error.errno in _DISK_ERRORS:
            place = error.filename or huggingface_hub.constants.HF_HUB_CACHE
            raise UserError(
                f"--{option} '{hub_id}' cannot be stored in '{place}': {error.strerror}; "
                "another folder can be named by the environment variable HF_HOME"
            ) from None
        raise UserError(
            f"--{option} '{hub_id}': the download failed; start again to go on with it. {type(error).__name__}: {error}"
        ) from None


def _gated(hub_id: str, option: str) -> str:
    return (
        f"--{option} '{hub_id}': its owner asks for consent; give it at https://huggingface.co/{hub_id} "
        "and log in with: hf auth login"
    )
