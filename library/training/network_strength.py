"""The strength that a network works with while it is trained on a dataset's images (network_multiplier)."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from library.dataset.records import Dataset
from library.errors import UserError

FULL_STRENGTH = 1.0


@contextmanager
def working_at(strength: float, network: Any) -> Iterator[None]:
    """Lets a network work with this strength for a while.

    Forward and backward pass belong inside: a checkpointed layer computes again in the backward pass.

    Args:
        network: meets networks.contract.Network; `set_multiplier` is needed for strengths other than 1 only.
    """
    if strength == FULL_STRENGTH:
        yield
        return
    network.set_multiplier(strength)
    try:
        yield
    finally:
        network.set_multiplier(FULL_STRENGTH)


def require_strengths(network: Any, module: str, datasets: Sequence[Dataset]) -> None:
    """
    Raises:
        UserError: a dataset asks for a strength and the network knows none.
    """
    strengths = {dataset.settings.network_multiplier for dataset in datasets} - {FULL_STRENGTH}
    if strengths and not callable(getattr(network, "set_multiplier", None)):
        raise UserError(
            f"network_multiplier {min(strengths):g}: networks of --network_module {module} have one strength only "
            "(they lack set_multiplier); leave network_multiplier out"
        )
