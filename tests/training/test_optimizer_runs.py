"""Whole runs with optimizers that are more than a step."""

import pytest
from safetensors.torch import load_file

from tests.training.command import as_words, least_arguments, train
from tests.training.running import assert_same_weights, logged, metadata_of, run


@pytest.fixture
def arguments(tiny_model, train_data_dir, tmp_path):
    return {**least_arguments(tiny_model, train_data_dir, tmp_path / "out"), "--cache_latents": None}


def test_an_optimizer_that_finds_its_rate(arguments, tmp_path):
    file = run(
        arguments,
        optimizer_type="prodigy",
        optimizer_args=["d_coef=100", "betas=0.9,0.99"],
        learning_rate=1.0,
        logging_dir=tmp_path,
    )
    found, effective = logged(tmp_path, "lr/d/unet"), logged(tmp_path, "lr/d*lr/unet")
    assert found == effective == logged(tmp_path, "lr/d*lr/textencoder")
    assert len(found) == 4
    assert found[-1] > found[0] > 0
    assert metadata_of(file)["ss_optimizer"] == ("prodigyopt.prodigy.Prodigy(d_coef=100,betas=(0.9, 0.99))")


def test_an_optimizer_with_its_own_rates(arguments, tmp_path, capsys):
    file = run(arguments, optimizer_type="AdaFactor", lr_scheduler="cosine", text_encoder_lr=0, logging_dir=tmp_path)
    assert logged(tmp_path, "lr/unet") == pytest.approx([1e-2] * 4)
    assert metadata_of(file)["ss_optimizer"] == "transformers.optimization.Adafactor(relative_step=True)"
    assert metadata_of(file)["ss_lr_scheduler"] == f"adafactor:{metadata_of(file)['ss_learning_rate']}"
    weights = load_file(file)
    assert all(name.startswith("lora_unet_") for name in weights)
    assert any(weight.any() for name, weight in weights.items() if "lora_up" in name)
    said = capsys.readouterr().err
    assert "optimizer groups: unet; the optimizer takes steps of its own size" in said
    for notice in (
        "--text_encoder_lr 0: the network's part of the text encoders is not trained, and is left out of the file",
        "--learning_rate: no effect, since AdaFactor steps relatively to the size of the weights; with "
        "--optimizer_args relative_step=False, learning rates count",
        "--lr_scheduler cosine: no effect, since AdaFactor has a schedule of its own",
    ):
        assert said.count(notice) == 1


def test_saving_an_average_does_not_change_the_training(arguments, tmp_path):
    arguments |= {"--optimizer_type": "AdamWScheduleFree", "--max_train_steps": "3"}
    once = run(arguments, output_dir=tmp_path / "once")
    often = run(arguments, output_dir=tmp_path / "often", save_every_n_steps=1)
    assert_same_weights(once, often)
    assert len(list((tmp_path / "often").glob("*.safetensors"))) >= 3


def test_rates_that_differ_are_refused_before_anything_long(arguments, capsys):
    words = [*as_words(arguments), "--optimizer_type", "Prodigy", "--network_args", "loraplus_lr_ratio=2"]
    assert train(*words) == 1
    assert (
        "--optimizer_type Prodigy: Prodigy refuses what it is to train: Setting different lr" in capsys.readouterr().err
    )
