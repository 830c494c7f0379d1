"""LoRAs by diffusers' names: diffusers computes with them what their tensors say."""

import logging

import pytest
import torch
from torch import nn

from library.errors import UserError
from library.models.family import SD1, SD2, SDXL
from networks.files.key_dialects import to_own_names
from networks.files.layer_names import UNET, diffusers_path, part_of
from networks.files.peft_format import to_peft
from networks.kinds.catalogue import tensors_by_layer
from networks.targeting.targets import find_all
from tests.models.tiny_families import tiny_adapter_of, tiny_pipeline_of
from tests.networks.files.independent_reader import changed_weight
from tests.networks.files.random_files import RANK, dora_of, file_of, lora_of, normal

FAMILIES = {"SD 1.x": SD1, "SD 2.x": SD2, "SDXL": SDXL}


def layers_of(family) -> dict[str, nn.Module]:
    """Every linear layer and convolution of the tiny model, by our names."""
    views = tiny_adapter_of(family).views()
    targets = find_all(views.text_encoders_as_kohya(), views.unet)
    return {target.name: target.layer for target in targets if isinstance(target.layer, nn.Linear | nn.Conv2d)}


def merged_by_diffusers(family, tensors, monkeypatch, caplog):
    pipeline = tiny_pipeline_of(family)
    monkeypatch.setattr(logging.getLogger("diffusers"), "propagate", True)
    with caplog.at_level(logging.INFO, logger="diffusers"):
        pipeline.load_lora_weights({name: tensor.clone() for name, tensor in tensors.items()})
    told = [record.message for record in caplog.records if "key" in record.message.lower()]
    assert all(message.startswith("No LoRA keys associated to CLIP") for message in told)
    assert bool(told) is not any(name.startswith("text_encoder.") for name in tensors)
    pipeline.fuse_lora()
    pipeline.unload_lora_weights()
    return pipeline


def weight_in(pipeline, name: str) -> torch.Tensor:
    part, _, path = diffusers_path(name).partition(".")
    root = getattr(pipeline, part)
    if part != UNET and not hasattr(root, "text_model"):
        path = path.removeprefix("text_model.")
    return root.get_submodule(path).weight.detach()


def assert_merged_alike(pipeline, layers, tensors):
    changes = []
    for name, of_layer in tensors_by_layer(tensors).items():
        base, merged = layers[name].weight.detach(), weight_in(pipeline, name)
        expected = torch.from_numpy(changed_weight(base, of_layer))
        torch.testing.assert_close(merged.double().view(expected.shape), expected, rtol=1e-5, atol=1e-6)
        changes.append((expected - base).abs().max())
    assert min(changes) > 0.01


@pytest.mark.parametrize("family", FAMILIES)
def test_lora_in_diffusers(family, monkeypatch, caplog):
    layers = layers_of(FAMILIES[family])
    assert len(layers) == (288 if family == "SDXL" else 293)
    tensors = file_of({name: lora_of(layer, number) for number, (name, layer) in enumerate(layers.items())})
    converted = to_peft(tensors, linear_projections=family == "SD 2.x")
    assert len(converted) == 2 * len(layers)
    assert_merged_alike(merged_by_diffusers(FAMILIES[family], converted, monkeypatch, caplog), layers, tensors)


@pytest.mark.parametrize("family", FAMILIES)
def test_layers_of_different_ranks_in_diffusers(family, monkeypatch, caplog):
    layers = layers_of(FAMILIES[family])
    tensors = file_of(
        {name: lora_of(layer, number, rank=1 + number % 3) for number, (name, layer) in enumerate(layers.items())}
    )
    converted = to_peft(tensors, linear_projections=family == "SD 2.x")
    assert_merged_alike(merged_by_diffusers(FAMILIES[family], converted, monkeypatch, caplog), layers, tensors)


@pytest.mark.parametrize("family", FAMILIES)
def test_dora_per_output_in_diffusers(family, monkeypatch, caplog):
    layers = {name: layer for name, layer in layers_of(FAMILIES[family]).items() if part_of(name) == UNET}
    tensors = file_of({name: dora_of(layer, False, number) for number, (name, layer) in enumerate(layers.items())})
    converted = to_peft(tensors, linear_projections=family == "SD 2.x")
    assert len(converted) == 3 * len(layers)
    assert_merged_alike(merged_by_diffusers(FAMILIES[family], converted, monkeypatch, caplog), layers, tensors)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("family", FAMILIES)
