"""OFT against its definition in files, LyCORIS, PEFT and the formula of kohya's tool."""

import lycoris.modules.diag_oft
import peft
import pytest
import torch
from torch import nn

from library.errors import UserError
from networks.arguments.kinds import OFTArguments
from networks.kinds.oft import OFTLayer
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

BLOCKS, LENGTH = 4, 3
SHAPE = (BLOCKS, LENGTH, LENGTH)
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


def make(layer: nn.Module, **settings) -> OFTLayer:
    return OFTLayer("some_layer", layer, SHAPE, **settings)


def built(outputs=OUTPUTS, rank=3, alpha=1.0, **arguments) -> OFTLayer:
    layer = nn.Linear(INPUTS, outputs)
    target = Target("lora_unet_some_to_q", layer, "some.to_q", "unet")
    return OFTLayer.build(target, LayerSize(rank, alpha), OFTArguments(**arguments), 1.0)


@every_layer
@every_setting
def test_every_way_of_computing_agrees(layer_name, settings):
    layer = frozen_layer(layer_name)
    check_every_way_of_computing(lambda layer: make(layer, **settings), layer, input_for(layer), 2e-6)


@every_layer
@every_setting
def test_gradients_are_those_of_the_merged_layer(layer_name, settings):
    layer = frozen_layer(layer_name)
    check_gradients(lambda layer: make(layer, **settings), layer, input_for(layer), 1e-5)


@every_layer
@every_setting
def test_gradients_by_finite_differences(layer_name, settings):
    check_by_finite_differences(lambda layer: make(layer, **settings), frozen_layer(layer_name, torch.float64))


@every_layer
def test_weights_in_eight_bits(layer_name):
    layer = frozen_layer(layer_name)
    check_weights_in_eight_bits(make, layer, input_for(layer), 1e-5)


@every_layer
@every_setting
def test_nothing_changes_at_the_start(layer_name, settings):
    check_nothing_changes_at_the_start(lambda layer: make(layer, **settings), frozen_layer(layer_name))


@every_layer
@every_setting
def test_outputs_and_gradients_are_those_of_lycoris(layer_name, settings):
    layer = frozen_layer(layer_name)
    theirs = lycoris.modules.diag_oft.DiagOFTModule("some_layer", layer, lora_dim=LENGTH, **settings)
    assert theirs.oft_blocks.shape == SHAPE
    ours = train(make(layer, **settings))
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
@pytest.mark.parametrize("constraint", [1e-3, LIMITING, 1.0])
def test_a_file_of_kohyas_tool_means_what_it_says(layer_name, constraint):
    """Its formula: Q's norm is clamped to alpha * outputs, and W' = R^T W in blocks."""
    layer = frozen_layer(layer_name, torch.float64)
    blocks = 0.3 * torch.randn(SHAPE, dtype=torch.float64)
    skew = blocks - blocks.transpose(1, 2)
    norm = skew.norm()
    skew = skew * ((norm.clamp(max=constraint * OUTPUTS) + 1e-8) / (norm + 1e-8))
    identity = torch.eye(LENGTH, dtype=torch.float64)
    rotations = torch.block_diag(*((identity + skew) @ (identity - skew).inverse()))
    expected = torch.einsum("nm,n...->m...", rotations, layer.weight)
    tensors = {"oft_blocks": blocks, "alpha": torch.tensor(constraint)}
    for ours in (OFTLayer.from_tensors("some_layer", layer, tensors).double(), make(layer).double()):
        ours.load_tensors(tensors)
        close(layer.weight + ours.delta_weight(), expected, 1e-7)


def test_outputs_merged_weights_and_gradients_are_those_of_peft():
    """PEFT rotates inputs: the same as rotating the outputs of the transposed layer."""
    layer = frozen_layer("linear without bias")
    transposed = nn.Linear(OUTPUTS, INPUTS, bias=False).requires_grad_(False)
    transposed.weight.copy_(layer.weight.T)
    config = peft.OFTConfig(target_modules=["0"], r=BLOCKS, oft_block_size=0, use_cayley_neumann=False)
    model = peft.get_peft_model(nn.Sequential(transposed), config)
    theirs = model.base_model.model[0]
    entries = theirs.oft_R["default"].weight
    assert entries.shape == (BLOCKS, 3)
    ours = train(make(layer))
    skew = (ours.oft_blocks - ours.oft_blocks.mT).detach()
    above = torch.triu_indices(LENGTH, LENGTH, 1)
    entries.data.copy_(skew[:, above[0], above[1]])

    x = torch.randn(5, OUTPUTS, requires_grad=True)
    expected, output = model(x), x @ (layer.weight + ours.delta_weight())
    close(output, expected, 1e-5)
    x_gradient, blocks_gradient = gradients(output, x, [ours.oft_blocks])
    expected_x_gradient, entries_gradient = gradients(expected, x, [entries])
    close(x_gradient, expected_x_gradient, 1e-5)
    close(blocks_gradient[:, above[0], above[1]], entries_gradient, 1e-5)
    merged = model.merge_and_unload()[0]
    close((layer.weight + ours.delta_weight()).T, merged.weight, 1e-5)


