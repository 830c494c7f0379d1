"""Loads a model as the command does, and compares it with the one it was made of."""

from pathlib import Path

import torch
from torch import nn

from library.errors import UserError
from library.models.adapter_loading import load_model
from library.models.family import SD1, SD2, ModelFamily
from library.models.inspection import check_identity, inspect_model
from library.models.latent_diffusion_model import LatentDiffusionModel
from library.models.model_parts import ModelPrecision, ModelRequest
from library.models.model_source import MODEL_OPTION, ModelSource, find_model, find_vae

OPTION = "--pretrained_model_name_or_path"
FULL = ModelPrecision(torch.float32, torch.float32)


def load(
    path: Path,
    precision: ModelPrecision = FULL,
    family: ModelFamily = SD1,
    vae: Path | None = None,
    use_mmap: bool = True,
) -> LatentDiffusionModel:
    return load_model(request_for(path, precision, family, vae, use_mmap))


def check_and_load(path: Path) -> LatentDiffusionModel:
    """An SD 1.x model, as train_network.py without further options does.

    Raises:
        UserError: the model is refused, before or while it is loaded.
    """
    identity = inspect_model(request_for(path).source, MODEL_OPTION)
    problems, _ = check_identity(
        identity,
        str(path),
        (SD1, SD2),
        v2=False,
        v_parameterization=False,
        zero_terminal_snr=False,
        given=frozenset(),
        has_separate_vae=False,
    )
    if problems:
        raise UserError(problems)
    return load(path)


def request_for(
    path: Path,
    precision: ModelPrecision = FULL,
    family: ModelFamily = SD1,
    vae: Path | None = None,
    use_mmap: bool = True,
) -> ModelRequest:
    source = find_model(str(path))
    assert isinstance(source, ModelSource), source
    vae_source = None if vae is None else find_vae(str(vae))
    assert not isinstance(vae_source, str), vae_source
    return ModelRequest(source, family, precision, vae=vae_source, use_mmap=use_mmap)


def parts_of(adapter: LatentDiffusionModel) -> dict[str, nn.Module]:
    encoders = zip(("text_encoder", "text_encoder_2"), adapter.text_encoders(), strict=False)
    return {"unet": adapter._unet, "vae": adapter._codec.vae} | dict(encoders)


def assert_weights(adapter, models, file_dtype=torch.float32, precision=FULL, count=684 + 180 + 36):
    """
    Args:
        count: of the tensors in all models together.
    """
    parts = parts_of(adapter)
    assert parts.keys() == models.keys()
    compared = 0
    for part, model in parts.items():
        expected = models[part].state_dict()
        loaded = model.state_dict()
        assert loaded.keys() == expected.keys()
        dtype = precision.vae if part == "vae" else precision.weights
        for name, value in loaded.items():
            assert value.dtype == dtype, name
            assert torch.equal(value, expected[name].to(file_dtype).to(dtype)), name
        compared += len(loaded)
    assert compared == count
