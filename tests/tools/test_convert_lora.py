"""The command that converts network files."""

import json
import logging
from pathlib import Path

import pytest
import safetensors.torch
import torch
from safetensors import safe_open
from torch import nn

from library.models.family import SD1, SD2, SDXL, ModelFamily
from networks.files.layer_names import UNET, diffusers_path, part_of
from networks.files.weights_file import network_hashes, write_network_file
from networks.kinds.catalogue import tensors_by_layer
from networks.targeting.targets import find_all
from tests.models.tiny_families import save_tiny_folder, tiny_adapter_of, tiny_pipeline_of
from tests.networks.files.independent_reader import changed_weight
from tests.networks.files.random_files import ALPHA, RANK, dora_of, file_of, lora_of, normal
from tools.convert_lora import main

METADATA = {
    "ss_network_module": "networks.lora",
    "ss_network_dim": str(RANK),
    "ss_network_alpha": str(ALPHA),
    "ss_network_args": '{"dropout": "0.1"}',
    "ss_tag_frequency": '{"cat": 1}',
    "modelspec.title": "cats",
    "modelspec.hash_sha256": "0x00",
    "sshs_model_hash": "00",
}


def layers_of(family: ModelFamily) -> dict[str, nn.Module]:
    """The layers that LoRA adapts by default, and one 3x3 convolution."""
    views = tiny_adapter_of(family).views()
    targets = find_all(views.text_encoders_as_kohya(), views.unet)
    wanted = ("_proj_in", "_attn2_to_k", "_mlp_fc1", "mid_block_resnets_0_conv1", "middle_block_0_in_layers_2")
    return {target.name: target.layer for target in targets if target.name.endswith(wanted)}


def write(folder: Path, tensors, metadata=METADATA, name: str = "cat.safetensors", dtype=None) -> Path:
    write_network_file(folder / name, tensors, dtype, metadata)
    return folder / name


def read(file: Path):
    with safe_open(file, framework="pt") as content:
        return safetensors.torch.load_file(file), content.metadata()


def loha_of(layer: nn.Module, seed: int):
    out, into, *kernel = layer.weight.shape
    columns = into * (kernel[0] * kernel[1] if kernel else 1)
    halves = {}
    for number in (1, 2):
        halves[f"hada_w{number}_a"] = normal(out, 2, seed=seed + number)
        halves[f"hada_w{number}_b"] = normal(2, columns, seed=seed + number + 2)
    return {**halves, "alpha": torch.tensor(1.0)}


def assert_same_change(layers, before, after, tolerance=1e-5):
    assert tensors_by_layer(before).keys() == tensors_by_layer(after).keys()
    for name, layer in tensors_by_layer(before).items():
        base = layers[name].weight.detach()
        expected, found = changed_weight(base, layer), changed_weight(base, tensors_by_layer(after)[name])
        assert abs(expected - found).max() < tolerance, name
        assert abs(expected - base.numpy()).max() > 1e-3


@pytest.mark.parametrize("family", [SD1, SD2, SDXL], ids=lambda family: family.name)
def test_to_diffusers_and_back(family, tmp_path, capsys):
    layers = layers_of(family)
    tensors = file_of({name: lora_of(layer, number) for number, (name, layer) in enumerate(layers.items())})
    source = write(tmp_path, tensors, METADATA | {"ss_v2": str(family is SD2)})
    assert main([str(source), "--to", "diffusers"]) == 0
    written, metadata = read(tmp_path / "cat_diffusers.safetensors")
    assert all(name.startswith(("unet.", "text_encoder.", "text_encoder_2.")) for name in written)
    assert metadata["ss_network_alpha"] == metadata["ss_network_dim"] == str(RANK)
    assert "This file is read exactly by: ComfyUI, diffusers" in capsys.readouterr().out
    pipeline = tiny_pipeline_of(family)
    pipeline.load_lora_weights(tmp_path, weight_name="cat_diffusers.safetensors")
    pipeline.fuse_lora()
    pipeline.unload_lora_weights()
    unet = {name for name in layers if part_of(name) == UNET}
    assert len(unet) > 5
    for name in unet:
        weight = pipeline.unet.get_submodule(diffusers_path(name).removeprefix("unet.")).weight.detach()
        expected = torch.from_numpy(changed_weight(layers[name].weight, tensors_by_layer(tensors)[name]))
        torch.testing.assert_close(weight.double().view(expected.shape), expected, rtol=1e-5, atol=1e-6)
    assert (
        main([str(tmp_path / "cat_diffusers.safetensors"), "--to", "kohya", "--save_to", str(tmp_path / "b.pt")]) == 0
    )
    assert_same_change(layers, tensors, torch.load(tmp_path / "b.pt", weights_only=True))


