"""A base model for tools: whatever the user names, of whichever family it is."""

import pytest
import safetensors.torch
import torch

from library.errors import UserError
from library.models.checkpoints.identification import UNET_PREFIX
from library.models.family import FAMILIES, SD1, SDXL
from library.models.named_model import load_named_model
from tests.models.tiny_families import original_weights_of, save_tiny_folder, tiny_pipeline_of, tiny_unet_of


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_every_family(family, tmp_path):
    save_tiny_folder(family, tmp_path)
    model = load_named_model(str(tmp_path), "base")
    assert model.family == family
    found = model.views().unet.state_dict()
    expected = tiny_unet_of(family).state_dict()
    assert len(found) == len(expected) > 100
    total = sum(tensor.double().abs().sum() for tensor in found.values())
    torch.testing.assert_close(total, sum(tensor.double().abs().sum() for tensor in expected.values()))
    assert {tensor.dtype for tensor in found.values()} == {torch.float32}


def test_a_folder_keeps_the_precision_of_its_files(tmp_path):
    pipeline = tiny_pipeline_of(SD1)
    pipeline.unet.half()
    pipeline.text_encoder.bfloat16()
    pipeline.save_pretrained(tmp_path)
    views = load_named_model(str(tmp_path), "base").views()
    assert {tensor.dtype for tensor in views.unet.state_dict().values()} == {torch.float16}
    assert {parameter.dtype for parameter in views.text_encoders[0].parameters()} == {torch.bfloat16}
    assert {parameter.dtype for parameter in views.vae.parameters()} == {torch.float32}


def test_a_single_file_keeps_its_precisions(tmp_path):
    weights = original_weights_of(SDXL)
    halved = {name: tensor.half() for name, tensor in weights.items() if name.startswith(UNET_PREFIX)}
    torch.save(weights | halved, tmp_path / "model.ckpt")
    views = load_named_model(str(tmp_path / "model.ckpt"), "base").views()
    assert {tensor.dtype for tensor in views.unet.state_dict().values()} == {torch.float16}
    assert {parameter.dtype for encoder in views.text_encoders for parameter in encoder.parameters()} == {torch.float32}


def test_what_is_no_model(tmp_path):
    with pytest.raises(UserError, match=r"--base '.*nothing': there is no such file or folder"):
        load_named_model(str(tmp_path / "nothing"), "base")
    with pytest.raises(UserError, match=f"--base '{tmp_path}' is a folder, but not a diffusers model"):
        load_named_model(str(tmp_path), "base")
    network = tmp_path / "network.safetensors"
    safetensors.torch.save_file({"lora_unet_conv_in.lora_down.weight": torch.zeros(2, 4, 3, 3)}, network)
    with pytest.raises(UserError, match=r"--base .* looks like a LoRA .*; give a whole base model"):
        load_named_model(str(network), "base")
