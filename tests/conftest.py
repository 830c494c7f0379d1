"""Fixtures that many tests share."""

import logging
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory) -> Path:
    """A diffusers folder with a random SD 1.x model of some hundred thousand weights."""
    from tests.models.tiny import save_diffusers_folder

    folder = tmp_path_factory.mktemp("tiny model")
    save_diffusers_folder(folder)
    return folder


@pytest.fixture
def train_data_dir(tmp_path) -> Path:
    return write_train_data(tmp_path)


def write_train_data(folder: Path) -> Path:
    """'3_sks cat' with five captioned images in three aspect ratios, and a path with a blank and an umlaut."""
    folder = folder / "Bilder für's Training"
    images = folder / "3_sks cat"
    images.mkdir(parents=True)
    sizes = [(64, 64), (128, 64), (64, 128), (64, 64), (80, 72)]
    for number, (width, height) in enumerate(sizes):
        pixels = np.random.default_rng(number).integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(images / f"image {number}.png")
        (images / f"image {number}.txt").write_text(f"sks cat, tag {number}, outdoors", encoding="utf-8")
    return folder


@pytest.fixture(autouse=True)
def keep_logging():
    """Commands set up the root logger and quieten libraries; put everything back for the next test."""
    root = logging.getLogger()
    handlers = root.handlers[:]
    loggers = [root, *(logging.getLogger(name) for name in ("diffusers", "transformers", "peft", "py.warnings"))]
    levels = [logger.level for logger in loggers]
    yield
    root.handlers[:] = handlers
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)
    logging.captureWarnings(False)
