"""Models from a hub: the local copy if there is one, else a download."""

import logging
from pathlib import Path

import huggingface_hub
from huggingface_hub.errors import LocalEntryNotFoundError, RepositoryNotFoundError

from library.errors import UserError

logger = logging.getLogger(__name__)

ANSWER_WITHIN = 5.0
"""seconds a hub has to answer before it counts as out of reach"""

_WANTED_FILES = [
    f"{folder}/{pattern}"
    for folder in ("unet", "vae", "text_encoder", "tokenizer", "scheduler")
    for pattern in ("*.json", "*.txt", "diffusion_pytorch_model.safetensors", "model.safetensors")
]


def fetch_model(hub_id: str, option: str) -> Path:
    """The folder with a hub's diffusers model.

    Whether the hub can be reached is found out once, before anything is asked of it.

    Raises:
        UserError: the model is neither here nor on the hub, or the hub cannot be reached.
    """
    try:
        return Path(huggingface_hub.snapshot_download(hub_id, allow_patterns=_WANTED_FILES, local_files_only=True))
    except (LocalEntryNotFoundError, OSError):
        logger.info("%s is not on this computer; asking the hub", hub_id)
    try:
        huggingface_hub.HfApi().model_info(hub_id, timeout=ANSWER_WITHIN)
        return Path(huggingface_hub.snapshot_download(hub_id, allow_patterns=_WANTED_FILES))
    except RepositoryNotFoundError:
        raise UserError(
            f"--{option} '{hub_id}': there is no such file or folder here and no such model on the hub; "
            "for a private model, log in with: hf auth login"
        ) from None
    except Exception as error:  # noqa: BLE001 - errors of whichever HTTP library the hub's client is built on
        raise UserError(
            f"--{option} '{hub_id}': there is no such file, folder or earlier download here, "
            f"and the hub cannot be reached ({type(error).__name__})"
        ) from None
