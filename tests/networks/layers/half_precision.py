"""What is left of a small change in the output of a layer in half precision."""

from torch import Tensor


def share_left(output: Tensor, base: Tensor, change: Tensor) -> float:
    """Slope of least squares of (output - base) over the true change; base and change in fp64. 1 = all is left."""
    return (((output.double() - base) * change).sum() / change.square().sum()).item()
