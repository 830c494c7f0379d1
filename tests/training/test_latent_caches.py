"""Runs with cached latents: the same as without where that can be, and the same again."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from library.models.latent_diffusion_model import LatentDiffusionModel
from tests.training.command import as_words, least_arguments, train
from tests.training.running import assert_same_weights, have_different_weights, logged, metadata_of, run

ROOT = Path(__file__).resolve().parents[2]
ON_DISK = {"cache_latents_to_disk": True}


@pytest.fixture
def arguments(tiny_model, train_data_dir, tmp_path):
    return least_arguments(tiny_model, train_data_dir, tmp_path / "out put ü")


@pytest.fixture
def encoded(monkeypatch):
    """How many pictures each call of the VAE was given."""
    calls = []
    for name in ("encode_images", "latent_moments"):
        original = getattr(LatentDiffusionModel, name)

        def counted(self, pixels, *others, original=original):
            calls.append(len(pixels))
            return original(self, pixels, *others)

        monkeypatch.setattr(LatentDiffusionModel, name, counted)
    return calls


def files_in(folder: Path) -> list[Path]:
    return sorted((folder / "latents").rglob("*.safetensors"))


@pytest.mark.parametrize("options", [{}, {"flip_aug": True, "vae_batch_size": 3, "resample_latents": True}])
def test_a_second_run_encodes_nothing_and_gives_the_same(arguments, tmp_path, encoded, options):
    first = run(arguments, **ON_DISK, **options)
    assert sum(encoded) == (10 if "flip_aug" in options else 5)
    encoded.clear()
    second = run(arguments, output_dir=tmp_path / "second", **ON_DISK, **options)
    assert encoded == []
    assert_same_weights(first, second)
    assert metadata_of(first)["ss_cache_latents"] == "True"


def test_by_default_the_cache_is_beside_the_first_images(arguments, train_data_dir, tmp_path):
    run(arguments, **ON_DISK)
    assert len(files_in(train_data_dir / "3_sks cat" / ".cache")) == 1
    run(arguments, cache_dir=tmp_path / "else where", output_dir=tmp_path / "second", **ON_DISK)
    assert len(files_in(tmp_path / "else where")) == 1


def test_moved_images_are_known(arguments, train_data_dir, tmp_path, encoded):
    run(arguments, cache_dir=tmp_path / "cache", **ON_DISK)
    encoded.clear()
    moved = train_data_dir.rename(tmp_path / "moved")
    run(arguments, train_data_dir=moved, cache_dir=tmp_path / "cache", **ON_DISK)
    assert encoded == []


def test_the_seed_of_the_run_does_not_matter(arguments, tmp_path, encoded):
    run(arguments, **ON_DISK)
    encoded.clear()
    run(arguments, seed=7, output_dir=tmp_path / "second", **ON_DISK)
    assert encoded == []


@pytest.mark.parametrize(
    "options",
    [
        {"resolution": "128"}, {"resize_interpolation": "nearest"}, {"mixed_precision": "bf16"},
        {"resample_latents": True}, {"resolution": "64,128"},
    ],
)  # fmt: skip
def test_other_options_find_nothing_wrong(arguments, tmp_path, encoded, options):
    """A run with other options trains as if it were the first."""
    run(arguments, **ON_DISK)
    encoded.clear()
    second = run(arguments, output_dir=tmp_path / "second", **ON_DISK, **options)
    assert sum(encoded) >= 1
    alone = run(arguments, output_dir=tmp_path / "alone", cache_dir=tmp_path / "fresh", **ON_DISK, **options)
    assert_same_weights(second, alone)


def test_an_edited_image_is_encoded_again_unless_the_cache_is_trusted(arguments, train_data_dir, tmp_path, encoded):
    arguments["--max_train_steps"] = "15"  # every image is used
    first = run(arguments, **ON_DISK)
    encoded.clear()
    path = train_data_dir / "3_sks cat" / "image 3.png"
    pixels = np.random.default_rng(99).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    trusting = run(arguments, output_dir=tmp_path / "trusting", skip_cache_check=True, **ON_DISK)
    assert encoded == []
    assert_same_weights(first, trusting)
    careful = run(arguments, output_dir=tmp_path / "careful", **ON_DISK)
    assert sum(encoded) == 1
    assert have_different_weights(first, careful)


def test_trusting_is_said(arguments, capsys):
    run(arguments, skip_cache_check=True, **ON_DISK)
    assert "--skip_cache_check: caches on disk are trusted without a look at the images" in capsys.readouterr().err


def losses_of(arguments, folder: Path, **options) -> list[float]:
    run(arguments, output_dir=folder, logging_dir=folder / "logs", **options)
    return logged(folder / "logs", "loss/current")


def test_drawn_anew_from_a_cache_is_as_without_a_cache(arguments, tmp_path):
    """All that differs is where rounding takes place."""
    uncached = losses_of(arguments, tmp_path / "uncached")
    cached = losses_of(arguments, tmp_path / "cached", cache_latents=True, resample_latents=True)
    on_disk = losses_of(arguments, tmp_path / "disk", resample_latents=True, **ON_DISK)
    sampled_once = losses_of(arguments, tmp_path / "once", cache_latents=True)
    assert cached == pytest.approx(uncached, rel=1e-5)
    assert on_disk == pytest.approx(uncached, rel=2e-3)
    assert on_disk != cached
    assert sampled_once != pytest.approx(uncached, rel=1e-5)


@pytest.mark.parametrize("place", ["cache_latents", "cache_latents_to_disk"])
def test_masks_act_with_a_cache_as_without(arguments, train_data_dir, tmp_path, place):
    for path in (train_data_dir / "3_sks cat").glob("*.png"):
        image = Image.open(path)
        shade = np.random.default_rng(5).integers(0, 256, image.size[::-1], dtype=np.uint8)
        image.putalpha(Image.fromarray(shade))
        image.save(path)
    options = {"flip_aug": True, "max_train_steps": 10, "learning_rate": "1e-4"}
    uncached = losses_of(arguments, tmp_path / "uncached", alpha_mask=True, **options)
    cached = losses_of(
        arguments, tmp_path / "cached", alpha_mask=True, resample_latents=True, **{place: True}, **options
    )
    unmasked = losses_of(arguments, tmp_path / "unmasked", **{place: True}, **options)
    assert cached == pytest.approx(uncached, rel=1e-4 if place == "cache_latents" else 5e-3)
    assert unmasked != pytest.approx(uncached, rel=0.1)


def test_an_image_that_breaks_while_it_is_encoded_is_left_out_and_named(arguments, train_data_dir, capsys, monkeypatch):
    broken = "image 2.png"
    original = LatentDiffusionModel.move_vae

    def damage_and_move(self, device):
        path = train_data_dir / "3_sks cat" / broken
        path.write_bytes(path.read_bytes()[:500])
        original(self, device)

    monkeypatch.setattr(LatentDiffusionModel, "move_vae", damage_and_move)
    assert len(load_file(run(arguments, cache_latents=True))) > 100
    errors = capsys.readouterr().err
    assert "left out of the training, since encoding failed: 1 image: " in errors
    assert broken in errors


@pytest.mark.parametrize("option", ["--cache_dir", None])
def test_a_cache_folder_that_cannot_be_written_is_known_before_anything_is_loaded(
    arguments, train_data_dir, tmp_path, capsys, option
):
    if option:
        (tmp_path / "file").write_text("")
        arguments["--cache_dir"] = str(tmp_path / "file" / "cache")
    else:
        (train_data_dir / "3_sks cat" / ".cache").write_text("")
    assert train(*as_words({**arguments, "--cache_latents_to_disk": None})) == 1
    assert "--cache_dir" in capsys.readouterr().err


def test_a_complete_cache_need_not_be_writable(arguments, tmp_path, encoded, capsys, monkeypatch):
    cache = tmp_path / "cache"
    first = run(arguments, cache_dir=cache, **ON_DISK)
    encoded.clear()
    original = tempfile.TemporaryFile

    def refuse(dir):
        if Path(dir) == cache:
            raise PermissionError(13, "Permission denied")
        return original(dir=dir)

    monkeypatch.setattr("library.training.preflight.tempfile.TemporaryFile", refuse)
    assert_same_weights(first, run(arguments, cache_dir=cache, output_dir=tmp_path / "second", **ON_DISK))
    assert encoded == []
    assert f"--cache_dir '{cache}' cannot be written: Permission denied; the run ends if" in capsys.readouterr().err


@pytest.mark.parametrize("place", ["cache_latents", "cache_latents_to_disk"])
def test_two_processes_share_the_work(arguments, tmp_path, place):
    """Their latents are those of one process, which accumulates two batches."""
    options = {
        "--optimizer_args": "eps=1.0", "--max_train_steps": "3", f"--{place}": None, "--flip_aug": None,
        "--vae_batch_size": "2",
    }  # fmt: skip
    places = {"--output_dir": str(tmp_path / "two"), "--cache_dir": str(tmp_path / "cache")}
    words = as_words({**arguments, **options, **places})
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "train_network.py"]
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    finished = subprocess.run(
        [sys.executable, *launcher, *words], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240
    )
    assert finished.returncode == 0, finished.stderr
    single = run({**arguments, **options}, gradient_accumulation_steps=2, cache_dir=tmp_path / "one")
    assert_same_weights(single, tmp_path / "two" / "tiny.safetensors", tolerance=1e-5)
    if place == "cache_latents":
        assert files_in(tmp_path / "cache") == []
        return
    tensors = [load_file(file) for file in files_in(tmp_path / "cache")]
    assert len(tensors) == 2
    (alone,) = (load_file(file) for file in files_in(tmp_path / "one"))
    together = {name: tensor for part in tensors for name, tensor in part.items()}
    assert together.keys() == alone.keys()
    for name, tensor in together.items():
        torch.testing.assert_close(tensor, alone[name], rtol=2e-3, atol=1e-4)
