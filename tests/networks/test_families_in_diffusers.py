"""Networks of SD 2.x and SDXL, saved and loaded by diffusers with the same effect."""

import logging

import pytest
import torch

from library.diffusion.conditioning import size_numbers
from library.models.family import SD2, SDXL
from library.models.stable_diffusion.projections import project_by_convolution
from networks.lora import create_network
from tests.models.tiny_families import tiny_adapter_of, tiny_pipeline_of

CAPTION = "a cat, sks dog"
SIZES = torch.tensor([size_numbers((100, 80), (4, 0), (64, 64))])


def trained_network(model):
    """A network with weights as after a training, applied to the model."""
    views = model.views()
    network = create_network(1.0, 4, 2.0, None, views.text_encoders_as_kohya(), views.unet)
    network.apply_to(views.text_encoders_as_kohya(), views.unet)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=generator)
    return network


@pytest.fixture
def messages(caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("diffusers"), "propagate", True)
    with caplog.at_level(logging.INFO, logger="diffusers"):
        yield caplog


@torch.no_grad()
def test_sdxl(tmp_path, messages):
    model, pipeline = tiny_adapter_of(SDXL), tiny_pipeline_of(SDXL)
    latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(2))
    step = torch.tensor([300])

    def ours():
        text = model.encode_text(model.tokenize([CAPTION]))
        return text.hidden_states, text.pooled, model.predict(latents, step, text, SIZES)

    def theirs():
        states, _, pooled, _ = pipeline.encode_prompt(CAPTION, device="cpu", do_classifier_free_guidance=False)
        extras = {"text_embeds": pooled, "time_ids": SIZES}
        return states, pooled, pipeline.unet(latents, step, states, added_cond_kwargs=extras).sample

    without = ours()
    network = trained_network(model)
    network.save_weights(str(tmp_path / "sdxl.safetensors"), None, {})
    pipeline.load_lora_weights(tmp_path, weight_name="sdxl.safetensors", adapter_name="ours")
    adapted = [
        sum(name.endswith("lora_A.ours") for name, _ in part.named_modules())
        for part in (pipeline.unet, pipeline.text_encoder, pipeline.text_encoder_2)
    ]
    assert adapted == [len(network.unet_loras), 12, 12]
    assert not [record.message for record in messages.records if "key" in record.message.lower()]
    for one, two, before in zip(ours(), theirs(), without, strict=True):
        assert (one - before).abs().max() > 0.01
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_sd2(tmp_path):
    """In files, the projections of its U-Net have the shapes of convolutions, as other trainers write them. diffusers
    takes them only into a U-Net that has convolutions there."""
    model, pipeline = tiny_adapter_of(SD2), tiny_pipeline_of(SD2)
    project_by_convolution(pipeline.unet)
    network = trained_network(model)
    network.save_weights(str(tmp_path / "sd2.safetensors"), None, {})
    pipeline.load_lora_weights(tmp_path, weight_name="sd2.safetensors", adapter_name="ours")
    latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(2))
    text = model.encode_text(model.tokenize([CAPTION]))
    ours = model.predict(latents, torch.tensor([300]), text, SIZES)
    states, _ = pipeline.encode_prompt(CAPTION, "cpu", 1, do_classifier_free_guidance=False)
    theirs = pipeline.unet(latents, torch.tensor([300]), states).sample
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
