"""BOFT against its definition in files and LyCORIS."""

import lycoris.modules.boft
import pytest
import torch
from torch import nn

from library.errors import UserError
from networks.arguments.kinds import BOFTArguments
from networks.kinds.boft import BOFTLayer
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

LENGTH = 6
SHAPE = (2, 2, LENGTH, LENGTH)
LIMITING = 0.05
SETTINGS = {
    "plain": {},
    "limited": {"constraint": LIMITING},
    "rescaled": {"rescaled": True},
    "limited and rescaled": {"constraint": LIMITING, "rescaled": True},
}
every_setting = pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(11)
        yield


def make(layer: nn.Module, **settings) -> BOFTLayer:
    return BOFTLayer("some_layer", layer, SHAPE, **settings)


def built(outputs, rank, **arguments) -> BOFTLayer:
    layer = nn.Linear(INPUTS, outputs)
    target = Target("lora_unet_some_to_q", layer, "some.to_q", "unet")
    return BOFTLayer.build(target, LayerSize(rank, 1.0), BOFTArguments(**arguments), 1.0)


def few_values_for(layer: nn.Module) -> torch.Tensor:
    """Of which the outputs are fewer than the layer's weights, so that they are rotated and not the weights."""
    return input_for(layer)[:1, ..., :2, :] if isinstance(layer, nn.Linear) else input_for(layer)[:1, :, :2, :2]


@every_layer
@every_setting
@pytest.mark.parametrize("values_for", [input_for, few_values_for])
def test_every_way_of_computing_agrees(layer_name, settings, values_for):
    layer = frozen_layer(layer_name)
    check_every_way_of_computing(lambda layer: make(layer, **settings), layer, values_for(layer), 2e-6)


@every_layer
@every_setting
@pytest.mark.parametrize("values_for", [input_for, few_values_for])
def test_gradients_are_those_of_the_merged_layer(layer_name, settings, values_for):
    layer = frozen_layer(layer_name)
    check_gradients(lambda layer: make(layer, **settings), layer, values_for(layer), 1e-5)


@pytest.mark.parametrize("layer_name", ["linear", "1x1 convolution"])
def test_the_smaller_of_weights_and_outputs_is_rotated(layer_name):
    layer = frozen_layer(layer_name)
    assert make(layer).changes_weight(input_for(layer))
    assert not make(layer).changes_weight(few_values_for(layer))


@every_layer
def test_gradients_by_finite_differences(layer_name):
    settings = SETTINGS["limited and rescaled"]
    check_by_finite_differences(lambda layer: make(layer, **settings), frozen_layer(layer_name, torch.float64))


@every_layer
def test_weights_in_eight_bits(layer_name):
    layer = frozen_layer(layer_name)
    check_weights_in_eight_bits(make, layer, input_for(layer), 1e-5)


@every_layer
@every_setting
def test_nothing_changes_at_the_start(layer_name, settings):
    check_nothing_changes_at_the_start(lambda layer: make(layer, **settings), frozen_layer(layer_name))


