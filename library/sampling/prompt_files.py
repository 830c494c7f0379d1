"""Prompt files for previews: .txt, .toml and .json."""

import json
import logging
import math
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from library.errors import UserError
from library.options.suggestions import suggest

logger = logging.getLogger(__name__)

MAX_STEPS = 1000
SEED_LIMIT = 2**64
"""of torch's generators"""


def _limited_steps(text: str) -> int:
    return max(1, min(MAX_STEPS, int(text)))


_WHOLE, _DECIMAL = re.compile(r"\d+"), re.compile(r"\d+\.?\d*|\.\d+")


@dataclass(frozen=True)
class PromptOption:
    """One --letter of a prompt line."""

    letter: str
    field: str
    parse: Callable[[str], Any]
    pattern: re.Pattern[str] | None
    """What the value must look like; None = any text."""
    has_effect: bool = True
    """False: belongs to other model families; read, but nothing here uses it."""
    lowest: int = 0
    highest: float = math.inf

    @property
    def expected(self) -> str:
        """What a value must be, in words."""
        if self.pattern is None:
            return "text"
        if self.highest < math.inf:
            return f"a whole number from {self.lowest} to {self.highest}"
        return f"a number that is {'whole and ' if self.pattern is _WHOLE else ''}not negative"

    def takes(self, value: object) -> bool:
        """Whether a value of TOML or JSON can be meant."""
        if self.pattern is None:
            return isinstance(value, str) or not self.has_effect
        types = int if self.pattern is _WHOLE else (int, float)
        if isinstance(value, bool) or not isinstance(value, types):
            return False
        return self.lowest <= value <= self.highest and value != math.inf


OPTIONS = (
    PromptOption("n", "negative_prompt", str, None),
    PromptOption("w", "width", int, _WHOLE),
    PromptOption("h", "height", int, _WHOLE),
    PromptOption("d", "seed", int, _WHOLE, highest=SEED_LIMIT - 1),
    PromptOption("s", "sample_steps", _limited_steps, _WHOLE, lowest=1, highest=MAX_STEPS),
    PromptOption("l", "scale", float, _DECIMAL),
    PromptOption("ss", "sample_sampler", str, None),
    PromptOption("g", "guidance_scale", float, _DECIMAL, has_effect=False),
    PromptOption("cn", "controlnet_image", str, None, has_effect=False),
    PromptOption("ctr", "cfg_trunc_ratio", float, _DECIMAL, has_effect=False),
    PromptOption("rcfg", "renorm_cfg", float, _DECIMAL, has_effect=False),
    PromptOption("fs", "flow_shift", str, None, has_effect=False),
)
_BY_LETTER = {option.letter: option for option in OPTIONS}
_BY_FIELD = {option.field: option for option in OPTIONS}
FIELDS = ("prompt", *(option.field for option in OPTIONS))

Prompt = dict[str, Any]
"""Only the fields that were given; `enum` is the position in the file."""


