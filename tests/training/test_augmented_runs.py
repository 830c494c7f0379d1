"""Whole runs with pictures that change, and with masks: every option has its effect, or is refused."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.training.command import as_words, least_arguments, train
from tests.training.running import assert_same_weights, have_different_weights, metadata_of, run


@pytest.fixture
def arguments(tiny_model, tmp_path):
    """Six half transparent images of 96x80 pixels, larger than the training size, whose names tell of a face."""
    images = tmp_path / "Bilder mit Lücken" / "1_sks cat"
    images.mkdir(parents=True)
    for number in range(6):
        pixels = np.random.default_rng(number).integers(0, 256, (80, 96, 4), np.uint8)
        pixels[:, :48, 3], pixels[:, 48:, 3] = 255, 0
        Image.fromarray(pixels).save(images / f"cat {number}_60_40_44_30.png")
        (images / f"cat {number}_60_40_44_30.txt").write_text(f"sks cat, tag {number}", encoding="utf-8")
    return least_arguments(tiny_model, images.parent, tmp_path / "out")


CHANGES = {
    "color_aug": True,
    "random_crop": True,
    "face_crop_aug_range": "1,1.4",
    "resize_interpolation": "box",
    "alpha_mask": True,
}


@pytest.fixture
def plain(arguments, tmp_path) -> Path:
    return run(arguments, max_train_steps=6, output_dir=tmp_path / "plain")


@pytest.mark.parametrize("name", CHANGES)
def test_every_option_changes_what_is_learned(arguments, plain, tmp_path, name):
    changed = run(arguments, max_train_steps=6, output_dir=tmp_path / "changed", **{name: CHANGES[name]})
    assert have_different_weights(plain, changed)


def test_all_together_and_again(arguments, tmp_path):
    first, second = (
        run(arguments, max_train_steps=3, flip_aug=True, output_dir=tmp_path / name, **CHANGES, **workers)
        for name, workers in (("one", {}), ("two", {"max_data_loader_n_workers": 1}))
    )
    assert_same_weights(first, second)
    metadata = metadata_of(first)
    assert metadata["ss_color_aug"] == metadata["ss_random_crop"] == "True"
    assert (metadata["ss_face_crop_aug_range"], metadata["ss_resize_interpolation"]) == ("(1.0, 1.4)", "box")


def test_what_is_transparent_all_over_teaches_nothing(arguments, tmp_path):
    """Where nothing counts, nothing is learned, wherever the masks come from."""
    for file in Path(arguments["--train_data_dir"]).rglob("*.png"):
        with Image.open(file) as image:
            image.putalpha(0)
            image.save(file)
    start = run(
        arguments, max_train_steps=1, alpha_mask=True, optimizer_args=["weight_decay=0"], output_dir=tmp_path / "a"
    )
    for name, options in (("read", {}), ("cached", {"cache_latents": True})):
        masked = run(
            arguments, max_train_steps=4, alpha_mask=True, optimizer_args=["weight_decay=0"],
            output_dir=tmp_path / name, **options,
        )  # fmt: skip
        assert not have_different_weights(start, masked)


@pytest.mark.parametrize("name", ["color_aug", "random_crop", "face_crop_aug_range"])
def test_cached_latents_cannot_change(arguments, capsys, name):
    words = [f"--{name}", *([CHANGES[name]] if CHANGES[name] is not True else []), "--cache_latents"]
    assert train(*as_words(arguments), *words) == 1
    shown = " ".join(capsys.readouterr().err.split())
    assert f"{name} of '{Path(arguments['--train_data_dir']) / '1_sks cat'}'" in shown
    assert f"leave out {name}, or --cache_latents" in shown
    assert "Traceback" not in shown


def test_names_without_a_face_are_told(arguments, capsys):
    images = Path(arguments["--train_data_dir"]) / "1_sks cat"
    for extension in (".png", ".txt"):
        (images / f"cat 3_60_40_44_30{extension}").rename(images / f"cat 3{extension}")
    assert train(*as_words(arguments), "--face_crop_aug_range", "1,1.4") == 0
    assert "face is (NAME_CENTREX_CENTREY_WIDTH_HEIGHT): 1 of 6 images in" in " ".join(capsys.readouterr().err.split())