def test_metadata(tmp_path):
    layers = layers_of(SD1)
    tensors = file_of({name: loha_of(layer, number) for number, (name, layer) in enumerate(layers.items())})
    source = write(tmp_path, tensors, METADATA | {"ss_network_module": "networks.loha"})
    assert main([str(source), "--to", "lora", "--rank", "3", "--conv_rank", "2"]) == 0
    written, metadata = read(tmp_path / "cat_lora.safetensors")
    assert metadata["ss_network_module"] == "networks.lora"
    assert metadata["ss_network_dim"] == metadata["ss_network_alpha"] == "3"
    assert json.loads(metadata["ss_network_args"]) == {"conv_dim": "2", "conv_alpha": "3"}
    assert metadata["ss_tag_frequency"] == METADATA["ss_tag_frequency"]
    assert metadata["modelspec.title"] == "cats"
    assert "modelspec.hash_sha256" not in metadata
    assert metadata["ss_converted_from"] == (
        f"cat.safetensors: LoHa ({len(layers)} layers); networks.loha, dim {RANK}, alpha {ALPHA}"
    )
    fields = {name: text for name, text in metadata.items() if not name.startswith("sshs_")}
    assert {name: text for name, text in metadata.items() if name.startswith("sshs_")} == network_hashes(
        written, fields
    )


def test_plain_lora_of_loha_is_exact_at_full_rank(tmp_path, capsys):
    """LoHa of rank 2 has changes of rank 4; those of convolutions have as many as they have outputs at most."""
    layers = layers_of(SD1)
    tensors = file_of({name: loha_of(layer, number) for number, (name, layer) in enumerate(layers.items())})
    assert main([str(write(tmp_path, tensors)), "--to", "lora", "--rank", "4"]) == 0
    assert_same_change(layers, tensors, read(tmp_path / "cat_lora.safetensors")[0])
    output = capsys.readouterr().out
    assert "The change differs from the original's by 0.00%" in output
    assert "This file is read exactly by: ComfyUI, A1111, Forge, SD.Next, diffusers" in output
    assert "Warning" not in output


def test_the_error_is_told(tmp_path, capsys):
    tensors = file_of({"lora_unet_mid_block_attentions_0_proj_in": {"diff": torch.diag(torch.tensor([4.0, 3.0]))}})
    assert main([str(write(tmp_path, tensors)), "--to", "lora", "--rank", "1"]) == 0
    told = capsys.readouterr().out
    assert "by 60.00%; most in lora_unet_mid_block_attentions_0_proj_in: 60.00% at rank 1" in told
    assert "Warning: that is far off" in told
    assert "give a larger --rank or --energy, or --to diff" in told


@pytest.mark.parametrize(
    ("words", "rank"),
    [([], 32), (["--energy", "1"], 40), (["--energy", "1", "--rank", "33"], 33), (["--energy", "0.5"], 20)],
)
def test_energy_is_limited_by_a_rank_that_is_given_only(words, rank, tmp_path):
    name = "lora_unet_mid_block_attentions_0_proj_in"
    assert main([str(write(tmp_path, file_of({name: {"diff": torch.eye(40)}}))), "--to", "lora", *words]) == 0
    assert len(read(tmp_path / "cat_lora.safetensors")[0][f"{name}.lora_down.weight"]) == rank


