"""The command that tells what a network file is good for."""

from pathlib import Path

import pytest
import torch
from torch import nn

from library.models.family import SD1, SDXL
from networks.files.weights_file import write_network_file
from networks.targeting.targets import find_all
from tests.models.tiny_families import save_tiny_folder, tiny_adapter_of, tiny_pipeline_of
from tests.networks.files.random_files import Tensors, dora_of, every_form, file_of, lora_of, normal
from tools.verify_lora import main

BLOCKS = ("down_blocks_0", "down_blocks_1", "mid_block", "up_blocks_1")


def layers_of(family) -> dict[str, nn.Module]:
    views = tiny_adapter_of(family).views()
    targets = find_all(views.text_encoders_as_kohya(), views.unet)
    wanted = ("_proj_in", "_attn2_to_k", "_mlp_fc1", "mid_block_resnets_0_conv1")
    return {target.name: target.layer for target in targets if target.name.endswith(wanted)}


SD1_LAYERS = layers_of(SD1)


def sd1_file() -> Tensors:
    return file_of({name: lora_of(layer, number) for number, (name, layer) in enumerate(SD1_LAYERS.items())})


def write(folder: Path, tensors: Tensors, name: str = "cat.safetensors") -> str:
    """Also what is not finite."""
    if name.endswith(".pt"):
        torch.save(tensors, folder / name)
    else:
        write_network_file(folder / name, tensors, None, {})
    return str(folder / name)


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("model")
    save_tiny_folder(SD1, folder)
    return str(folder)


def verify(capsys, *words: str) -> tuple[int, str]:
    """Exit code, and all that was printed."""
    code = main(words)
    captured = capsys.readouterr()
    return code, captured.out + captured.err


def test_without_a_model(tmp_path, capsys):
    code, shown = verify(capsys, write(tmp_path, sd1_file()))
    assert code == 0
    assert f"{len(SD1_LAYERS)} layers: LoRA ({len(SD1_LAYERS)})" in shown
    assert f"{3 * len(SD1_LAYERS)} in float32" in shown
    assert f"     4      2    0.5 {len(SD1_LAYERS):>7}\n" in shown
    assert "for models of SD 1.x or SD 2.x\n" in shown
    assert "what programs make of it:\n  ComfyUI: exact\n" in shown
    assert "  diffusers: exact\n" in shown
    assert "WRONG" not in shown
    assert "size of the change" not in shown


def test_with_its_model(tmp_path, capsys, base):
    code, shown = verify(capsys, write(tmp_path, sd1_file()), "--base", base)
    assert code == 0
    assert f"all {len(SD1_LAYERS)} layers belong to layers of the model" in shown
    assert "size of the change relative to the weights:" in shown
    for block in (*BLOCKS, "text encoder"):
        (line,) = [line for line in shown.splitlines() if line.startswith(f"  {block} ")]
        assert "%" in line
        assert "#" in line


def test_kinds_that_depend_on_the_weights(tmp_path, capsys, base):
    tensors = file_of({name: dora_of(layer, per_input=True) for name, layer in SD1_LAYERS.items()})
    code, shown = verify(capsys, write(tmp_path, tensors), "--base", base)
    assert code == 0
    assert "DoRA per input" in shown
    assert "diffusers: DoRA per input: loads it wrong: drops the magnitudes" in shown


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_weights_that_are_not_finite(number, tmp_path, capsys, base):
    tensors = sd1_file()
    name = "lora_unet_mid_block_attentions_0_proj_in.lora_up.weight"
    tensors[name][0, 0] = number
    for words in ((), ("--base", base)):
        code, shown = verify(capsys, write(tmp_path, tensors, "cat.pt"), *words)
        assert code == 1
        assert f"WRONG: NaN or infinity in 1 tensor: {name}; pictures made with it will be black or noise" in shown


def test_layers_of_unknown_kinds(tmp_path, capsys, base):
    file = write(tmp_path, sd1_file() | {"lora_unet_conv_in.strange": normal(2)})
    for words in ((), ("--base", base)):
        code, shown = verify(capsys, file, *words)
        assert code == 1
        assert "WRONG: 1 layer of a kind that is not known here: lora_unet_conv_in" in shown
    assert "size of the change relative to the weights" in shown


