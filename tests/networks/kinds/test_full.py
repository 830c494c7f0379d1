"""Full differences against the merged layer and LyCORIS."""

import lycoris.modules.full
import pytest
import torch
from torch import nn

from library.errors import UserError
from networks.arguments.kinds import FullArguments
from networks.kinds.full import FullLayer
from networks.targeting.targets import LayerSize, Target
from tests.networks.kinds.changed_layers import (
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


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(11)
        yield


def make(layer: nn.Module) -> FullLayer:
    target = Target("some_layer", layer, "some_layer", "unet")
    return FullLayer.build(target, LayerSize(4, 4.0), FullArguments(), 1.0)


@every_layer
def test_every_way_of_computing_agrees(layer_name):
    layer = frozen_layer(layer_name)
    check_every_way_of_computing(make, layer, input_for(layer), 2e-6)


@every_layer
def test_gradients_are_those_of_the_merged_layer(layer_name):
    layer = frozen_layer(layer_name)
    check_gradients(make, layer, input_for(layer), 1e-5)


@every_layer
@pytest.mark.parametrize("strength", [1.0, 0.6])
def test_gradients_by_finite_differences(layer_name, strength):
    def with_strength(layer: nn.Module) -> FullLayer:
        adapter = make(layer)
        adapter.multiplier = strength
        return adapter

    check_by_finite_differences(with_strength, frozen_layer(layer_name, torch.float64))


@every_layer
def test_weights_in_eight_bits(layer_name):
    layer = frozen_layer(layer_name)
    check_weights_in_eight_bits(make, layer, input_for(layer), 1e-5)


@every_layer
def test_nothing_changes_at_the_start(layer_name):
    check_nothing_changes_at_the_start(make, frozen_layer(layer_name))


@every_layer
def test_outputs_and_gradients_are_those_of_lycoris(layer_name):
    layer = frozen_layer(layer_name)
    theirs = lycoris.modules.full.FullModule("some_layer", layer)
    ours = train(make(layer))
    names = {"diff": "weight", "diff_b": "bias"}
    theirs.load_state_dict(ours.file_tensors())
    x = input_for(layer).requires_grad_()
    expected = theirs(x)
    expected_gradients = gradients(expected, x, [getattr(theirs, names[name]) for name, _ in ours.named_parameters()])
    hooked(ours)
    close(layer(x), expected, 1e-5)
    for first, second in zip(gradients(layer(x), x, ours.parameters()), expected_gradients, strict=True):
        close(first, second, 1e-5)


@pytest.mark.parametrize("layer_name", ["linear", "3x3 convolution with stride 2"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_nothing_of_the_weights_size_is_kept_for_the_backward_pass(layer_name, dtype):
    layer = frozen_layer(layer_name).to(dtype)
    ours = hooked(train(make(layer)))
    kept = []
    x = input_for(layer, dtype).requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        layer(x)
    existing = {layer.weight.data_ptr(), ours.diff.data_ptr(), x.data_ptr()}
    assert len(kept) >= 3
    assert {tensor.data_ptr() for tensor in kept} == existing


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("spatial", [True, False])
def test_small_changes_survive_half_precision(dtype, spatial):
    layer = nn.Conv2d(64, 64, 3, padding=1) if spatial else nn.Linear(256, 256)
    assert surviving_fraction(make, 1e-4, dtype, True, layer) == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("layer_name", ["linear", "1x1 convolution"])
def test_gradients_in_half_precision(layer_name):
    layer = frozen_layer(layer_name)
    ours = hooked(train(make(layer)))
    x = input_for(layer).requires_grad_()
    exact = gradients(ours.reference_output(x), x, ours.parameters())
    with torch.autocast("cpu", torch.bfloat16):
        output = layer(x)
    for first, second in zip(gradients(output, x, ours.parameters()), exact, strict=True):
        assert first.dtype == torch.float32
        assert (first - second).norm() / second.norm() < 0.02


def test_the_file_is_the_difference():
    layer = frozen_layer("linear")
    ours = train(make(layer))
    wanted = nn.Linear(6, 12)
    with torch.no_grad():
        ours.diff.copy_(wanted.weight - layer.weight)
        ours.diff_b.copy_(wanted.bias - layer.bias)
    assert set(ours.file_tensors()) == {"diff", "diff_b"}
    FullLayer.from_tensors("some_layer", layer, ours.file_tensors()).merge()
    close(layer.weight, wanted.weight, 1e-6)
    close(layer.bias, wanted.bias, 1e-6)


def test_files_without_a_change_of_the_bias():
    layer = frozen_layer("linear")
    ours = train(make(layer))
    ours.load_tensors({"diff": torch.ones(12, 6, dtype=torch.float16)})
    assert ours.diff.eq(1).all()
    assert not ours.diff_b.any()
    assert FullLayer.from_tensors("some_layer", layer, {"diff": torch.ones(12, 6)}).delta_bias() is None


def test_files_with_a_bias_where_the_model_has_none():
    layer = frozen_layer("linear without bias")
    base = layer(torch.ones(6))
    tensors = {"diff": torch.zeros(12, 6), "diff_b": torch.arange(12.0)}
    merged = FullLayer.from_tensors("some_layer", layer, tensors)
    x = torch.ones(6)
    close(merged.reference_output(x), base + torch.arange(12.0), 1e-6)
    hooked(merged)
    close(layer(x), base + torch.arange(12.0), 1e-6)


def test_tensors_that_do_not_fit():
    with pytest.raises(UserError, match=r"some_layer\.diff: 6x12 instead of 12x6"):
        FullLayer.from_tensors("some_layer", frozen_layer("linear"), {"diff": torch.zeros(6, 12)})
    with pytest.raises(UserError, match="diff_b has no place in this network"):
        make(frozen_layer("linear without bias")).load_tensors(make(frozen_layer("linear")).file_tensors())


def test_norm_limit_scales_the_change():
    ours = train(make(frozen_layer("linear")))
    before = [parameter.detach().clone() for parameter in ours.parameters()]
    assert ours.delta_norm().item() == pytest.approx(before[0].norm().item())
    with torch.no_grad():
        ours.shrink(torch.tensor(0.25))
    for first, second in zip(ours.parameters(), before, strict=True):
        close(first, 0.25 * second, 1e-7)
