"""A dataset without a fault, to which tests add some."""

from pathlib import Path

import pytest
from PIL import Image

from tests.linting.linted import picture


@pytest.fixture
def dogs(tmp_path) -> Path:
    """'10_sks dog' with twelve captioned images of 96 x 64 pixels, in a folder with a blank and an umlaut."""
    folder = tmp_path / "Schöne Hunde" / "10_sks dog"
    folder.mkdir(parents=True)
    for number in range(12):
        put(folder, f"dog {number:02d}.png", number)
    return folder


def put(folder: Path, name: str, seed: int, caption: str = "sks dog, brown fur, outdoors") -> Path:
    path = folder / name
    Image.fromarray(picture(seed)).save(path)
    path.with_suffix(".txt").write_text(caption, encoding="utf-8")
    return path
