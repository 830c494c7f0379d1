"""Models from a hub: the local copy if there is one, else a download."""

import errno
import logging
from pathlib import Path

import huggingface_hub
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

from library.errors import UserError

logger = logging.getLogger(__name__)

ANSWER_WITHIN = 5.0
"""seconds a hub has to answer before it counts as out of reach"""

_MODELS = ("unet", "vae", "text_encoder")

_WANTED_FILES = [
    f"{folder}/{pattern}"
    for folder in (*_MODELS, "tokenizer", "scheduler")
    for pattern in ("*.json", "*.txt", "diffusion_pytorch_model.safetensors", "model.safetensors")
]

_WEIGHTS = (
    "diffusion_pytorch_model.safetensors", "model.safetensors", "diffusion_pytorch_model.bin", "pytorch_model.bin",
)  # fmt: skip

_DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO}


def fetch_model(hub_id: str, option: str) -> Path:
    """The folder with a hub's diffusers model.

    Whether the hub can be reached is found out once, before anything is asked of it.

    Raises:
        UserError: the model is neither here nor on the hub, or it cannot be fetched.
    """
    here = _local_copy(hub_id)
    if here is not None and _is_complete(here):
        return here
    state = "not on this computer" if here is None else "only in part on this computer"
    logger.info("%s is %s; asking the hub", hub_id, state)
    _ask_hub(hub_id, option, state)
    return _download(hub_id, option)


def _local_copy(hub_id: str) -> Path | None:
    try:
        return Path(huggingface_hub.snapshot_download(hub_id, allow_patterns=_WANTED_FILES, local_files_only=True))
    except OSError:  # LocalEntryNotFoundError is one
        return None


def _is_complete(folder: Path) -> bool:
    """Whether an earlier download got to its end: the hub's client hands out what there is of it."""
    vocabulary = any((folder / "tokenizer" / name).is_file() for name in ("tokenizer.json", "vocab.json"))
    return vocabulary and all(
        (folder / model / "config.json").is_file() and any((folder / model / name).is_file() for name in _WEIGHTS)
        for model in _MODELS
    )


def _ask_hub(hub_id: str, option: str, state: str) -> None:
    """
    Raises:
        UserError: the hub does not answer, or has no such model.
    """
    try:
        huggingface_hub.HfApi().model_info(hub_id, timeout=ANSWER_WITHIN)
    except GatedRepoError:
        raise UserError(_gated(hub_id, option)) from None
    except RepositoryNotFoundError:
        raise UserError(
            f"--{option} '{hub_id}': there is no such file or folder here and no such model on the hub; "
            "for a private model, log in with: hf auth login"
        ) from None
    except Exception as error:  # noqa: BLE001 - errors of whichever HTTP library the hub's client is built on
        raise UserError(
            f"--{option} '{hub_id}': there is no such file or folder, the model is {state}, "
            f"and the hub cannot be reached ({type(error).__name__})"
        ) from None


def _download(hub_id: str, option: str) -> Path:
    """
    Raises:
        UserError: it fails; says why.
    """
    try:
        return Path(huggingface_hub.snapshot_download(hub_id, allow_patterns=_WANTED_FILES))
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
