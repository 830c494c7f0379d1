"""The SDXL example configuration is one that runs."""

from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.torch import load_file

from library.models.family import SDXL
from tests.models.tiny_families import save_tiny_folder
from tests.training.command import train_sdxl

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "sdxl"


def test_the_example_trains(tmp_path, monkeypatch):
    """With a tiny model, and in full precision for the processor's sake; the size of the pictures is as written."""
    save_tiny_folder(SDXL, tmp_path / "model")
    images = tmp_path / "train" / "sks dog"
    images.mkdir(parents=True)
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (640, 600, 3), dtype=np.uint8)).save(images / "a.png")
    (images / "a.txt").write_text("sks dog, on a sofa, indoors", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dataset.toml").write_text(
        (EXAMPLE / "dataset.toml").read_text(encoding="utf-8").replace("num_repeats = 10", "num_repeats = 2")
    )
    assert train_sdxl(
        "--config_file", EXAMPLE / "config.toml", "--dataset_config", "dataset.toml", "--max_train_epochs", 1,
        "--pretrained_model_name_or_path", tmp_path / "model", "--mixed_precision", "no", "--output_dir", "out",
    ) == 0  # fmt: skip
    weights = load_file(tmp_path / "out" / "sdxl_lora.safetensors")
    assert {name.split("_")[1] for name in weights} == {"unet"}
    assert any(value.any() for name, value in weights.items() if "lora_up" in name)
