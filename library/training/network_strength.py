"""The strength that a network works with while it is trained on a dataset's images (network_multiplier)."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from library.dataset.records import Dataset
from library.errors import UserError
from library.options.dataset_settings import OUTPUT_PRESERVATION

FULL_STRENGTH = 1.0
NO_STRENGTH = 0.0


@contextmanager
def working_at(strength: float, network: Any, usual: float = FULL_STRENGTH) -> Iterator[None]:
    """Lets a network work with this strength for a while.

    Forward and backward pass belong inside: a checkpointed layer computes again in the backward pass.

    Args:
        network: meets networks.contract.Network; `set_multiplier` is needed for strengths other than the usual only.
        usual: the strength that it has now, and gets back.
    """
    if strength == usual:
        yield
        return
    network.set_multiplier(strength)
    try:
        yield
    finally:
        network.set_multiplier(usual)


def without_network(network: Any, usual: float) -> AbstractContextManager[None]:
    """Lets the model compute as if there were no network; then this has the strength again that it has now."""
    return working_at(NO_STRENGTH, network, usual)


def require_strengths(network: Any, module: str, datasets: Sequence[Dataset]) -> None:
    """
    Raises:
        UserError: images ask for another strength, or to be left as they are, and the network has one strength only.
    """
    if callable(getattr(network, "set_multiplier", None)):
        return
    of_module = f"networks of --network_module {module} have one strength only (they lack set_multiplier)"
    problems = []
    strengths = {dataset.settings.network_multiplier for dataset in datasets} - {FULL_STRENGTH}
    if strengths:
        problems.append(f"network_multiplier {min(strengths):g}: {of_module}; leave network_multiplier out")
    if any(dataset.preserves_output for dataset in datasets):
        problems.append(
            f"custom_attributes: {OUTPUT_PRESERVATION} needs what the model says without the network, but "
            f"{of_module}; leave {OUTPUT_PRESERVATION} out"
        )
    if problems:
        raise UserError(problems)
