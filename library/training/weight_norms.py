"""--scale_weight_norms: what the network reports when it has limited the norms of its layers' weight changes."""

from typing import Any, NamedTuple

from library.errors import UserError
from library.optimizers.adapted_rates import Scalar


class WeightNorms(NamedTuple):
    """After an optimizer step; in the order in which networks report it. Ours leave it on the device; others may have
    waited for it."""

    layers_scaled: Scalar
    """number of layers whose change was too large"""
    mean: Scalar
    maximum: Scalar


def require_norm_limit(network: Any, module: str) -> None:
    """
    Raises:
        UserError: the network cannot limit its norms.
    """
    if not callable(getattr(network, "apply_max_norm_regularization", None)):
        raise UserError(
            f"--scale_weight_norms: networks of --network_module {module} cannot limit their norms "
            "(they lack apply_max_norm_regularization); leave it out"
        )
