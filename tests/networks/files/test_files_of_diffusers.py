"""Files that diffusers itself writes, read by us: the same weights."""

import pytest
import torch
from diffusers import StableDiffusionXLPipeline
from diffusers.training_utils import _collate_lora_metadata
from diffusers.utils import convert_state_dict_to_diffusers
from peft import LoraConfig, get_peft_model_state_dict
from peft.tuners.lora import LoraLayer
from torch import nn

from library.models.family import SDXL
from networks.files.key_dialects import to_own_names
from networks.files.layer_names import diffusers_path
from networks.files.weights_file import read_network_file, read_network_metadata
from networks.kinds.catalogue import tensors_by_layer
from networks.targeting.targets import find_all
from tests.models.tiny_families import tiny_adapter_of, tiny_pipeline_of
from tests.networks.files.independent_reader import changed_weight

UNET_LAYERS = ["to_q", "to_out.0", "proj_in", "conv1", "ff.net.0.proj"]
TEXT_LAYERS = ["q_proj", "out_proj", "fc1"]
SETTINGS = {
    "plain": {"lora_alpha": 4},
    "alpha": {"lora_alpha": 1},
    "rank-stabilised": {"lora_alpha": 2, "use_rslora": True},
    "patterns": {"lora_alpha": 2, "rank_pattern": {"to_q": 2, "fc1": 3}, "alpha_pattern": {"to_q": 5, "fc1": 1}},
    "dora": {"lora_alpha": 4, "use_dora": True},
}


def give_adapters(pipeline, settings) -> None:
    pipeline.unet.add_adapter(LoraConfig(r=4, target_modules=UNET_LAYERS, **settings))
    for encoder in (pipeline.text_encoder, pipeline.text_encoder_2):
        encoder.add_adapter(LoraConfig(r=4, target_modules=TEXT_LAYERS, **{**settings, "use_dora": False}))
    generator = torch.Generator().manual_seed(0)
    for part in (pipeline.unet, pipeline.text_encoder, pipeline.text_encoder_2):
        for name, parameter in part.named_parameters():
            if "lora_" in name:
                parameter.data += 0.2 * torch.randn(parameter.shape, generator=generator)


def save(pipeline, folder) -> None:
    parts = {"unet": pipeline.unet, "text_encoder": pipeline.text_encoder, "text_encoder_2": pipeline.text_encoder_2}
    layers = {
        f"{name}_lora_layers": convert_state_dict_to_diffusers(get_peft_model_state_dict(part))
        for name, part in parts.items()
    }
    StableDiffusionXLPipeline.save_lora_weights(folder, **layers, **_collate_lora_metadata(parts))


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_what_diffusers_saves(settings, tmp_path):
    pipeline = tiny_pipeline_of(SDXL)
    give_adapters(pipeline, settings)
    save(pipeline, tmp_path)
    file = tmp_path / "pytorch_lora_weights.safetensors"
    views = tiny_adapter_of(SDXL).views()
    targets = find_all(views.text_encoders_as_kohya(), views.unet)
    base = {target.name: target.layer for target in targets if isinstance(target.layer, nn.Linear | nn.Conv2d)}
    tensors, report = to_own_names(read_network_file(file), base, read_network_metadata(file))
    assert report.unknown == ()
    layers = tensors_by_layer(tensors)
    assert layers.keys() <= base.keys()
    adapted = sum(
        isinstance(module, LoraLayer)
        for part in (pipeline.unet, pipeline.text_encoder, pipeline.text_encoder_2)
        for module in part.modules()
    )
    assert len(layers) == adapted > 50
    for name, layer in layers.items():
        part, _, path = diffusers_path(name).partition(".")
        root = getattr(pipeline, part)
        if part != "unet" and not hasattr(root, "text_model"):
            path = path.removeprefix("text_model.")
        module = root.get_submodule(path)
        module.merge()
        expected = module.get_base_layer().weight.detach()
        before = base[name].weight.detach()
        assert (expected - before).abs().max() > 0.01
        torch.testing.assert_close(
            torch.from_numpy(changed_weight(before, layer)).float(), expected, rtol=1e-5, atol=1e-5
        )