def test_there_and_back(family, dtype):
    """Everything but alpha, which is multiplied in, is the same to the bit."""
    layers = layers_of(FAMILIES[family])
    tensors = file_of(
        {
            name: dora_of(layer, False, number) if part_of(name) == UNET else lora_of(layer, number)
            for number, (name, layer) in enumerate(layers.items())
        }
    )
    tensors = {name: tensor.to(dtype) for name, tensor in tensors.items()}
    back, report = to_own_names(to_peft(tensors, linear_projections=family == "SD 2.x"), layers)
    assert report.unknown == ()
    assert back.keys() == tensors.keys()
    for key, tensor in tensors.items():
        if key.endswith(".alpha"):
            assert back[key].item() == RANK
        elif key.endswith(".lora_up.weight"):
            assert torch.equal(back[key], tensor * 0.5)
        else:
            assert torch.equal(back[key], tensor), key


@pytest.mark.parametrize("kept", ["_mlp_fc1", "_self_attn_q_proj"])
def test_a_few_layers_of_text_encoders_in_diffusers(kept, monkeypatch, caplog):
    """diffusers tells the names of a text encoder's tensors by those of its attention, which may be missing."""
    layers = {name: layer for name, layer in layers_of(SDXL).items() if name.endswith((kept, "_attn2_to_k"))}
    assert {part_of(name) for name in layers} == {"unet", "text_encoder", "text_encoder_2"}
    tensors = file_of({name: lora_of(layer, number) for number, (name, layer) in enumerate(layers.items())})
    converted = to_peft(tensors)
    assert_merged_alike(merged_by_diffusers(SDXL, converted, monkeypatch, caplog), layers, tensors)
    assert to_own_names(converted, layers)[0].keys() == tensors.keys()


LAYER = "lora_unet_mid_block_attentions_0_proj_in"
TEXT_LAYER = "lora_te_text_model_encoder_layers_0_mlp_fc1"


@pytest.mark.parametrize(
    ("layer", "named"),
    [
        ({"hada_w1_a": normal(2, 2), "hada_w1_b": normal(2, 2)}, r"LoHa \(1\)"),
        ({"lokr_w1": normal(2, 2), "lokr_w2": normal(2, 2)}, r"LoKr \(1\)"),
        ({"oft_blocks": normal(2, 2, 2)}, r"OFT \(1\)"),
        ({"weight": normal(2)}, r"\(IA\)\^3 \(1\)"),
        ({"diff": normal(2, 2)}, r"full difference \(1\)"),
        ({"a1.weight": normal(2, 2)}, r"GLoRA \(1\)"),
        ({**lora_of(nn.Conv2d(4, 4, 3)), "lora_mid.weight": normal(4, 4, 3, 3)}, r"LoCon in tucker form \(1\)"),
        (dora_of(nn.Linear(4, 6), per_input=True), r"DoRA per input \(1\)"),
    ],
)
def test_what_has_no_such_form(layer, named):
    with pytest.raises(UserError, match=f"have no form for {named}; make a plain LoRA"):
        to_peft(file_of({LAYER: layer}))


def test_magnitudes_of_text_encoders():
    with pytest.raises(UserError, match="does not load the magnitudes of DoRA in text encoders"):
        to_peft(file_of({TEXT_LAYER: dora_of(nn.Linear(4, 6), per_input=False)}))


def test_dora_in_a_part_of_the_unet():
    other = "lora_unet_mid_block_attentions_0_proj_out"
    layers = {LAYER: dora_of(nn.Linear(4, 6), per_input=False), other: lora_of(nn.Linear(4, 6))}
    with pytest.raises(UserError, match=f"'{other}' has no magnitudes"):
        to_peft(file_of(layers))


def test_foreign_layers():
    with pytest.raises(UserError, match="no layer of the model: lora_transformer_x"):
        to_peft(file_of({"lora_transformer_x": lora_of(nn.Linear(4, 6))}))
