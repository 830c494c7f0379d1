"""All options together, and what can be asked of one: its kind, its choices, whether a value fits."""

import functools
import json
import types
import typing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from library.options import groups
from library.options.declaration import OptionGroup, Traits, traits_of
from library.options.option_types import KeyValues
from library.options.suggestions import suggest

BOUND_WORDS = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
"""pydantic's names of bounds in plain words."""


class Settings(BaseModel):
    """Every option of a run, by topic. Made once, never changed; each component gets only its own group."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: groups.ModelOptions
    data: groups.DataSourceOptions
    buckets: groups.BucketOptions
    captions: groups.CaptionOptions
    text: groups.TextOptions
    augmentation: groups.AugmentationOptions
    cache: groups.CacheOptions
    loader: groups.LoaderOptions
    network: groups.NetworkOptions
    training: groups.TrainingOptions
    optimizer: groups.OptimizerOptions
    schedule: groups.ScheduleOptions
    noise: groups.NoiseOptions
    timesteps: groups.TimestepOptions
    loss: groups.LossOptions
    averaging: groups.AveragingOptions
    precision: groups.PrecisionOptions
    attention: groups.AttentionOptions
    memory: groups.MemoryOptions
    saving: groups.SavingOptions
    resume: groups.ResumeOptions
    metadata: groups.MetadataOptions
    sampling: groups.SamplingOptions
    logging: groups.LoggingOptions
    validation: groups.ValidationOptions
    hub: groups.HubOptions
    distributed: groups.DistributedOptions
    deepspeed: groups.DeepSpeedOptions
    console: groups.ConsoleOptions
    config: groups.ConfigOptions


@dataclass(frozen=True)
class OptionSpec:
    """One option, as declared."""

    name: str
    group: str
    """Attribute of Settings; for keys of a dataset file, the level they belong to."""
    field: FieldInfo

    @property
    def traits(self) -> Traits:
        return traits_of(self.field)

    @property
    def default(self) -> Any:
        return self.field.default

    @property
    def help(self) -> str:
        return self.field.description or ""

    @cached_property
    def value_type(self) -> Any:
        """The declared type without `| None` and without its validators."""
        members = [kind for kind in _union_members(self.field.annotation) if kind is not type(None)]
        return members[0] if len(members) == 1 else typing.Union[tuple(members)]  # noqa: UP007

    @property
    def is_flag(self) -> bool:
        return self.value_type is bool

    @property
    def is_list(self) -> bool:
        arguments = typing.get_args(self.value_type)
        return typing.get_origin(self.value_type) is tuple and len(arguments) == 2 and arguments[1] is Ellipsis

    @property
    def is_arguments(self) -> bool:
        """Texts of the form key=value."""
        return KeyValues in typing.get_args(self.field.annotation)

    @property
    def choices(self) -> tuple[Any, ...]:
        return typing.get_args(self.value_type) if typing.get_origin(self.value_type) is typing.Literal else ()

    @property
    def usable_choices(self) -> list[str]:
        """The choices that are not refused, as the user writes them."""
        return [str(choice) for choice in self.choices if choice not in self.traits.pending_choices]

    @cached_property
    def _adapter(self) -> TypeAdapter[Any]:
        annotation: Any = self.field.annotation
        for constraint in self.field.metadata:
            annotation = typing.Annotated[annotation, constraint]
        return TypeAdapter(annotation, config=ConfigDict(allow_inf_nan=False))

    def parse_text(self, text: Any) -> Any:
        """The value of what was typed on a command line.

        Raises:
            ValueError: the text does not fit, with a message that says what would.
        """
        if self.choices and not all(isinstance(choice, str) for choice in self.choices):
            text = int(text) if str(text).isdecimal() else text
        return self._checked(lambda: self._adapter.validate_python(text), text)

    def parse_toml(self, value: Any) -> Any:
        """The value of what a TOML file says: the types must fit, "5" is not a number.

        Raises:
            ValueError: the value does not fit, with a message that says what would.
        """
        if isinstance(value, float) and value.is_integer() and self.value_type is int:
            raise ValueError(f"must be a whole number; write {int(value)} instead of {value}")
        try:
            return self._checked(
                lambda: self._adapter.validate_json(json.dumps(value, default=str), strict=True), value
            )
        except ValueError as error:
            raise ValueError(f"{error}{self._unquoted(value)}") from None

    def _unquoted(self, value: Any) -> str:
        """The remedy for a number or truth value in quotes, or nothing."""
        if not isinstance(value, str):
            return ""
        try:
            parsed = self.parse_text(value)
        except ValueError:
            return ""
        return f"; write {str(parsed).lower() if self.is_flag else value} without quotes"

    def _checked(self, parse: typing.Callable[[], Any], value: Any) -> Any:
        try:
            return parse()
        except ValidationError as error:
            raise ValueError(_explain(error, self, value)) from None

    def refusal(self, value: Any) -> str:
        """Why a valid value cannot be used in this version, or nothing."""
        if self.traits.pending and value != self.default and value:
            return f"not available in this version yet ({self.traits.pending}); leave it out"
        if value in self.traits.pending_choices:
            return f"'{value}' is not available in this version yet; use one of: {', '.join(self.usable_choices)}"
        return ""


def _union_members(annotation: Any) -> list[Any]:
    if typing.get_origin(annotation) is typing.Annotated:
        return _union_members(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return [member for part in typing.get_args(annotation) for member in _union_members(part)]
    return [annotation]


def _explain(error: ValidationError, spec: OptionSpec, value: Any) -> str:
    """pydantic's finding in the words of somebody who wrote an option."""
    details = error.errors()[0]
    kind, context = details["type"], details.get("ctx", {})
    if kind == "value_error":
        return str(context["error"])
    if spec.choices:
        meant = suggest(str(value), spec.usable_choices) or suggest(str(value).partition("_")[0], spec.usable_choices)
        return f"must be one of: {', '.join(spec.usable_choices)}.{meant}"
    bounds = {"greater_than_equal": "ge", "greater_than": "gt", "less_than_equal": "le", "less_than": "lt"}
    if kind in bounds:
        unit = f" ({spec.traits.unit})" if spec.traits.unit not in ("", "probability", "share") else ""
        return f"must be {BOUND_WORDS[bounds[kind]]} {context[bounds[kind]]:g}{unit}"
    expected = {
        int: "a whole number",
        float: "a number",
        str: 'text (in a file: "in quotes")',
        bool: "true or false",
        Path: 'a path (in a file: "in quotes")',
    }
    for python_type, words in expected.items():
        if spec.value_type is python_type or (spec.is_list and typing.get_args(spec.value_type)[0] is python_type):
            return f"must be {words}"
    return str(details["msg"])


def specs_of(model: type[BaseModel], group: str) -> dict[str, OptionSpec]:
    return {name: OptionSpec(name, group, field) for name, field in model.model_fields.items()}


@functools.cache
def option_groups() -> dict[str, type[OptionGroup]]:
    """Attribute of Settings -> its group class, in declaration order."""
    return {name: field.annotation for name, field in Settings.model_fields.items() if field.annotation}  # type: ignore[misc]


@functools.cache
def all_options() -> dict[str, OptionSpec]:
    """Every option of the training scripts by its name."""
    options: dict[str, OptionSpec] = {}
    for group, model in option_groups().items():
        for name, spec in specs_of(model, group).items():
            if name in options:
                raise TypeError(f"the option {name} is declared twice")
            options[name] = spec
    return options
