"""What becomes of the network once it is a file: who can read it, and whether it is what was trained."""

import logging
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from library.models.adapter import NetworkViews
from networks.files.client_support import unreadable
from networks.network.layer_network import LayerNetwork
from networks.verification.saved_file import verify_saved_file

logger = logging.getLogger(__name__)


def report_clients(network: Any) -> None:
    """Says which programs will not compute with the network's files what was trained."""
    tensors = network.file_tensors() if isinstance(network, LayerNetwork) else network.state_dict()
    found = unreadable(tensors)
    if found:
        lines = [f"  {misreading}" for misreading in found]
        logger.warning(
            "not every program reads what is trained here; tools/convert_lora.py makes forms that they read:\n%s",
            "\n".join(lines),
        )


def report_verification(path: Path, network: Any, views: NetworkViews, accelerator: Accelerator) -> None:
    """Compares a file with the network that it was saved from, which is in the model. The network is no longer in
    training mode afterwards."""
    network.eval()
    try:
        with accelerator.autocast():
            verification = verify_saved_file(path, views.text_encoders_as_kohya(), views.unet)
    except Exception:
        logger.exception("'%s' cannot be checked", path)
        return
    for problem in verification.problems():
        logger.warning("'%s': %s", path, problem)
    if not verification.problems():
        logger.info("checked %s: %s", path, verification)
