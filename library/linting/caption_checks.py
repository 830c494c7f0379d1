"""Findings about single captions and their files."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from library.dataset.captions.caption_files import CaptionFile, UnreadableCaption, find_caption_files
from library.dataset.captions.caption_rules import longest_caption
from library.linting import kinds
from library.linting.image_facts import ImageFacts
from library.linting.inventory import Inventory, LintedCaption, LintedImage
from library.linting.kinds import Finding
from library.options.dataset_settings import SubsetSettings
from library.wording import counted

Count = Callable[[Sequence[str]], list[int]]
"""Captions -> tokens of each, before anything is cut."""

_CAPTION_EXTENSIONS = (".txt", ".caption", ".cap", ".tags")
"""What caption files are called by tools of this field."""
_NOT_CAPTIONS = frozenset({"readme", "license", "licence", "sample_prompts", "prompts", "notes"})
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def caption_findings(inventory: Inventory, facts: Mapping[Path, ImageFacts]) -> Iterator[Finding]:
    yield from _regularised_by_class_words(inventory, facts)
    for image in inventory.by_path.values():
        if facts[image.path].damage is not None:
            continue  # it is not trained on
        if image.rules.metadata_file is not None:
            if not image.caption:
                yield Finding(kinds.CAPTION_EMPTY, (image.path,), f"in '{image.rules.metadata_file}'")
        elif not image.caption_files:
            if not _stands_for_class(image):
                yield _about_missing(image)
        elif len(image.caption_files) > 1:
            names = ", ".join(file.name for file in image.caption_files[1:])
            yield Finding(kinds.CAPTION_TWO_FILES, image.caption_files, f"not used: {names}")
    rules_of_files = {image.caption_files[0]: image.rules for image in inventory.images if image.caption_files}
    for file, content in inventory.caption_files.items():
        yield from _about_file(file, content, rules_of_files[file])
    for rules in inventory.subsets:
        yield from _orphans(inventory, rules)


def overlong_findings(captions: Sequence[LintedCaption], count: Count, limit: int) -> Iterator[Finding]:
    """
    Args:
        limit: tokens
    """
    lengths = count([longest_caption(caption.text, caption.rules) for caption in captions])
    for caption, length in sorted(zip(captions, lengths, strict=True), key=lambda entry: -entry[1]):
        if length > limit:
            text = f"{length} tokens, of which {limit} are used"
            yield Finding(kinds.CAPTION_TOO_LONG, caption.files, text, {"tokens": length, "limit": limit})


def begins_with_mark(file: Path) -> bool:
    """Whether UTF-8 text has a byte-order mark."""
    with open(file, "rb") as opened:
        return opened.read(3) == _BYTE_ORDER_MARK


def _stands_for_class(image: LintedImage) -> bool:
    """A regularisation image without a caption, whose folder's class words stand in: the usual case."""
    is_bare = not image.caption_files and image.rules.metadata_file is None
    return is_bare and image.rules.is_reg and bool(image.rules.class_tokens)


def _regularised_by_class_words(inventory: Inventory, facts: Mapping[Path, ImageFacts]) -> Iterator[Finding]:
    """One for each folder."""
    bare = [image for image in inventory.by_path.values() if _stands_for_class(image)]
    counts = Counter(
        (image.rules.image_dir, image.rules.class_tokens) for image in bare if facts[image.path].damage is None
    )
    for (folder, words), count in counts.items():
        text = f"{counted(count, 'image')}, trained as '{words}'"
        yield Finding(kinds.CAPTION_CLASS_WORDS, (folder,), text, {"class_tokens": words, "images": count})


def _about_missing(image: LintedImage) -> Finding:
    others = [extension for extension in _CAPTION_EXTENSIONS if extension not in image.rules.caption_extensions]
    for file in find_caption_files(image.path, others):
        text = f"there is {file.name}, but no {' or '.join(image.rules.caption_extensions)} file"
        return Finding(kinds.CAPTION_OTHER_EXTENSION, (image.path,), text, {"extension": file.suffix})
    words = image.rules.class_tokens
    text = f"trained as '{words}'" if words else "trained without any words"
    return Finding(kinds.CAPTION_MISSING, (image.path,), text, {"class_tokens": words})


def _about_file(file: Path, content: CaptionFile | UnreadableCaption, rules: SubsetSettings) -> Iterator[Finding]:
    if isinstance(content, UnreadableCaption):
        yield Finding(kinds.CAPTION_UNREADABLE, (file,), content.reason)
        return
    if content.encoding != "utf-8":
        text = f"read as {content.encoding}: {content.sample}"
        yield Finding(kinds.CAPTION_ENCODING, (file,), text, {"encoding": content.encoding})
    elif begins_with_mark(file):
        yield Finding(kinds.CAPTION_MARK, (file,), "")
    first, *others = content.lines
    used = [line for line in content.lines if line] if rules.enable_wildcard else [first]
    if not any(used):
        text = "the first line is empty, the text begins below it" if any(others) else ""
        yield Finding(kinds.CAPTION_EMPTY, (file,), text)
    elif not rules.enable_wildcard and any(others):
        yield Finding(kinds.CAPTION_UNUSED_LINES, (file,), f"not used: {next(filter(None, others))}")


def _orphans(inventory: Inventory, rules: SubsetSettings) -> Iterator[Finding]:
    """Caption files in the folders of a subset's images that belong to none of them."""
    if rules.metadata_file is not None:
        return
    of_subset = [image for image in inventory.images if image.rules.image_dir == rules.image_dir]
    used = {file for image in of_subset for file in find_caption_files(image.path, _CAPTION_EXTENSIONS)}
    used.update(file for image in of_subset for file in image.caption_files)
    suffixes = {*_CAPTION_EXTENSIONS, *rules.caption_extensions}
    for folder in sorted({image.path.parent for image in of_subset}):
        for file in sorted(folder.iterdir()):
            is_caption = file.suffix.lower() in suffixes and not file.name.startswith(".")
            if is_caption and file not in used and file.stem.lower() not in _NOT_CAPTIONS and file.is_file():
                yield Finding(kinds.CAPTION_ORPHAN, (file,), "")
