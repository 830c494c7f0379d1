"""Loads a model as the command does, and compares it with the one it was made of."""

import torch

from library.models.adapter import ModelPrecision
from library.models.model_source import ModelSource, find_model
from library.models.stable_diffusion import loading
from library.models.stable_diffusion.adapter import StableDiffusion1

OPTION = "--pretrained_model_name_or_path"
FULL = ModelPrecision(torch.float32, torch.float32)


def load(path, precision=FULL) -> StableDiffusion1:
    source = find_model(str(path))
    assert isinstance(source, ModelSource), source
    return loading.load_stable_diffusion_1(source, precision)


def parts_of(adapter):
    return {"unet": adapter._unet, "vae": adapter._vae, "text_encoder": adapter._text_encoder}


def assert_weights(adapter, models, file_dtype=torch.float32, precision=FULL):
    compared = 0
    for part, model in parts_of(adapter).items():
        expected = models[part].state_dict()
        loaded = model.state_dict()
        assert loaded.keys() == expected.keys()
        dtype = precision.vae if part == "vae" else precision.weights
        for name, value in loaded.items():
            assert value.dtype == dtype, name
            assert torch.equal(value, expected[name].to(file_dtype).to(dtype)), name
        compared += len(loaded)
    assert compared == 684 + 180 + 36
