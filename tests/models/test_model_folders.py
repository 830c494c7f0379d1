"""Models in diffusers folders."""

import shutil
import types
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from library.errors import UserError
from library.models.stable_diffusion import loading
from tests.models.loaded import OPTION, assert_weights, load, parts_of
from tests.models.tiny import tiny_text_encoder, tiny_tokenizer, tiny_unet, tiny_vae


@pytest.fixture
def folder(tiny_model, tmp_path):
    copy = tmp_path / "Kopie des Modells"
    shutil.copytree(tiny_model, copy)
    return copy


def change_weights(file: Path, change) -> None:
    changed = change(load_file(file))
    save_file(changed, file, {"format": "pt"})


def test_a_folder_gives_its_weights(tiny_model):
    adapter = load(tiny_model)
    models = {"unet": tiny_unet(), "vae": tiny_vae(), "text_encoder": tiny_text_encoder(len(tiny_tokenizer()))}
    assert_weights(adapter, models)
    (tokens,) = adapter.tokenize(["a cat"])
    assert tokens[0].tolist() == tiny_tokenizer()("a cat", padding="max_length", max_length=77)["input_ids"]


def test_folders_written_by_older_versions(folder, tiny_model):
    """The text encoder's names then have one level more, the VAE's attention other names."""

    def older_text_encoder(weights):
        renamed = {f"text_model.{name.removeprefix('text_model.')}": value for name, value in weights.items()}
        return {**renamed, "text_model.embeddings.position_ids": torch.arange(77)[None]}

    def older_vae(weights):
        for new, old in (
            (".to_q.", ".query."),
            (".to_k.", ".key."),
            (".to_v.", ".value."),
            (".to_out.0.", ".proj_attn."),
        ):
            before = len(weights)
            changed = {name for name in weights if new in name}
            assert len(changed) == 4
            weights = {name.replace(new, old): value for name, value in weights.items()}
            assert len(weights) == before
        return weights

    change_weights(folder / "text_encoder" / "model.safetensors", older_text_encoder)
    change_weights(folder / "vae" / "diffusion_pytorch_model.safetensors", older_vae)
    assert_weights(load(folder), parts_of(load(tiny_model)))


PARTS = {
    "unet": "unet/diffusion_pytorch_model.safetensors",
    "vae": "vae/diffusion_pytorch_model.safetensors",
    "text_encoder": "text_encoder/model.safetensors",
}


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("damage", ["cut", "text", "gone", "incomplete"])
def test_damaged_folders(folder, part, damage):
    file = folder / PARTS[part]
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:-100])
    elif damage == "text":
        file.write_text("version https://git-lfs.github.com/spec/v1\n" * 9)
    elif damage == "gone":
        file.unlink()
    else:
        change_weights(file, lambda weights: dict(list(weights.items())[2:]))
    with pytest.raises(UserError) as caught:
        load(folder)
    (problem,) = caught.value.problems
    assert problem.startswith(f"{OPTION} '{folder}' cannot be loaded: ")
    assert ("2 tensors of" in problem) == (damage == "incomplete")


@pytest.mark.parametrize("missing", ["the folder", "the files"])
def test_a_folder_without_tokenizer(folder, missing):
    """transformers would make one that knows no word, and every caption would be the same."""
    if missing == "the folder":
        shutil.rmtree(folder / "tokenizer")
    else:
        (folder / "tokenizer" / "tokenizer.json").unlink()
    with pytest.raises(UserError, match="'tokenizer' is missing or empty"):
        load(folder)


@pytest.mark.parametrize(
    ("width", "channels", "expected"),
    [
        (1024, 4, "looks like a Stable Diffusion 2.x model"),
        (32, 9, "takes 9 channels instead of 4"),
        (64, 4, "takes 64 text features but its text encoder gives 32"),
    ],
)
def test_folders_of_other_models(folder, monkeypatch, width, channels, expected):
    shutil.rmtree(folder / "unet")
    unet = tiny_unet(cross_attention_dim=width, in_channels=channels)
    unet.save_pretrained(folder / "unet")
    if width == 1024:
        monkeypatch.setattr(loading, "CLIPTextModel", WideTextEncoder)
    with pytest.raises(UserError, match=expected) as caught:
        load(folder)
    assert str(caught.value).startswith(f"{OPTION} '{folder}'")


class WideTextEncoder:
    """One of 1024 features would be slow to build; only its width is asked for."""

    config = types.SimpleNamespace(hidden_size=1024)

    @classmethod
    def from_pretrained(cls, *_, **__):
        return cls(), {"missing_keys": []}
