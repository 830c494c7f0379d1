"""Models in diffusers folders."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from library.errors import UserError
from library.models.family import SD2, SDXL
from tests.models.loaded import OPTION, assert_weights, check_and_load, load, parts_of
from tests.models.tiny import tiny_text_encoder, tiny_tokenizer, tiny_unet, tiny_vae
from tests.models.tiny_families import save_tiny_folder


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
    (ids,) = adapter.tokenize(["a cat"]).ids
    assert ids[0, 0].tolist() == tiny_tokenizer()("a cat", padding="max_length", max_length=77)["input_ids"]


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


DAMAGE = {
    "cut": "the file is cut short",
    "text": "the file is a pointer of git-lfs",
    "gone": "is incomplete: it looks like an SD 1.x model without ",
    "incomplete": "cannot be loaded: 2 tensors are missing",
}


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("damage", DAMAGE)
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
        check_and_load(folder)
    (problem,) = caught.value.problems
    assert problem.startswith(f"{OPTION} '{file if damage in ('cut', 'text') else folder}'")
    assert DAMAGE[damage] in problem


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("damage", ["cut", "text", "gone"])
def test_folders_that_are_damaged_after_they_were_looked_at(folder, part, damage):
    file = folder / PARTS[part]
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:-100])
    elif damage == "text":
        file.write_text("version https://git-lfs.github.com/spec/v1\n" * 9)
    else:
        file.unlink()
    with pytest.raises(UserError) as caught:
        load(folder)
    (problem,) = caught.value.problems
    if damage == "gone":
        assert problem == f"{OPTION} '{folder}' cannot be loaded: its folder '{file.parent.name}' holds no weights"
    else:
        assert problem.startswith(f"{OPTION} '{file}': {DAMAGE[damage]}")


@pytest.mark.parametrize("missing", ["the folder", "the files"])
def test_a_folder_without_tokenizer(folder, missing):
    """transformers would make one that knows no word, and every caption would be the same."""
    if missing == "the folder":
        shutil.rmtree(folder / "tokenizer")
    else:
        (folder / "tokenizer" / "tokenizer.json").unlink()
    with pytest.raises(UserError, match=r"is incomplete: it looks like an SD 1\.x model without tokenizer"):
        check_and_load(folder)
    with pytest.raises(UserError, match=r"cannot be loaded: it holds neither tokenizer\.json nor vocab\.json"):
        load(folder)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"cross_attention_dim": 1024}, "looks like an SD 2.x model; add --v2"),
        ({"in_channels": 9}, "looks like an inpainting model, whose U-Net takes 9 channels instead of 4"),
        ({"addition_embed_type": "text_time"}, "looks like an SDXL model; train it with sdxl_train_network.py"),
    ],
)
def test_folders_of_other_models(folder, changes, expected):
    file = folder / "unet" / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))
    with pytest.raises(UserError) as caught:
        check_and_load(folder)
    assert str(caught.value).startswith(f"{OPTION} '{folder}' {expected}")


def test_parts_that_do_not_belong_together(folder):
    shutil.rmtree(folder / "unet")
    tiny_unet(cross_attention_dim=64).save_pretrained(folder / "unet")
    with pytest.raises(UserError) as caught:
        check_and_load(folder)
    expected = f"{OPTION} '{folder}': its U-Net takes 64 text features but its text encoders give 32"
    assert caught.value.problems == (expected,)


# ---- other forms of the same weights


def as_half_precision_variant(folder: Path) -> None:
    for name in PARTS.values():
        file = folder / name
        file.rename(file.with_name(f"{file.stem}.fp16.safetensors"))


def as_pickles(folder: Path) -> None:
    for name in PARTS.values():
        file = folder / name
        stem = "pytorch_model" if file.stem == "model" else file.stem
        torch.save(load_file(file), file.with_name(f"{stem}.bin"))
        file.unlink()


def as_shards(folder: Path) -> None:
    for name in PARTS.values():
        file = folder / name
        weights, place = load_file(file), {}
        names = list(weights)
        halves = (names[: len(names) // 2], names[len(names) // 2 :])
        for number, half in enumerate(halves, start=1):
            shard = f"{file.stem}-0000{number}-of-00002.safetensors"
            save_file({one: weights[one] for one in half}, file.with_name(shard), {"format": "pt"})
            place |= dict.fromkeys(half, shard)
        index = {"metadata": {"total_size": 1}, "weight_map": place}
        file.with_name(f"{file.stem}.safetensors.index.json").write_text(json.dumps(index))
        file.unlink()


@pytest.mark.parametrize("change", [as_half_precision_variant, as_pickles, as_shards])
def test_other_forms_of_the_same_weights(folder, tiny_model, change):
    expected = parts_of(load(tiny_model))
    change(folder)
    assert not any((folder / name).exists() for name in PARTS.values())
    assert_weights(check_and_load(folder), expected)


@pytest.mark.parametrize("family", [SD2, SDXL], ids=lambda family: family.name)
def test_tokenizers_of_folders(tmp_path, family):
    """Each encoder's own: what follows the end token differs."""
    save_tiny_folder(family, tmp_path)
    adapter, end = load(tmp_path, family=family), len(tiny_tokenizer()) - 1
    endings = [ids[0, 0, -3:].tolist() for ids in adapter.tokenize(["a cat"]).ids]
    assert endings == ([[0] * 3] if family is SD2 else [[end] * 3, [0] * 3])


@pytest.mark.parametrize("family", [SD2, SDXL], ids=lambda family: family.name)
def test_an_exclamation_mark_is_a_word_like_any_other(tmp_path, family):
    """Released folders fill up with "!", which must not make it special inside captions: single files know no such."""
    save_tiny_folder(family, tmp_path)
    plain = tiny_tokenizer()("a cat!", padding="max_length", max_length=77)["input_ids"]
    for ids in load(tmp_path, family=family).tokenize(["a cat!"]).ids:
        text = plain.index(tiny_tokenizer().eos_token_id)
        assert ids[0, 0, : text + 1].tolist() == plain[: text + 1]


def test_the_folder_may_go_once_it_is_loaded(folder, tiny_model):
    """Weights are copied out of the mapped files: files that are written over must not change them."""
    adapter = load(folder)
    for part in PARTS.values():
        (folder / part).write_bytes(b"\0" * (folder / part).stat().st_size)
    assert_weights(adapter, parts_of(load(tiny_model)))


@pytest.mark.parametrize(
    ("part", "changes"),
    [
        ("unet", {"block_out_channels": "abc"}),
        ("unet", {"layers_per_block": "2"}),
        ("vae", {"act_fn": 3}),
        ("text_encoder", {"hidden_act": "nope"}),
        ("text_encoder", {"hidden_size": "x"}),
    ],
)
def test_configurations_that_describe_no_model(folder, part, changes):
    file = folder / part / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))
    with pytest.raises(UserError) as caught:
        load(folder)
    (problem,) = caught.value.problems
    assert problem.startswith(f"{OPTION} '{folder}' cannot be loaded: '{part}/config.json' describes no model (")


def test_more_layers_than_the_configuration_says(folder):
    """The libraries would go on with the first ones, and another layer would be taken."""
    file = folder / "text_encoder" / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "num_hidden_layers": 1}))
    with pytest.raises(UserError, match=r"'text_encoder' holds more layers than its config\.json says"):
        load(folder)