@every_layer
@every_setting
def test_programs_that_know_no_limit_read_what_was_trained(layer_name, settings):
    layer = frozen_layer(layer_name)
    ours = train(make(layer, **settings))
    tensors = ours.file_tensors()
    assert tensors["alpha"].item() == 0
    assert set(tensors) == {"oft_blocks", "alpha"} | ({"rescale"} if "rescaled" in settings else set())
    assert torch.equal(tensors["oft_blocks"], ours.oft_blocks) == ("constraint" not in settings)
    expected = torch.from_numpy(changed_weight(layer.weight, tensors)).float()
    close((layer.weight + ours.delta_weight()).detach(), expected, 1e-6)


def test_the_limit_is_for_all_blocks_together():
    ours = train(make(frozen_layer("linear"), constraint=LIMITING))
    limited = ours.file_tensors()["oft_blocks"]
    assert (limited - limited.mT).norm().item() == pytest.approx(LIMITING * OUTPUTS, rel=1e-6)
    free = train(make(frozen_layer("linear"), constraint=1.0))
    assert torch.equal(free.file_tensors()["oft_blocks"], free.oft_blocks)


def test_a_limit_that_a_file_still_states_goes_on_in_a_network_made_of_it():
    layer = frozen_layer("linear")
    tensors = {"oft_blocks": torch.randn(SHAPE), "alpha": torch.tensor(LIMITING)}
    ours = OFTLayer.from_tensors("some_layer", layer, tensors)
    with torch.no_grad():
        ours.oft_blocks.mul_(3)
    limited = ours.file_tensors()["oft_blocks"]
    assert (limited - limited.mT).norm().item() == pytest.approx(LIMITING * OUTPUTS, rel=1e-6)


def test_arguments_beside_a_file():
    layer = frozen_layer("linear")
    tensors = {"oft_blocks": torch.randn(SHAPE), "alpha": torch.tensor(LIMITING)}
    ours = OFTLayer.from_tensors("some_layer", layer, tensors)
    ours.continue_with(OFTArguments())
    assert (ours.constraint, ours.rescale) == (pytest.approx(LIMITING), None)
    ours.continue_with(OFTArguments(constraint=0.5, rescaled=True))
    assert ours.constraint == 0.5
    assert ours.rescale.eq(1).all()


def test_small_rotations_are_exact():
    """R - 1 computed by subtraction would have an error of about 1e-7 / 1e-6."""
    layer = frozen_layer("linear")
    ours = train(make(layer), 1e-6)
    exact = make(layer).double()
    exact.load_tensors(ours.file_tensors())
    error = (ours.delta_weight() - exact.delta_weight()).norm() / exact.delta_weight().norm()
    assert error < 1e-6


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("autocast", [True, False])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("spatial", [True, False])
def test_small_changes_survive_half_precision(dtype, autocast, bias, spatial):
    layer = nn.Conv2d(64, 64, 3, padding=1, bias=bias) if spatial else nn.Linear(256, 256, bias=bias)
    blocks, length = (4, 16) if spatial else (8, 32)
    fraction = surviving_fraction(
        lambda layer: OFTLayer("some_layer", layer, (blocks, length, length)), 1e-4, dtype, autocast, layer
    )
    assert fraction == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("layer_name", ["linear", "1x1 convolution"])
def test_gradients_in_half_precision(layer_name):
    layer = frozen_layer(layer_name)
    ours = hooked(train(make(layer, rescaled=True)))
    x = input_for(layer).requires_grad_()
    exact = gradients(ours.reference_output(x), x, ours.parameters())
    with torch.autocast("cpu", torch.bfloat16):
        output = layer(x)
    assert output.dtype == torch.bfloat16
    for first, second in zip(gradients(output, x, ours.parameters()), exact, strict=True):
        assert first.dtype == torch.float32
        assert (first - second).norm() / second.norm() < 0.02


