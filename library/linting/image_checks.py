"""Findings about single image files."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from library.linting import kinds
from library.linting.image_facts import EXTENSIONS, Damage, ImageFacts, ImageTraits
from library.linting.kinds import Finding

HUGE = 40_000_000
"""Pixels: 40 megapixels decode to 120 MB."""

_DAMAGE_KINDS = {
    Damage.EMPTY: kinds.IMAGE_EMPTY,
    Damage.CUT_SHORT: kinds.IMAGE_CUT_SHORT,
    Damage.UNREADABLE: kinds.IMAGE_UNREADABLE,
}


def image_findings(facts: Mapping[Path, ImageFacts]) -> Iterator[Finding]:
    for one in facts.values():
        yield from _about_file(one)
    yield from _same_names(facts)


def right_extension(facts: ImageFacts) -> str | None:
    """The extension that a file should have; None = it has a right one, or none is known."""
    if facts.traits is None:
        return None
    extensions = EXTENSIONS.get(facts.traits.format)
    return extensions[0] if extensions and facts.path.suffix.lower() not in extensions else None


def _about_file(facts: ImageFacts) -> Iterator[Finding]:
    files = (facts.path,)
    if facts.damage is not None:
        explained = facts.damage is not Damage.UNREADABLE
        yield Finding(_DAMAGE_KINDS[facts.damage], files, "" if explained else facts.reason)
    extension = right_extension(facts)
    if facts.traits is not None and extension is not None:
        yield Finding(
            kinds.IMAGE_MISLABELLED,
            files,
            f"is {_article(facts.traits.format)} {facts.traits.format} file; {extension} would be right",
            {"format": facts.traits.format, "extension": extension},
        )
    if facts.damage is None and facts.traits is not None:
        yield from _about_picture(facts, facts.traits)


def _article(word: str) -> str:
    return "an" if word[:1] in "AM" else "a"


def _about_picture(facts: ImageFacts, traits: ImageTraits) -> Iterator[Finding]:
    files, (width, height) = (facts.path,), facts.size
    if traits.num_pictures > 1:
        text = f"{traits.num_pictures} pictures"
        yield Finding(kinds.IMAGE_ANIMATED, files, text, {"pictures": traits.num_pictures})
    if facts.is_plain:
        yield Finding(kinds.IMAGE_PLAIN, files, "")
    if width * height > HUGE:
        megapixels = width * height / 1e6
        yield Finding(
            kinds.IMAGE_HUGE,
            files,
            f"{width}x{height}, {megapixels:.0f} megapixels",
            {"width": width, "height": height},
        )
    if facts.is_transparent:
        yield Finding(kinds.IMAGE_TRANSPARENT, files, "")
    if traits.is_turned:
        yield Finding(kinds.IMAGE_TURNED, files, f"{width}x{height} when upright", {"width": width, "height": height})
    if traits.is_deep:
        yield Finding(kinds.IMAGE_DEEP, files, "")
    if traits.mode == "CMYK":
        yield Finding(kinds.IMAGE_PRINT_COLOURS, files, "")


def _same_names(paths: Iterable[Path]) -> Iterator[Finding]:
    by_stem = defaultdict(list)
    for path in paths:
        by_stem[path.with_suffix("")].append(path)
    for same in by_stem.values():
        if len(same) > 1:
            yield Finding(kinds.IMAGE_SAME_NAME, tuple(same), "")