def test_files_without_layers(tmp_path, capsys):
    code, shown = verify(capsys, write(tmp_path, {"strange": normal(1, 8)}))
    assert code == 1
    assert shown.splitlines()[1:] == ["WRONG: it holds no layers of a network"]


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (["emb_params"], "a textual inversion embedding, not a base model"),
        (["down_blocks.0.resnets.0.conv1.weight", "conv_in.bias"], "a U-Net alone"),
        (["model.diffusion_model.input_blocks.1.1.proj_in.weight", "cond_stage_model.a"], "an SD 1.x model"),
    ],
)
def test_other_files_are_named(names, kind, tmp_path, capsys):
    file = write(tmp_path, {name: normal(4, 4) for name in names})
    code, shown = verify(capsys, file)
    assert code == 1
    assert shown == (
        f"Error: network file '{file}' is no network file: it looks like {kind}; name a LoRA or another network\n"
    )


def test_a_model_of_another_family(tmp_path, capsys, base):
    layers = layers_of(SDXL)
    tensors = file_of({name: lora_of(layer) for name, layer in layers.items()})
    code, shown = verify(capsys, write(tmp_path, tensors), "--base", base)
    assert code == 1
    assert "for models of SDXL\n" in shown
    assert "WRONG: it is a network for SDXL, and the model is one of SD 1.x\n" in shown
    assert f"WRONG: {len(layers)} of {len(layers)} layers belong to no layer of the model: " in shown


def test_some_layers_that_the_model_lacks(tmp_path, capsys, base):
    name = "lora_unet_mid_block_attentions_7_proj_in"
    tensors = sd1_file() | file_of({name: lora_of(nn.Linear(12, 8))})
    code, shown = verify(capsys, write(tmp_path, tensors), "--base", base)
    assert code == 1
    assert f"WRONG: 1 of {len(SD1_LAYERS) + 1} layers belong to no layer of the model: {name}" in shown
    assert "size of the change" in shown


@pytest.mark.parametrize("form", ["lora", "loha", "lokr", "glora", "oft", "boft", "full", "ia3 on inputs"])
def test_layers_of_another_size(form, tmp_path, capsys, base):
    name = "lora_unet_mid_block_attentions_0_transformer_blocks_0_ff_net_2"
    code, shown = verify(capsys, write(tmp_path, file_of({name: every_form(nn.Linear(12, 8))[form]})), "--base", base)
    assert code == 1
    assert name in shown
    assert "Traceback" not in shown


def test_files_that_cannot_be_read(tmp_path, capsys):
    assert main([str(tmp_path / "none.safetensors")]) == 1
    assert "none.safetensors': No such file or directory" in capsys.readouterr().err
    assert main([str(tmp_path)]) == 1
    assert f"network file '{tmp_path}': this is a folder; name a file in it" in capsys.readouterr().err
    (tmp_path / "broken.safetensors").write_bytes(b"nonsense")
    assert main([str(tmp_path / "broken.safetensors")]) == 1
    assert "broken.safetensors': the file is damaged" in capsys.readouterr().err
    whole = Path(write(tmp_path, sd1_file())).read_bytes()
    (tmp_path / "short.safetensors").write_bytes(whole[:-100])
    assert main([str(tmp_path / "short.safetensors")]) == 1
    assert f"the file is cut short: {len(whole) - 100:,} bytes instead of {len(whole):,}" in capsys.readouterr().err


def test_a_base_model_in_half_precision(tmp_path, capsys):
    tiny_pipeline_of(SD1).to(torch.float16).save_pretrained(tmp_path / "model")
    code, shown = verify(capsys, write(tmp_path, sd1_file()), "--base", str(tmp_path / "model"))
    assert code == 0
    assert "size of the change relative to the weights:" in shown


def test_a_model_that_is_not_there(tmp_path, capsys):
    assert main([write(tmp_path, sd1_file()), "--base", str(tmp_path / "nothing")]) == 1
    assert "--base '" in capsys.readouterr().err