@pytest.mark.parametrize(("outputs", "length", "stages"), [(12, 6, 2), (12, 12, 1), (48, 6, 4), (64, 2, 6)])
@every_setting
def test_outputs_and_gradients_are_those_of_lycoris(outputs, length, stages, settings):
    layer = nn.Linear(INPUTS, outputs).requires_grad_(False)
    theirs = lycoris.modules.boft.ButterflyOFTModule("some_layer", layer, lora_dim=length, **settings)
    shape = (stages, outputs // length, length, length)
    assert theirs.oft_blocks.shape == shape
    ours = train(BOFTLayer("some_layer", layer, shape, **settings))
    theirs.load_state_dict(ours.state_dict(), strict=False)
    x = input_for(layer).requires_grad_()
    names = [name for name, _ in ours.named_parameters()]
    expected = theirs(x)
    expected_gradients = gradients(expected, x, [dict(theirs.named_parameters())[name] for name in names])
    hooked(ours)
    close(layer(x), expected, 1e-5)
    for first, second in zip(gradients(layer(x), x, ours.parameters()), expected_gradients, strict=True):
        close(first, second, 1e-5)


@every_layer
def test_convolutions_are_those_of_lycoris(layer_name):
    layer = frozen_layer(layer_name)
    theirs = lycoris.modules.boft.ButterflyOFTModule("some_layer", layer, lora_dim=LENGTH)
    ours = train(make(layer))
    theirs.load_state_dict(ours.state_dict(), strict=False)
    x = input_for(layer)
    expected = theirs(x)
    hooked(ours)
    close(layer(x), expected, 1e-5)


@every_layer
@every_setting
def test_programs_that_know_no_limit_read_what_was_trained(layer_name, settings):
    layer = frozen_layer(layer_name)
    ours = train(make(layer, **settings))
    tensors = ours.file_tensors()
    assert tensors["alpha"].item() == 0
    expected = torch.from_numpy(changed_weight(layer.weight, tensors)).float()
    close((layer.weight + ours.delta_weight()).detach(), expected, 1e-6)


def test_the_change_is_a_rotation_that_reaches_every_pair_of_outputs():
    layer = nn.Linear(48, 48, bias=False)
    layer.weight.data = torch.eye(48)
    ours = train(BOFTLayer("some_layer", layer, (4, 8, 6, 6)))
    rotation = torch.eye(48) + ours.delta_weight()
    close(rotation @ rotation.T, torch.eye(48), 1e-5)
    assert rotation.detach().abs().min() > 0


def test_small_rotations_are_exact():
    layer = frozen_layer("linear")
    ours = train(make(layer), 1e-6)
    exact = make(layer).double()
    exact.load_tensors(ours.file_tensors())
    error = (ours.delta_weight() - exact.delta_weight()).norm() / exact.delta_weight().norm()
    assert error < 1e-6


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", ["linear", "linear with more inputs than rows", "convolution"])
def test_small_changes_survive_half_precision(dtype, kind):
    layer = {
        "linear": nn.Linear(256, 256),
        "linear with more inputs than rows": nn.Linear(4200, 64),
        "convolution": nn.Conv2d(64, 64, 3, padding=1),
    }[kind]
    length = len(layer.weight) // 8
    shape = (4, 8, length, length)
    fraction = surviving_fraction(lambda layer: BOFTLayer("some_layer", layer, shape), 1e-4, dtype, True, layer)
    assert fraction == pytest.approx(1, abs=0.03)


def test_gradients_in_half_precision():
    layer = frozen_layer("linear")
    ours = hooked(train(make(layer, rescaled=True)))
    x = input_for(layer).requires_grad_()
    exact = gradients(ours.reference_output(x), x, ours.parameters())
    with torch.autocast("cpu", torch.bfloat16):
        output = layer(x)
    for first, second in zip(gradients(output, x, ours.parameters()), exact, strict=True):
        assert (first - second).norm() / second.norm() < 0.02


@pytest.mark.parametrize(
    ("outputs", "rank", "shape"),
    [
        (320, 10, (6, 32, 10, 10)),
        (320, 39, (5, 16, 20, 20)),
        (1280, 16, (8, 128, 10, 10)),
        (768, 16, (7, 64, 12, 12)),
        (12, 99, (1, 1, 12, 12)),
    ],
)
def test_blocks_are_as_large_as_network_dim_allows(outputs, rank, shape):
    """The shapes are those that LyCORIS makes."""
    assert built(outputs, rank).oft_blocks.shape == shape
    theirs = lycoris.modules.boft.ButterflyOFTModule("x", nn.Linear(INPUTS, outputs), lora_dim=rank)
    assert theirs.oft_blocks.shape == shape


def test_a_network_dim_that_is_too_small_is_named_with_what_fits():
    with pytest.raises(UserError) as error:
        built(outputs=320, rank=8)
    assert "--network_dim 8: smaller than the smallest blocks of " in str(error.value)
    assert "; give at least 10, which is enough for all layers" in str(error.value)
    with pytest.raises(UserError, match="an odd number of outputs cannot be rotated"):
        built(outputs=15, rank=8)


def test_one_problem_with_what_is_enough_for_all_layers():
    sizes = [
        (Target(f"layer_{width}", nn.Linear(2, width), "", "unet"), LayerSize(4, 1.0)) for width in (768, 320, 64, 640)
    ]
    with pytest.raises(UserError) as error:
        BOFTLayer.check_sizes(sizes, BOFTArguments())
    (problem,) = error.value.problems
    assert problem == (
        "--network_dim 4: smaller than the smallest blocks of layer_768, layer_320, layer_640; give at least 10, which "
        "is enough for all layers"
    )


def test_arguments():
    ours = built(OUTPUTS, LENGTH)
    assert (ours.oft_blocks.shape, ours.constraint, ours.rescale) == (SHAPE, 0, None)
    ours = built(OUTPUTS, LENGTH, constraint=LIMITING, rescaled=True)
    assert (ours.constraint, ours.rescale.shape) == (LIMITING, (OUTPUTS, 1))


@pytest.mark.parametrize("shape", [(2, 2, 6, 5), (2, 3, 4, 4), (3, 2, 6, 6), (3, 4, 3, 3)])
def test_tensors_that_do_not_fit(shape):
    with pytest.raises(UserError, match="does not fit a layer with 12 outputs"):
        BOFTLayer.from_tensors("some_layer", frozen_layer("linear"), {"oft_blocks": torch.zeros(shape)})


def test_files_of_oft_are_not_of_this_kind():
    assert BOFTLayer.recognises({"oft_blocks": torch.zeros(SHAPE)})
    assert not BOFTLayer.recognises({"oft_blocks": torch.zeros(SHAPE[1:])})
