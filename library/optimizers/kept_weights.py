"""Weights that come back exactly as they were."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch


@contextmanager
def kept(parameters: Sequence[torch.nn.Parameter]) -> Iterator[None]:
    """Whatever is written into the parameters in between is undone, bit by bit: weights may be exchanged for averages
    of them, or be reckoned to and fro with rounding, and training does not notice.

    Values are copied in place, since optimizers may hold views of them.
    """
    copies = [parameter.detach().clone() for parameter in parameters]
    try:
        yield
    finally:
        with torch.no_grad():
            torch._foreach_copy_(list(parameters), copies)
