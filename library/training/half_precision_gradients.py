"""Loss scaling for networks whose own weights are in float16."""

from functools import wraps
from typing import Any

import torch


def allow_half_gradients(scaler: torch.amp.GradScaler) -> None:
    """From now on this scaler divides float16 gradients by its scale, which GradScaler refuses by default:
    "Attempting to unscale FP16 gradients". Other scalers of the process are not changed.

    Gradients that are not finite are found as usual, and their step is skipped. What the refusal protects from
    remains true: a gradient below float16's smallest number becomes zero when it is divided. It is what training
    with all weights in float16 asks for.
    """
    unscale = scaler._unscale_grads_

    @wraps(unscale)
    def unscale_any_precision(
        optimizer: torch.optim.Optimizer, inv_scale: torch.Tensor, found_inf: torch.Tensor, allow_fp16: bool
    ) -> Any:
        return unscale(optimizer, inv_scale, found_inf, True)

    scaler._unscale_grads_ = unscale_any_precision  # type: ignore[method-assign]