def read_prompt_file(path: Path) -> list[Prompt]:
    """The prompts of a file in order.

    Raises:
        UserError: the file cannot be read, or says what cannot be meant; names each line or entry concerned.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"--sample_prompts '{path}': {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise UserError(f"--sample_prompts '{path}': it is not UTF-8 text; save it again as UTF-8") from None
    try:
        return parse_prompts(text, path.suffix.lower().lstrip("."))
    except PromptFileError as error:
        raise UserError([f"--sample_prompts '{path}': {problem}" for problem in error.problems]) from None
    except ValueError as error:
        raise UserError(f"--sample_prompts '{path}': {error}") from None


def parse_prompts(text: str, kind: str) -> list[Prompt]:
    """
    Args:
        kind: "txt", "toml" or "json".

    Raises:
        ValueError: something cannot be meant; says what and where. PromptFileError, where prompts are concerned.
    """
    readers = {"txt": _parse_text, "toml": _parse_toml, "json": _parse_json}
    if kind not in readers:
        raise ValueError("prompt files end in .txt, .toml or .json")
    return [{**prompt, "enum": number} for number, prompt in enumerate(readers[kind](text))]


class PromptFileError(ValueError):
    """What is wrong with several prompts of a file."""

    def __init__(self, problems: Sequence[str]):
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


def _read_each(readers: Iterable[Callable[[], Prompt]]) -> list[Prompt]:
    """
    Raises:
        PromptFileError: of all prompts that cannot be read.
    """
    prompts, problems = [], []
    for read in readers:
        try:
            prompts.append(read())
        except ValueError as error:
            problems.append(str(error))
    if problems:
        raise PromptFileError(problems)
    return prompts


def _parse_text(text: str) -> list[Prompt]:
    lines = enumerate(text.split("\n"), 1)  # splitlines() would also cut at U+2028 and its like
    return _read_each(
        partial(_parse_line, line.strip(), f"line {number}")
        for number, line in lines
        if line.strip() and not line.lstrip().startswith("#")
    )


def _parse_line(line: str, place: str) -> Prompt:
    """'a cat --w 512 --n blurry': the prompt, then options; everything before the first option is prompt."""
    text, *parts = re.split(r"\s--", f" {line}")
    prompt: Prompt = {"prompt": text.strip()}
    for part in parts:
        if not part or part[0].isspace():
            logger.warning("prompt file, %s: what follows a lone -- is ignored: %s", place, part.strip())
            continue
        letter, value = [*part.split(maxsplit=1), ""][:2]
        option = _BY_LETTER.get(letter.lower())
        if option is None:
            known = [f"--{letter}" for letter in _BY_LETTER]
            raise ValueError(f"{place}: --{letter} is not known; there are {', '.join(known)}")
        prompt[option.field] = _parse_value(option, value.strip(), place)
    return prompt


def _parse_value(option: PromptOption, text: str, place: str) -> Any:
    value = option.parse(text) if option.pattern is None or option.pattern.fullmatch(text) else None
    if not option.takes(value):
        raise ValueError(f"{place}: --{option.letter} {text}: must be {option.expected}")
    return value


def _parse_toml(text: str) -> list[Prompt]:
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"it is not valid TOML: {error}") from None
    table = content.get("prompt")
    if not isinstance(table, dict) or not isinstance(table.get("subset"), list):
        raise ValueError("it must have a table [prompt] with [[prompt.subset]] in it")
    shared = {name: value for name, value in table.items() if name != "subset"}
    if not all(isinstance(entry, dict) for entry in table["subset"]):
        raise ValueError("each prompt must be a table [[prompt.subset]]")
    entries = enumerate(table["subset"], 1)
    return _read_each(partial(_checked, {**shared, **entry}, f"prompt {number}") for number, entry in entries)


def _parse_json(text: str) -> list[Prompt]:
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"it is not valid JSON: {error}") from None
    if not isinstance(content, list):
        raise ValueError("it must hold a list of prompts")
    return _read_each(partial(_json_prompt, entry, f"prompt {number}") for number, entry in enumerate(content, 1))


def _json_prompt(entry: Any, place: str) -> Prompt:
    if isinstance(entry, str):
        return _parse_line(entry, place)
    if isinstance(entry, dict):
        return _checked(entry, place)
    raise ValueError(f"{place}: must be text or an object")


def _checked(entry: Mapping[str, Any], place: str) -> Prompt:
    if not isinstance(entry.get("prompt"), str):
        raise ValueError(f"{place}: the prompt's text is missing")
    for name, value in entry.items():
        if name not in FIELDS:
            raise ValueError(f"{place}: {name} is not known.{suggest(name, FIELDS)}")
        option = _BY_FIELD.get(name)
        if option is not None and not option.takes(value):
            raise ValueError(f"{place}: {name} = {value!r}: must be {option.expected}")
    return dict(entry)


def fields_without_effect(prompts: Sequence[Prompt]) -> list[str]:
    """Letters used in the prompts that nothing here reads."""
    return [option.letter for option in OPTIONS if not option.has_effect and any(option.field in p for p in prompts)]
