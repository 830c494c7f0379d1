"""Whole runs: options of the loss that change what is trained."""

from shutil import copytree

import pytest

from tests.training.command import least_arguments
from tests.training.running import assert_same_weights, have_different_weights, run


@pytest.fixture
def arguments(tiny_model, train_data_dir, tmp_path):
    return {**least_arguments(tiny_model, train_data_dir, tmp_path / "out"), "--max_train_steps": "2"}


def test_each_option_changes_the_result(arguments, tmp_path):
    plain = run(arguments)
    for number, options in enumerate((
        {"loss_type": "smooth_l1", "huber_schedule": "exponential"},
        {"min_snr_gamma": 5, "soft_min_snr": True},
        {"p2_gamma": 1},
    )):  # fmt: skip
        changed = run(arguments, output_dir=tmp_path / str(number), **options)
        assert have_different_weights(plain, changed), options


def test_images_that_are_to_stay_as_they_are(arguments, train_data_dir, tmp_path):
    """Told to change nothing on all images that count, a network that starts without an effect learns nothing at all;
    the loader knows the rows, and text encoders are trained, too."""
    images = train_data_dir / "3_sks cat"
    others = tmp_path / "count nothing"
    copytree(images, others)
    without_folder = {name: value for name, value in arguments.items() if name != "--train_data_dir"}
    files = {}
    for name, attribute in (("plain", "false"), ("preserved", "true")):
        config = tmp_path / f"{name}.toml"
        config.write_text(
            "[[datasets]]\nresolution = 64\nnetwork_multiplier = 0.5\n"
            f'[[datasets.subsets]]\nimage_dir = "{images}"\n'
            f"custom_attributes = {{ diff_output_preservation = {attribute} }}\n"
            f'[[datasets.subsets]]\nimage_dir = "{others}"\nis_reg = true\n',
            encoding="utf-8",
        )
        for rate in ("1e-2", "0.1"):
            files[name, rate] = run(
                without_folder, output_dir=tmp_path / f"{name} {rate}", dataset_config=config, learning_rate=rate,
                optimizer_type="SGD", prior_loss_weight=0,
            )  # fmt: skip
    assert_same_weights(files["preserved", "1e-2"], files["preserved", "0.1"])
    assert have_different_weights(files["plain", "1e-2"], files["plain", "0.1"])
