"""Findings about pictures that are there more than once."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from library.linting import kinds
from library.linting.image_facts import ImageFacts
from library.linting.inventory import Inventory, Role
from library.linting.kinds import Finding, Kind
from library.linting.likeness import alike, mirrored

_LEAKS = {Role.VALIDATION: kinds.LEAK_VALIDATION, Role.REGULARISATION: kinds.LEAK_REGULARISATION}


def duplicate_findings(inventory: Inventory, facts: Mapping[Path, ImageFacts]) -> Iterator[Finding]:
    """Each group of pictures that are the same or alike, once."""
    uses = _Uses(
        inventory.roles(),
        {image.path: image.caption or "" for image in inventory.images},
    )
    same_content = _same_content(list(facts.values()))
    for same in same_content:
        if len(same) > 1:
            yield from _about_group(kinds.DUPLICATE_EXACT, "the same file", [one.path for one in same], uses)
    # copies were told of already
    pictures = [(one.path, one.likeness) for one, *_ in same_content if one.likeness is not None]
    paths, likenesses = [path for path, _ in pictures], [likeness for _, likeness in pictures]
    for indices in alike(likenesses):
        group = [paths[index] for index in indices]
        yield from _about_group(kinds.DUPLICATE_NEAR, "nearly the same picture", group, uses)
    for first, second in mirrored(likenesses):
        yield from _about_group(kinds.DUPLICATE_MIRRORED, "a mirror image", [paths[first], paths[second]], uses)


@dataclass(frozen=True)
class _Uses:
    roles: Mapping[Path, set[Role]]
    captions: Mapping[Path, str]


def _same_content(facts: Sequence[ImageFacts]) -> list[list[ImageFacts]]:
    """Sound images, those of the same content together. A folder that has two names is still one folder."""
    groups: dict[str, dict[Path, ImageFacts]] = defaultdict(dict)
    for one in facts:
        if one.damage is None:
            groups[one.content].setdefault(one.path.parent.resolve() / one.path.name, one)
    return [list(group.values()) for group in groups.values()]


def _about_group(kind: Kind, what: str, files: Sequence[Path], uses: _Uses) -> Iterator[Finding]:
    """A leak for each other use of what is trained on; besides, what is there twice within one use."""
    roles = {role for path in files for role in uses.roles[path]}
    details = {"roles": [sorted(uses.roles[path]) for path in files]}
    if Role.TRAINING in roles:
        for role, leak in _LEAKS.items():
            if role in roles:
                yield Finding(leak, tuple(files), f"{what}, for {role}: {_names_for(role, files, uses)}", details)
    most_within_one_use = max(Counter(role for path in files for role in uses.roles[path]).values())
    if most_within_one_use > 1:
        captions = {uses.captions[path] for path in files}
        different = kind is not kinds.DUPLICATE_MIRRORED and len(captions) > 1
        yield Finding(kind, tuple(files), "with different captions" if different else "", details)


def _names_for(role: Role, files: Sequence[Path], uses: _Uses) -> str:
    return ", ".join(path.name for path in files if role in uses.roles[path])
