"""Which text encoders, used in which way, cached outputs come from."""

import torch

from library.caching.content_identity import key_of

FORMAT_VERSION = 2
"""Raised when outputs stored before would be wrong, or cannot be read."""


def settings_key(
    family: str,
    weights: str,
    token_length: int,
    weighted_captions: bool,
    clip_skip: int | None,
    precision: torch.dtype,
) -> str:
    """A name for everything but the caption that determines the text encoders' outputs.

    Args:
        family: the model family's name: padding and the assembly of chunks are the family's.
        weights: from `weights_fingerprint`, taken when the text encoders are as they are while encoding.
        precision: in which the text encoders compute.
    """
    return key_of(
        {
            "format": FORMAT_VERSION,
            "family": family,
            "weights": weights,
            "token_length": token_length,
            "weighted_captions": weighted_captions,
            "clip_skip": clip_skip,
            "precision": str(precision),
        }
    )
