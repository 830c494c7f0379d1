"""Two readings of the file format agree: that of our kinds, and one written from the format's tables alone."""

import pytest
import torch
from torch import nn

from library.errors import UserError
from networks.files.layer_deltas import changes_in
from tests.networks.files.independent_reader import bias_change, changed_weight
from tests.networks.files.random_files import every_form, file_of, normal

LAYERS = {
    "linear": ("lora_unet_mid_block_attentions_0_transformer_blocks_0_ff_net_2", nn.Linear(12, 8)),
    "3x3": ("lora_unet_mid_block_resnets_0_conv1", nn.Conv2d(12, 8, 3, padding=1)),
    "1x1": ("lora_unet_mid_block_attentions_0_proj_in", nn.Conv2d(12, 8, 1)),
}
FORMS = {kind: list(every_form(layer)) for kind, (_, layer) in LAYERS.items()}
CASES = [(kind, form) for kind, forms in FORMS.items() for form in forms]
NEEDS_BASE = ("dora", "oft", "boft", "glora", "ia3")


def test_number_of_cases():
    assert {kind: len(forms) for kind, forms in FORMS.items()} == {"linear": 24, "3x3": 27, "1x1": 24}


@pytest.mark.parametrize(("kind", "form"), CASES)
def test_with_the_base_model(kind, form):
    name, layer = LAYERS[kind]
    tensors = every_form(layer)[form]
    ((found, weight, bias),) = changes_in(file_of({name: tensors}), {name: layer})
    assert found == name
    base = layer.weight.detach()
    expected = torch.from_numpy(changed_weight(base, tensors))
    assert (expected - base).abs().max() > 1e-3
    torch.testing.assert_close(base.double() + weight, expected, rtol=1e-5, atol=1e-5)
    expected_bias = bias_change(tensors)
    assert (bias is None) == (expected_bias is None)
    if bias is not None:
        torch.testing.assert_close(bias.double(), torch.from_numpy(expected_bias))


@pytest.mark.parametrize(("kind", "form"), CASES)
def test_without_the_base_model(kind, form):
    name, layer = LAYERS[kind]
    file = file_of({name: every_form(layer)[form]})
    if any(word in form for word in NEEDS_BASE):
        with pytest.raises(UserError, match=f"{name} depends on the model's weights: give it with --base"):
            changes_in(file)
        return
    ((_, weight, bias),) = changes_in(file)
    ((_, expected, expected_bias),) = changes_in(file, {name: layer})
    assert torch.equal(weight, expected)
    assert (bias is None and expected_bias is None) or torch.equal(bias, expected_bias)


@pytest.mark.parametrize("with_base", [True, False])
def test_norm_layers(with_base):
    layer = nn.LayerNorm(8)
    tensors = {"w_norm": normal(8), "b_norm": normal(8, seed=1)}
    ((_, weight, bias),) = changes_in(file_of({"norm": tensors}), {"norm": layer} if with_base else None)
    torch.testing.assert_close(layer.weight.double() + weight, torch.from_numpy(changed_weight(layer.weight, tensors)))
    assert torch.equal(bias, tensors["b_norm"])


def test_half_precision_is_computed_in_float32():
    name, layer = LAYERS["linear"]
    tensors = {suffix: tensor.half() for suffix, tensor in every_form(layer)["lora"].items()}
    ((_, weight, _),) = changes_in(file_of({name: tensors}))
    assert weight.dtype == torch.float32
    expected = torch.from_numpy(changed_weight(torch.zeros(8, 12), tensors))
    torch.testing.assert_close(weight.double(), expected, rtol=1e-6, atol=1e-6)


def test_layers_that_the_base_model_lacks():
    name, layer = LAYERS["linear"]
    with pytest.raises(UserError, match=rf"--base: the model has no layers named {name}"):
        changes_in(file_of({name: every_form(layer)["lora"]}), {})


def test_tensors_of_no_kind():
    with pytest.raises(UserError, match="lora_unet_x are of no kind"):
        changes_in({"lora_unet_x.strange": normal(1)})
