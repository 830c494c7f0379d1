"""Findings about masks: pictures of their own, or the images' transparency."""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from library.dataset.images.image_decoding import read_colours_and_alpha
from library.dataset.images.image_files import UnreadableImageError, find_images
from library.linting import kinds
from library.linting.image_facts import ImageFacts
from library.linting.inventory import Inventory, LintedImage
from library.linting.kinds import Finding


def mask_findings(inventory: Inventory, facts: Mapping[Path, ImageFacts]) -> Iterator[Finding]:
    images = list(inventory.by_path.values())
    with ThreadPoolExecutor() as pool:
        for found in pool.map(lambda image: list(_about_mask(image, facts[image.path])), images):
            yield from found
    yield from _without_image(inventory)


def _about_mask(image: LintedImage, facts: ImageFacts) -> Iterator[Finding]:
    if image.mask is not None:
        yield from _about_mask_file(image.mask, facts)
    elif image.rules.conditioning_data_dir is not None:
        yield Finding(kinds.MASK_MISSING, (image.path,), f"looked for in '{image.rules.conditioning_data_dir}'")
    elif image.rules.alpha_mask and facts.damage is None:
        if facts.is_transparent:
            _, alpha = read_colours_and_alpha(image.path)
            if alpha is not None and alpha.max() == 0:
                yield Finding(kinds.MASK_BLACK, (image.path,), "transparent all over (alpha_mask)")
        else:
            yield Finding(kinds.MASK_WHITE, (image.path,), "nothing is transparent (alpha_mask)")


def _about_mask_file(mask: Path, facts: ImageFacts) -> Iterator[Finding]:
    files = (mask, facts.path)
    try:
        colours, _ = read_colours_and_alpha(mask)
    except UnreadableImageError as error:
        yield Finding(kinds.MASK_UNREADABLE, files, str(error))
        return
    height, width = colours.shape[:2]
    if facts.damage is None and (width, height) != facts.size:
        text = f"{width}x{height}, the image {facts.size[0]}x{facts.size[1]}"
        yield Finding(kinds.MASK_SIZE, files, text, {"mask": [width, height], "image": list(facts.size)})
    red = colours[..., 0]
    if red.max() == 0:
        yield Finding(kinds.MASK_BLACK, files, "")
    elif red.min() == 255:
        yield Finding(kinds.MASK_WHITE, files, "")


def _without_image(inventory: Inventory) -> Iterator[Finding]:
    used = {image.mask for image in inventory.images}
    folders = {
        rules.conditioning_data_dir: rules.recursive
        for rules in inventory.subsets
        if rules.conditioning_data_dir is not None
    }
    for folder, recursive in folders.items():
        try:
            masks = find_images(folder, recursive)
        except OSError:
            continue  # told by the scan
        for mask in masks:
            if mask not in used:
                yield Finding(kinds.MASK_EXTRA, (mask,), "")
