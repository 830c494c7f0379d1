"""Which layers of a model are wanted, before the model is known."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class PartSelection:
    """Of the U-Net or the text encoders."""

    classes: frozenset[str] | None = frozenset()
    """All layers inside modules of these classes; None = inside of anything."""
    names: tuple[str, ...] = ()
    """Regular expressions; single layers whose path they match, see patterns.py."""


@dataclass(frozen=True)
class Selection:
    unet: PartSelection
    text_encoder: PartSelection
    convolutions: bool = False
    """Also convolutions larger than 1x1."""
    norms: bool = False
    include: tuple[str, ...] = ()
    """Regular expressions searched in paths and key names: only these, or the exceptions to `exclude`."""
    exclude: tuple[str, ...] = ()
    left_out_names: tuple[str, ...] = ()
    """Like `names`, of layers that are not wanted."""
    file: str | None = field(default=None, compare=False)
    """Where it was read from, if its user wrote it."""
