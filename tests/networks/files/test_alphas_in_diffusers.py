"""LoRAs with kohya's names, as diffusers loads them: where their alphas differ, it gets some layers wrong."""

import pytest
import torch
from torch import nn

from library.models.family import SD1
from networks.files.client_support import Form, forms_in
from networks.files.layer_names import diffusers_path
from networks.files.plain_forms import RankChoice, to_plain_lora
from networks.kinds.catalogue import tensors_by_layer
from networks.targeting.targets import find_all
from tests.models.tiny_families import tiny_adapter_of, tiny_pipeline_of
from tests.networks.files.random_files import file_of, lora_of, normal


@pytest.fixture(scope="module")
def layers():
    views = tiny_adapter_of(SD1).views()
    targets = find_all(views.text_encoders_as_kohya(), views.unet)
    marks = ("attn1_to_", "ff_net_2", "self_attn_", "mlp_fc1")
    return {target.name: target.layer for target in targets if any(mark in target.name for mark in marks)}


def wrong_in_diffusers(tensors) -> set[str]:
    """Layers whose change is another than the file's."""
    pipeline = tiny_pipeline_of(SD1)
    pipeline.load_lora_weights(dict(tensors))
    wrong = set()
    for name, layer in tensors_by_layer(tensors).items():
        part, _, path = diffusers_path(name).partition(".")
        root = getattr(pipeline, part)
        if part != "unet" and not hasattr(root, "text_model"):
            path = path.removeprefix("text_model.")
        found = root.get_submodule(path).get_delta_weight("default_0")
        down, up = layer["lora_down.weight"], layer["lora_up.weight"]
        if not torch.allclose(
            found.flatten(1), layer["alpha"] / len(down) * up.flatten(1) @ down.flatten(1), rtol=1e-4, atol=1e-5
        ):
            wrong.add(name)
    return wrong


def test_different_alphas(layers):
    alphas = {name: 1.0 if number % 3 == 0 else 4.0 for number, name in enumerate(layers)}
    tensors = file_of(
        {name: lora_of(layer, number, alpha=alphas[name]) for number, (name, layer) in enumerate(layers.items())}
    )
    wrong = wrong_in_diffusers(tensors)
    assert len(wrong) > 10
    assert len(wrong) == forms_in(tensors)[Form.LORA_ALPHAS]


def test_plain_loras_of_different_ranks(layers):
    changes = []
    for number, (name, layer) in enumerate(layers.items()):
        assert isinstance(layer, nn.Linear)
        rank = 1 + number % 4
        changes.append((name, normal(layer.out_features, rank, seed=number) @ normal(rank, layer.in_features), None))
    tensors = to_plain_lora(changes, RankChoice(8, 8)).tensors
    assert {len(layer["lora_down.weight"]) for layer in tensors_by_layer(tensors).values()} == {1, 2, 3, 4}
    assert wrong_in_diffusers(tensors) == set()