def test_kohyas_arguments():
    ours = built(rank=3, alpha=0.001)
    assert (ours.oft_blocks.shape, ours.constraint, ours.rescale) == ((3, 4, 4), 0.001, None)
    ours = built(rank=3, alpha=0.001, constraint=0.0, rescaled=True)
    assert (ours.constraint, ours.rescale.shape) == (0, (OUTPUTS, 1))
    assert ours.plus_parameters() == []


@pytest.mark.parametrize(("size", "shape"), [(4, (3, 4, 4)), (5, (3, 4, 4)), (3, (4, 3, 3)), (99, (1, 12, 12))])
def test_network_dim_as_size_of_blocks(size, shape):
    assert built(rank=size, network_dim_is="block_size").oft_blocks.shape == shape


def test_outputs_that_cannot_be_divided_are_named_with_what_divides_them():
    with pytest.raises(UserError) as error:
        built(outputs=10, rank=4)
    assert "--network_dim 4: the outputs of lora_unet_some_to_q cannot be divided into so many b" in str(error.value)
    assert "divides those of all layers: 1, 2, 5, 10; or give --network_args network_dim_is=block" in str(error.value)


def test_one_problem_with_what_fits_all_layers():
    sizes = [
        (Target(f"layer_{width}", nn.Linear(2, width), "", "unet"), LayerSize(8, 1.0)) for width in (8, 12, 20, 28, 36)
    ]
    with pytest.raises(UserError) as error:
        OFTLayer.check_sizes(sizes, OFTArguments())
    (problem,) = error.value.problems
    assert "--network_dim 8: the outputs of layer_12, layer_20, layer_28, and 1 more cannot" in problem
    assert "all layers: 1, 2, 4; or" in problem
    OFTLayer.check_sizes(sizes, OFTArguments(network_dim_is="block_size"))


@pytest.mark.parametrize("shape", [(4, 3, 5), (2, 3, 3), (3, 3, 3)])
def test_tensors_that_do_not_fit(shape):
    layer = frozen_layer("linear")
    with pytest.raises(UserError, match="does not fit a layer with 12 outputs"):
        OFTLayer.from_tensors("some_layer", layer, {"oft_blocks": torch.zeros(shape)})
    with pytest.raises(UserError, match=r"some_layer\.oft_blocks: .* instead of 4x3x3"):
        make(layer).load_tensors({"oft_blocks": torch.zeros(shape)})


def test_a_factor_for_each_output_must_be_in_both_or_neither():
    layer = frozen_layer("linear")
    plain, rescaled = make(layer), make(layer, rescaled=True)
    with pytest.raises(UserError, match="rescale has no place in this network"):
        plain.load_tensors(rescaled.file_tensors())
    with pytest.raises(UserError, match="rescale is missing"):
        rescaled.load_tensors(plain.file_tensors())


def test_files_of_boft_are_not_of_this_kind():
    assert OFTLayer.recognises({"oft_blocks": torch.zeros(SHAPE)})
    assert not OFTLayer.recognises({"oft_blocks": torch.zeros(2, *SHAPE)})
    assert not OFTLayer.recognises({"diff": torch.zeros(3)})


def test_norm_limit_scales_the_blocks():
    ours = train(make(frozen_layer("linear")))
    norm = ours.delta_norm()
    assert norm.item() == pytest.approx(ours.oft_blocks.norm().item())
    with torch.no_grad():
        ours.shrink(torch.tensor(0.25))
    assert ours.delta_norm().item() == pytest.approx(0.25 * norm.item())


def test_nothing_of_the_weight_s_size_is_kept_for_convolutions_in_half_precision():
    layer = frozen_layer("3x3 convolution with stride 2", torch.bfloat16)
    adapter = hooked(train(make(layer)))
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda one: kept.append(one) or one, lambda one: one):
        output = layer(input_for(layer, torch.bfloat16))
    of_its_size = {one.data_ptr() for one in kept if one.numel() > input_for(layer).numel()}
    assert of_its_size == {layer.weight.data_ptr()}
    output.float().sum().backward()
    assert adapter.oft_blocks.grad.abs().max() > 0


def test_grouped_convolutions_are_refused():
    with pytest.raises(UserError, match="grouped convolutions"):
        make(nn.Conv2d(6, 12, 3, groups=2))
