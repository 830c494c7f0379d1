"""Base models that cannot be used: one clear message each, before any image is looked at and torch is imported."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from library.models.family import SD1, SD2, SDXL
from library.training import dataset_checks
from tests.models.tiny_families import original_weights_of, save_tiny_folder
from tests.training.command import as_words, least_arguments, train, train_sdxl

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    """What users have given as base models by mistake."""
    folder = tmp_path_factory.mktemp("files")
    whole = {family.name: original_weights_of(family) for family in (SD1, SD2, SDXL)}

    def save(name: str, weights) -> Path:
        path = folder / name
        if path.suffix == ".safetensors":
            save_file({key: value.contiguous() for key, value in weights.items()}, path)
        else:
            torch.save(weights, path)
        return path

    def without(family: str, *prefixes: str):
        return {name: value for name, value in whole[family].items() if not name.startswith(prefixes)}

    def cut(path: Path) -> Path:
        content = path.read_bytes()
        shorter = path.with_stem(f"cut {path.stem}")
        shorter.write_bytes(content[: len(content) // 2])
        return shorter

    def written(name: str, content: bytes) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    layer = "lora_unet_input_blocks_4_1_proj_in"
    lora = {f"{layer}.lora_down.weight": torch.ones(2, 3), f"{layer}.lora_up.weight": torch.ones(3, 2)}
    sdxl = save("sdxl.safetensors", whole[SDXL.name])
    return {
        "SD 1.x": save("sd1.safetensors", whole[SD1.name]),
        "SD 2.x": save("sd2.ckpt", whole[SD2.name]),
        "SDXL": sdxl,
        "cut": cut(sdxl),
        "cut ckpt": cut(save("sd1.ckpt", whole[SD1.name])),
        "LoRA": save("lora.safetensors", lora),
        "VAE": save("vae.safetensors", {
            name.removeprefix("first_stage_model."): value
            for name, value in whole[SD1.name].items() if name.startswith("first_stage_model.")
        }),
        "no second text encoder": save("half.safetensors", without(SDXL.name, "conditioner.embedders.1.")),
        "no text encoder": save("no text.ckpt", without(SD1.name, "cond_stage_model.")),
        "no VAE": save("no vae.safetensors", without(SDXL.name, "first_stage_model.")),
        "web page": written("page.safetensors", b"<!DOCTYPE html><html>Not found</html>"),
        "empty": written("empty.safetensors", b""),
        "numbers": written("numbers.safetensors", bytes(range(256)) * 40),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("script", "file", "message"),
    [
        (train_sdxl, "SD 1.x", "looks like an SD 1.x model; train it with train_network.py"),
        (train_sdxl, "SD 2.x", "looks like an SD 2.x model; train it with train_network.py --v2"),
        (train, "SDXL", "looks like an SDXL model; train it with sdxl_train_network.py"),
        (train, "SD 2.x", "--v2"),
        (train_sdxl, "cut", "cut short"),
        (train, "cut ckpt", "damaged"),
        (train_sdxl, "LoRA", "looks like a LoRA or similar network, not a base model"),
        (train_sdxl, "VAE", "looks like a VAE alone"),
        (train_sdxl, "no second text encoder", "without text encoder 2"),
        (train, "no text encoder", "text encoder"),
        (train_sdxl, "no VAE", "VAE"),
        (train_sdxl, "web page", "web page"),
        (train_sdxl, "empty", "empty"),
        (train_sdxl, "numbers", "not a safetensors file"),
    ],
)
def test_files_that_are_no_base_model(files, train_data_dir, tmp_path, capsys, monkeypatch, script, file, message):
    monkeypatch.setattr(dataset_checks, "scan_dataset", lambda *arguments: pytest.fail("images were looked at"))
    arguments = least_arguments(files[file], train_data_dir, tmp_path / "out")
    assert script(*as_words(arguments)) == 1
    shown = capsys.readouterr().err
    assert f"--pretrained_model_name_or_path '{files[file]}'" in shown
    assert message in shown
    assert "Traceback" not in shown
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("file", ["LoRA", "cut", "numbers"])
def test_files_that_are_no_vae(files, train_data_dir, tmp_path, capsys, file):
    arguments = {**least_arguments(files["SDXL"], train_data_dir, tmp_path / "out"), "--vae": str(files[file])}
    assert train_sdxl(*as_words(arguments)) == 1
    assert f"--vae '{files[file]}'" in capsys.readouterr().err


def test_a_model_without_vae_takes_another(files, train_data_dir, tmp_path):
    arguments = {**least_arguments(files["no VAE"], train_data_dir, tmp_path / "out"), "--vae": str(files["VAE"])}
    arguments["--max_train_steps"] = "1"
    with pytest.MonkeyPatch.context() as small:
        from library.models.checkpoints import single_file
        from tests.models.tiny import tiny_tokenizer

        small.setattr(single_file, "standard_clip_tokenizer", lambda *arguments: tiny_tokenizer())
        assert train_sdxl(*as_words(arguments)) == 0
    assert len(load_file(tmp_path / "out" / "tiny.safetensors")) > 100


@pytest.mark.parametrize("removed", ["text_encoder_2", "tokenizer_2", "vae", "unet/config.json"])
def test_incomplete_folders(train_data_dir, tmp_path, capsys, removed):
    folder = tmp_path / "model"
    save_tiny_folder(SDXL, folder)
    (folder / removed).rename(tmp_path / "removed")
    assert train_sdxl(*as_words(least_arguments(folder, train_data_dir, tmp_path / "out"))) == 1
    shown = capsys.readouterr().err
    assert str(folder) in shown
    assert removed.split("/")[0].replace("_2", "") in shown.replace(" ", "_").lower()


def test_clip_skip_beyond_the_first_layer(tiny_model, train_data_dir, tmp_path, capsys):
    arguments = {**least_arguments(tiny_model, train_data_dir, tmp_path / "out"), "--clip_skip": "3"}
    assert train(*as_words(arguments)) == 1
    assert "--clip_skip 3: the text encoder of this model has 2 layers" in capsys.readouterr().err


def test_what_the_sdxl_script_does_not_know(files, train_data_dir, tmp_path, capsys):
    arguments = {**least_arguments(files["SDXL"], train_data_dir, tmp_path / "out"), "--v2": None, "--clip_skip": "2"}
    assert train_sdxl(*as_words(arguments)) == 1
    shown = capsys.readouterr().err
    assert "--v2: sdxl_train_network.py trains SDXL models; leave it out" in shown
    arguments = {**least_arguments(files["SDXL"], train_data_dir, tmp_path / "out"), "--clip_skip": "2"}
    assert train_sdxl(*as_words({**arguments, "--network_module": "nonsense"})) == 1
    assert "--clip_skip 2 has no effect: SDXL takes the penultimate layer always" in capsys.readouterr().err


def test_a_wrong_model_is_told_without_importing_torch(files, train_data_dir, tmp_path):
    words = as_words(least_arguments(files["SD 1.x"], train_data_dir, tmp_path / "out"))
    program = (
        "import sys, runpy\n"
        f"sys.argv = ['sdxl_train_network.py', *{words!r}]\n"
        "try:\n"
        "    runpy.run_path('sdxl_train_network.py', run_name='__main__')\n"
        "except SystemExit as end:\n"
        "    assert end.code == 1\n"
        "print([name for name in ('torch', 'diffusers', 'transformers', 'accelerate') if name in sys.modules])\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    finished = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert finished.returncode == 0
    assert "train it with train_network.py" in finished.stderr
    assert finished.stdout.strip() == "[]"


def test_a_model_that_gives_no_numbers_is_not_blamed_on_the_training(train_data_dir, tmp_path, capsys):
    save_tiny_folder(SD1, tmp_path / "model")
    file = tmp_path / "model" / "unet" / "diffusion_pytorch_model.safetensors"
    save_file({name: value * torch.nan for name, value in load_file(file).items()}, file, {"format": "pt"})
    assert train(*as_words(least_arguments(tmp_path / "model", train_data_dir, tmp_path / "out"))) == 1
    assert "the loss is nan at the first step, before anything was learned" in capsys.readouterr().err
