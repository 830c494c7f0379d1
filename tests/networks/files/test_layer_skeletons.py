"""The shape of a layer's weight, told by what a file holds for it, for every layer of the real models."""

import pytest
import torch
from torch import nn

from networks.files.layer_skeletons import skeleton_of
from networks.kinds.catalogue import tensors_by_layer
from tests.golden.tables import table

COUNTS = {"sd15": 278, "sd21": 278, "sdxl": 788}


def unet_of(family: str) -> dict[str, dict[str, torch.Tensor]]:
    """The LoRA tensors, without content, of all layers of the U-Net that kohya's tool adapts."""
    variants = [variant for variant in table(f"lora_keys_{family}")["variants"] if variant["train_unet"]]
    largest = max(variants, key=lambda variant: variant["tensor_count"])
    tensors = {key: torch.empty(shape, device="meta") for key, shape in largest["tensors"]}
    return {name: layer for name, layer in tensors_by_layer(tensors).items() if name.startswith("lora_unet_")}


@pytest.mark.parametrize("family", COUNTS)
def test_flattened_factors_of_every_layer(family):
    """The names alone tell which of them are convolutions, and how large their kernels are."""
    layers = unet_of(family)
    assert len(layers) == COUNTS[family]
    for name, lora in layers.items():
        expected = skeleton_of(name, lora)
        out, *rest = expected.weight.shape
        columns = expected.weight[0].numel()
        factors = {"hada_w1_a": torch.empty(out, 2), "hada_w1_b": torch.empty(2, columns)}
        found = skeleton_of(name, factors)
        assert type(found) is type(expected), name
        assert tuple(found.weight.shape) == (out, *rest), name


@pytest.mark.parametrize(
    ("name", "kernel"),
    [
        ("lora_unet_conv_in", (3, 3)),
        ("lora_unet_conv_out", (3, 3)),
        ("lora_unet_input_blocks_0_0", (3, 3)),
        ("lora_unet_out_2", (3, 3)),
        ("lora_unet_time_embedding_linear_1", ()),
        ("lora_unet_time_embed_0", ()),
        ("lora_unet_label_emb_0_0", ()),
        ("lora_te_text_model_encoder_layers_0_self_attn_out_proj", ()),
    ],
)
def test_layers_that_only_others_adapt(name, kernel):
    found = skeleton_of(name, {"hada_w1_a": torch.empty(4, 2), "hada_w1_b": torch.empty(2, 36)})
    assert found.weight.shape[2:] == kernel


def test_what_does_not_tell():
    assert skeleton_of("lora_unet_conv_in", {"oft_blocks": torch.empty(2, 4, 4)}) is None


def test_norms():
    found = skeleton_of("lora_unet_mid_block_resnets_0_norm1", {"w_norm": torch.empty(8)})
    assert isinstance(found, nn.LayerNorm)
    assert found.weight.shape == (8,)