@pytest.mark.parametrize("family", [SD1, SDXL], ids=lambda family: family.name)
@pytest.mark.parametrize("form", ["lora", "diff"])
def test_dora_needs_its_base_model(family, form, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(logging.getLogger(), "level", logging.ERROR)
    layers = layers_of(family)
    tensors = file_of({name: dora_of(layer, True, number) for number, (name, layer) in enumerate(layers.items())})
    source = write(tmp_path, tensors)
    assert main([str(source), "--to", form]) == 1
    assert "depends on the model's weights: give it with --base" in capsys.readouterr().err
    save_tiny_folder(family, tmp_path / "model")
    ranks = ["--rank", "999"] if form == "lora" else []
    assert main([str(source), "--to", form, "--base", str(tmp_path / "model"), *ranks]) == 0
    assert_same_change(layers, tensors, read(tmp_path / f"cat_{form}.safetensors")[0], 1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_base_model_in_half_precision_is_computed_with_in_full(dtype, tmp_path, monkeypatch):
    monkeypatch.setattr(logging.getLogger(), "level", logging.ERROR)
    tiny_pipeline_of(SD1).to(dtype).save_pretrained(tmp_path / "model")
    rounded = {name: layer.to(dtype).float() for name, layer in layers_of(SD1).items()}
    tensors = file_of({name: dora_of(layer, True, number) for number, (name, layer) in enumerate(rounded.items())})
    source = write(tmp_path, tensors)
    assert main([str(source), "--to", "diff", "--base", str(tmp_path / "model"), "--save_precision", "float"]) == 0
    assert_same_change(rounded, tensors, read(tmp_path / "cat_diff.safetensors")[0])


def test_precision(tmp_path):
    name = "lora_unet_mid_block_attentions_0_proj_in"
    source = write(tmp_path, file_of({name: lora_of(nn.Conv2d(4, 6, 1))}), dtype=torch.float16)
    for form, precision, dtype in (("diff", None, torch.float16), ("lora", "bf16", torch.bfloat16)):
        chosen = [] if precision is None else ["--save_precision", precision]
        assert main([str(source), "--to", form, *chosen]) == 0
        tensors, _ = read(tmp_path / f"cat_{form}.safetensors")
        assert {tensor.dtype for key, tensor in tensors.items() if not key.endswith(".alpha")} == {dtype}


def test_a_magnitude_keeps_its_own_precision(tmp_path):
    name = "lora_unet_mid_block_attentions_0_proj_in"
    layer = dora_of(nn.Linear(4, 6), per_input=False)
    tensors = {key: tensor if key == "dora_scale" else tensor.half() for key, tensor in layer.items()}
    assert main([str(write(tmp_path, file_of({name: tensors}))), "--to", "diffusers"]) == 0
    written, _ = read(tmp_path / "cat_diffusers.safetensors")
    assert written["unet.mid_block.attentions.0.proj_in.lora_magnitude_vector"].dtype == torch.float32


def test_other_tensors_are_kept_or_refused(tmp_path, capsys):
    tensors = file_of({"lora_unet_mid_block_attentions_0_proj_in": lora_of(nn.Conv2d(4, 6, 1))})
    source = write(tmp_path, tensors | {"bundle_emb.cat.string_to_param.*": normal(1, 8)})
    assert main([str(source), "--to", "diff"]) == 0
    assert "bundle_emb.cat.string_to_param.*" in read(tmp_path / "cat_diff.safetensors")[0]
    assert "belong to no layer: bundle_emb.cat.string_to_param.*" in capsys.readouterr().out
    assert main([str(source), "--to", "diffusers"]) == 1
    assert "diffusers refuses files with other tensors" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--to", "kohya", "--save_to", "{source}"], "exists already"),
        (["--to", "kohya", "--save_to", "{folder}/x.bin"], "network files end in .safetensors, .ckpt, .pt"),
        (["--to", "kohya", "--save_to", "{folder}/no/x.pt"], "there is no folder"),
        (["--to", "lora", "--rank", "0"], "--rank 0: must be 1 or more"),
        (["--to", "lora", "--conv_rank", "-1"], "--conv_rank -1: must be 1 or more"),
        (["--to", "lora", "--energy", "1.5"], "--energy 1.5: must be more than 0 and at most 1"),
        (["--to", "diffusers", "--rank", "4"], "--rank 4: is for --to lora only"),
        (["--to", "kohya", "--conv_rank", "4"], "--conv_rank 4: is for --to lora only"),
        (["--to", "diff", "--energy", "0.5"], "--energy 0.5: is for --to lora only"),
        (["--to", "lora", "--base", "{folder}/nothing"], "--base '"),
    ],
)
def test_what_is_refused(words, message, tmp_path, capsys):
    source = write(tmp_path, file_of({"lora_unet_conv_in": lora_of(nn.Conv2d(4, 6, 3))}))
    content = source.read_bytes()
    assert main([str(source), *(word.format(source=source, folder=tmp_path) for word in words)]) == 1
    assert message in capsys.readouterr().err
    assert source.read_bytes() == content
    assert [file.name for file in tmp_path.iterdir()] == ["cat.safetensors"]


