"""How an option is declared: one pydantic field holds its type, default, range, unit and help."""

from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field
from pydantic.fields import FieldInfo

HIDDEN = "(hidden)"
"""Stands for a secret wherever its value would be shown."""


@dataclass(frozen=True)
class Traits:
    """What a pydantic field does not know about an option."""

    unit: str = ""
    """What a number counts: pixels, steps, images, ..."""
    secret: bool = False
    """Never written to a file or a log."""
    pending: str = ""
    """Not empty: the option is known but refused, since what it does is not part of this version yet."""
    pending_choices: tuple[Any, ...] = ()
    """Choices that are known but refused for the same reason."""


class OptionGroup(BaseModel):
    """Options of one topic. Field names are the option names without the dashes."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    title: ClassVar[str]


def option(
    default: Any = None,
    *,
    help: str,
    unit: str = "",
    secret: bool = False,
    pending: str = "",
    pending_choices: tuple[Any, ...] = (),
    **constraints: Any,
) -> Any:
    """Declares an option; `constraints` are pydantic's (ge, gt, le, lt)."""
    traits = Traits(unit=unit, secret=secret, pending=pending, pending_choices=pending_choices)
    return Field(default, description=help, json_schema_extra={"traits": traits}, **constraints)  # type: ignore[dict-item]


def traits_of(field: FieldInfo) -> Traits:
    extra = field.json_schema_extra
    return extra["traits"] if isinstance(extra, dict) else Traits()  # type: ignore[return-value]
