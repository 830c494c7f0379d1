"""(IA)^3 against its definition in files and LyCORIS."""

import lycoris.modules.ia3
import pytest
import torch
from torch import nn

from library.errors import UserError
from networks.arguments.kinds import IA3Arguments
from networks.kinds.ia3 import IA3Layer
from networks.targeting.targets import LayerSize, Target
from tests.networks.files.independent_reader import changed_weight
from tests.networks.kinds.changed_layers import (
    INPUTS,
    OUTPUTS,
    check_by_finite_differences,
    check_every_way_of_computing,
    check_gradients,
    check_nothing_changes_at_the_start,
    check_weights_in_eight_bits,
    close,
    every_layer,
    frozen_layer,
    gradients,
    hooked,
    input_for,
    surviving_fraction,
    train,
)

either_side = pytest.mark.parametrize("on_input", [False, True], ids=["outputs", "inputs"])


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(11)
        yield


def maker(on_input: bool):
    return lambda layer: IA3Layer("some_layer", layer, on_input)


@every_layer
@either_side
def test_every_way_of_computing_agrees(layer_name, on_input):
    layer = frozen_layer(layer_name)
    check_every_way_of_computing(maker(on_input), layer, input_for(layer), 2e-6)


@every_layer
@either_side
def test_gradients_are_those_of_the_merged_layer(layer_name, on_input):
    layer = frozen_layer(layer_name)
    check_gradients(maker(on_input), layer, input_for(layer), 1e-5)


@every_layer
@either_side
def test_gradients_by_finite_differences(layer_name, on_input):
    check_by_finite_differences(maker(on_input), frozen_layer(layer_name, torch.float64))


@every_layer
@either_side
def test_weights_in_eight_bits(layer_name, on_input):
    layer = frozen_layer(layer_name)
    check_weights_in_eight_bits(maker(on_input), layer, input_for(layer), 1e-5)


@every_layer
@either_side
def test_nothing_changes_at_the_start(layer_name, on_input):
    check_nothing_changes_at_the_start(maker(on_input), frozen_layer(layer_name))


@every_layer
@either_side
def test_outputs_gradients_and_tensors_are_those_of_lycoris(layer_name, on_input):
    layer = frozen_layer(layer_name)
    theirs = lycoris.modules.ia3.IA3Module("some_layer", layer, train_on_input=on_input)
    ours = train(maker(on_input)(layer))
    assert {name: tensor.shape for name, tensor in ours.file_tensors().items()} == {
        name: tensor.shape for name, tensor in theirs.state_dict().items()
    }
    theirs.load_state_dict(ours.file_tensors())
    x = input_for(layer).requires_grad_()
    expected = theirs(x)
    expected_gradients = gradients(expected, x, [theirs.weight])
    hooked(ours)
    close(layer(x), expected, 1e-5)
    for first, second in zip(gradients(layer(x), x, [ours.weight]), expected_gradients, strict=True):
        close(first, second, 1e-5)


@every_layer
@either_side
def test_a_file_means_what_was_trained(layer_name, on_input):
    layer = frozen_layer(layer_name)
    ours = train(maker(on_input)(layer))
    expected = torch.from_numpy(changed_weight(layer.weight, ours.file_tensors())).float()
    close((layer.weight + ours.delta_weight()).detach(), expected, 1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("spatial", [True, False])
@either_side
def test_small_changes_survive_half_precision(dtype, spatial, on_input):
    layer = nn.Conv2d(64, 64, 3, padding=1) if spatial else nn.Linear(256, 256)
    assert surviving_fraction(maker(on_input), 1e-3, dtype, True, layer) == pytest.approx(1, abs=0.03)


@either_side
def test_gradients_in_half_precision(on_input):
    layer = frozen_layer("linear")
    ours = hooked(train(maker(on_input)(layer)))
    x = input_for(layer).requires_grad_()
    exact = gradients(ours.reference_output(x), x, [ours.weight])
    with torch.autocast("cpu", torch.bfloat16):
        output = layer(x)
    for first, second in zip(gradients(output, x, [ours.weight]), exact, strict=True):
        assert (first - second).norm() / second.norm() < 0.02


@pytest.mark.parametrize(
    ("path", "arguments", "on_input"),
    [
        ("up_blocks.1.attentions.0.transformer_blocks.0.attn1.to_k", {}, False),
        ("up_blocks.1.attentions.0.transformer_blocks.0.ff.net.2", {}, True),
        ("up_blocks.1.attentions.0.transformer_blocks.0.ff.net.0.proj", {}, False),
        ("text_model.encoder.layers.0.mlp.fc2", {}, True),
        ("text_model.encoder.layers.0.self_attn.v_proj", {}, False),
        ("text_model.encoder.layers.0.mlp.fc2", {"train_on_input": False}, False),
        ("up_blocks.1.attentions.0.transformer_blocks.0.attn1.to_k", {"train_on_input": True}, True),
    ],
)
def test_inputs_are_scaled_where_feed_forward_blocks_end(path, arguments, on_input):
    target = Target("lora_unet_x", frozen_layer("linear"), path, "unet")
    ours = IA3Layer.build(target, LayerSize(4, 4.0), IA3Arguments(**arguments), 1.0)
    assert ours.on_input.item() == on_input
    assert ours.weight.shape == ((INPUTS,) if on_input else (OUTPUTS,))


def test_a_file_in_half_precision():
    layer = frozen_layer("linear")
    tensors = {"weight": torch.ones(INPUTS).bfloat16(), "on_input": torch.tensor(1.0).bfloat16()}
    ours = IA3Layer.from_tensors("some_layer", layer, tensors)
    assert (ours.weight.dtype, ours.on_input.item()) == (torch.float32, 1)
    close(ours.delta_weight(), layer.weight, 1e-6)


def test_a_file_that_scales_the_other_side():
    layer = nn.Linear(INPUTS, INPUTS)
    file = maker(True)(layer).file_tensors()
    with pytest.raises(UserError, match="the file scales inputs, the network outputs"):
        maker(False)(layer).load_tensors(file)
    with pytest.raises(UserError, match=r"some_layer\.weight: 12 instead of 6"):
        maker(True)(layer).load_tensors(file | {"weight": torch.zeros(12)})


def test_norm_limit_scales_the_change():
    ours = train(maker(False)(frozen_layer("linear")))
    change = ours.delta_weight().detach()
    assert ours.delta_norm().item() == pytest.approx(change.norm().item())
    with torch.no_grad():
        ours.shrink(torch.tensor(0.25))
    close(ours.delta_weight(), 0.25 * change, 1e-6)