def test_a_missing_file(tmp_path, capsys):
    assert main([str(tmp_path / "none.safetensors"), "--to", "kohya"]) == 1
    assert "none.safetensors' cannot be read" in capsys.readouterr().err


def test_a_file_without_a_network(tmp_path, capsys):
    assert main([str(write(tmp_path, {"emb_params": normal(1, 8)})), "--to", "kohya"]) == 1
    assert "none of its tensors belongs to a layer" in capsys.readouterr().err


def test_metadata_of_multiplied_alphas(tmp_path):
    """diffusers' names have no alpha: it is multiplied in, and from then on the rank."""
    layers = {
        "lora_unet_mid_block_attentions_0_proj_in": lora_of(nn.Conv2d(4, 6, 1), rank=4, alpha=1.0),
        "lora_unet_mid_block_resnets_0_conv1": lora_of(nn.Conv2d(4, 6, 3), rank=2, alpha=1.0),
    }
    arguments = json.dumps({"conv_dim": "2", "conv_alpha": "1", "dropout": "0.1"})
    source = write(tmp_path, file_of(layers), METADATA | {"ss_network_alpha": "1", "ss_network_args": arguments})
    assert main([str(source), "--to", "diffusers"]) == 0
    _, metadata = read(tmp_path / "cat_diffusers.safetensors")
    assert metadata["ss_network_dim"] == metadata["ss_network_alpha"] == "4"
    assert json.loads(metadata["ss_network_args"]) == {"conv_dim": "2", "conv_alpha": "2", "dropout": "0.1"}


@pytest.mark.parametrize("device", ["nonsense", "meta:x"])
def test_an_unknown_device(device, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main([str(tmp_path / "x.pt"), "--to", "lora", "--device", device])
    assert f"argument --device: '{device}' cannot be used" in capsys.readouterr().err


def test_metadata_of_a_file_of_diffusers(tmp_path):
    path = "unet.mid_block.attentions.0.proj_in"
    tensors = {f"{path}.lora_A.weight": normal(2, 4), f"{path}.lora_B.weight": normal(4, 2)}
    settings = {"lora_adapter_metadata": json.dumps({"unet.r": 2, "unet.lora_alpha": 1}), "format": "pt"}
    assert main([str(write(tmp_path, tensors, settings)), "--to", "kohya"]) == 0
    written, metadata = read(tmp_path / "cat_kohya.safetensors")
    assert written["lora_unet_mid_block_attentions_0_proj_in.alpha"].item() == 1
    assert {name: text for name, text in metadata.items() if not name.startswith("sshs_")} == {
        "format": "pt",
        "ss_converted_from": "cat.safetensors: LoRA (1 layer)",
        "ss_network_module": "networks.lora",
        "ss_network_dim": "2",
        "ss_network_alpha": "1",
    }
