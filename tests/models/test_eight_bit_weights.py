"""--fp8_base: layers whose weights are stored in eight bits."""

import copy

import pytest
import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.checkpoint import checkpoint

from library.models.eight_bit_weights import expanded_weight, store_in_eight_bits
from tests.models.two_level_unet import apply_lora, forward_and_backward, two_level_unet

EIGHT_BITS = torch.float8_e4m3fn

LAYERS = {
    "linear": (lambda: nn.Linear(48, 40), (3, 5, 48)),
    "linear without bias": (lambda: nn.Linear(48, 40, bias=False), (7, 48)),
    "convolution": (lambda: nn.Conv2d(16, 24, 3, stride=2, padding=1), (2, 16, 9, 12)),
    "dilated convolution in groups": (lambda: nn.Conv2d(16, 24, 3, dilation=2, groups=4), (2, 16, 9, 12)),
    "convolution that wraps around": (lambda: nn.Conv2d(16, 24, 3, padding=1, padding_mode="circular"), (2, 16, 8, 8)),
}

DEVICES = ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)


@pytest.fixture(params=LAYERS)
def layer_and_input(request) -> tuple[nn.Module, torch.Tensor]:
    build, shape = LAYERS[request.param]
    torch.manual_seed(0)
    return build().requires_grad_(False), torch.randn(shape, requires_grad=True)


def stored(layer: nn.Module, compute_dtype: torch.dtype = torch.float32) -> nn.Module:
    layer = copy.deepcopy(layer)
    store_in_eight_bits(layer, compute_dtype)
    return layer


def expanded(layer: nn.Module, eight_bit: nn.Module) -> nn.Module:
    """The plain layer with exactly the weights that the eight-bit one computes with."""
    layer = copy.deepcopy(layer)
    layer.weight.copy_(expanded_weight(eight_bit))
    return layer


def relative_error(actual: torch.Tensor, expected: torch.Tensor) -> float:
    return ((actual - expected).norm() / expected.norm()).item()


def test_the_layer_keeps_its_class_and_everything_but_the_precision_of_its_weight(layer_and_input):
    layer, _ = layer_and_input
    eight_bit = stored(layer)
    assert type(eight_bit) is type(layer)
    assert eight_bit.weight.dtype == EIGHT_BITS
    assert eight_bit.weight.shape == layer.weight.shape
    assert not eight_bit.weight.requires_grad
    assert eight_bit.state_dict().keys() == layer.state_dict().keys()
    if layer.bias is not None:
        assert torch.equal(eight_bit.bias, layer.bias)


def test_the_output_is_close(layer_and_input):
    layer, x = layer_and_input
    error = relative_error(stored(layer)(x), layer(x))
    assert 0.005 < error < 0.04


def test_output_and_gradient_are_those_of_the_expanded_weight(layer_and_input):
    layer, x = layer_and_input
    eight_bit = stored(layer)
    plain = expanded(layer, eight_bit)
    actual, expected = eight_bit(x), plain(x)
    torch.testing.assert_close(actual, expected, rtol=1e-6, atol=1e-6)
    direction = torch.randn_like(expected)
    actual_gradient, *_ = torch.autograd.grad(actual, x, direction)
    expected_gradient, *_ = torch.autograd.grad(expected, x, direction)
    assert expected_gradient.abs().max() > 0.1
    torch.testing.assert_close(actual_gradient, expected_gradient, rtol=1e-5, atol=1e-6)


def test_a_layer_gives_its_expanded_weight(layer_and_input):
    """Networks that read weights ask for it, and know nothing of how it is kept."""
    layer, _ = layer_and_input
    eight_bit = stored(layer)
    assert torch.equal(eight_bit.expanded_weight(), expanded_weight(eight_bit))
    assert relative_error(eight_bit.expanded_weight(), layer.weight) < 0.04
    assert torch.equal(copy.deepcopy(eight_bit).expanded_weight(), expanded_weight(eight_bit))


def test_nothing_of_16_or_32_bits_is_kept_for_the_backward_pass(layer_and_input):
    layer, x = layer_and_input
    eight_bit = stored(layer)
    kept: list[torch.Tensor] = []
    with saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        eight_bit(x)
    channels = layer.weight.shape[0]
    assert sorted((tensor.dtype, tensor.numel()) for tensor in kept if tensor.dtype == EIGHT_BITS) == [
        (EIGHT_BITS, layer.weight.numel())
    ]
    assert all(tensor.data_ptr() == eight_bit.weight.data_ptr() for tensor in kept if tensor.dtype == EIGHT_BITS)
    assert [tensor.numel() for tensor in kept if tensor.dtype != EIGHT_BITS] == [channels]  # the scale


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_scales_are_powers_of_two_so_that_the_expanded_weight_is_exact_in_every_precision(dtype):
    torch.manual_seed(0)
    layer = nn.Linear(32, 16)
    layer.weight.data *= torch.logspace(-2, 1, 16)[:, None]
    layer.weight.data[3] = 0
    eight_bit = stored(layer.requires_grad_(False))
    mantissa, _ = torch.frexp(eight_bit.weight_scale)
    assert (mantissa == 0.5).all()
    exact = eight_bit.weight.double() * eight_bit.weight_scale.double()
    in_range = exact.abs() >= torch.finfo(dtype).tiny
    assert in_range.sum() > 300
    assert torch.equal(expanded_weight(eight_bit).to(dtype).double()[in_range], exact[in_range])
    assert (exact[3] == 0).all()


def test_the_largest_weight_of_a_channel_uses_the_upper_half_of_the_range():
    torch.manual_seed(0)
    layer = nn.Linear(64, 200)
    layer.weight.data *= torch.logspace(-3, 1, 200)[:, None]
    largest = stored(layer.requires_grad_(False)).weight.float().abs().amax(dim=1)
    assert largest.min() >= 224
    assert largest.max() <= 448


def test_scales_for_each_channel_save_small_weights():
    """A plain cast to float8, as elsewhere, loses what is below 2**-9."""
    torch.manual_seed(0)
    layer = nn.Linear(64, 32).requires_grad_(False)
    layer.weight.mul_(torch.logspace(-3, 0, 32)[:, None])
    unscaled = layer.weight.to(EIGHT_BITS).float()
    scaled = expanded_weight(stored(layer))

    def error_of_channels(weight: torch.Tensor) -> torch.Tensor:
        return (weight - layer.weight).norm(dim=1) / layer.weight.norm(dim=1)

    assert error_of_channels(scaled).max() < 0.04
    assert error_of_channels(unscaled)[:10].min() > 10 * error_of_channels(scaled)[:10].max()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_it_computes_in_the_given_precision(layer_and_input, dtype):
    layer, x = layer_and_input
    layer = layer.to(dtype)
    eight_bit = stored(layer, dtype)
    output = eight_bit(x.to(dtype))
    assert output.dtype == dtype
    torch.testing.assert_close(output, expanded(layer, eight_bit)(x.to(dtype)), rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast_decides_the_precision_and_the_gradient_has_that_of_the_input(layer_and_input, dtype):
    layer, x = layer_and_input
    eight_bit = stored(layer)
    plain = expanded(layer, eight_bit)
    with torch.autocast("cpu", dtype):
        actual, expected = eight_bit(x), plain(x)
    assert actual.dtype == expected.dtype == dtype
    torch.testing.assert_close(actual, expected, rtol=0, atol=0)
    direction = torch.randn_like(expected)
    actual_gradient, *_ = torch.autograd.grad(actual, x, direction)
    expected_gradient, *_ = torch.autograd.grad(expected, x, direction)
    assert actual_gradient.dtype == torch.float32
    torch.testing.assert_close(actual_gradient, expected_gradient, rtol=1e-6, atol=1e-6)


def test_large_inputs_do_not_overflow_float16():
    """The products are formed with the true weights, not with the stored ones, which reach 448."""
    layer = nn.Linear(256, 1, bias=False, dtype=torch.float16).requires_grad_(False)
    layer.weight.fill_(0.01)
    output = stored(layer, torch.float16)(torch.full((1, 256), 100.0, dtype=torch.float16))
    assert output.item() == pytest.approx(256, rel=0.07)


def test_layers_move_with_their_scales():
    moved = stored(nn.Linear(8, 4)).to("meta")
    assert moved.weight.device.type == moved.weight_scale.device.type == moved.bias.device.type == "meta"


def test_a_copied_layer_computes_with_its_own_weights():
    layer, x = stored(nn.Linear(8, 4)), torch.randn(2, 8)
    duplicate, expected = copy.deepcopy(layer), layer(x)
    layer.weight_scale.zero_()
    assert torch.equal(duplicate(x), expected)
    assert torch.equal(layer(x), layer.bias.expand(2, 4))


@pytest.mark.parametrize("device", DEVICES)
def test_a_moved_layer_computes_the_same(layer_and_input, device):
    layer, x = layer_and_input
    eight_bit = stored(layer)
    expected = eight_bit(x)
    torch.testing.assert_close(eight_bit.to(device)(x.to(device)).cpu(), expected, rtol=1e-2, atol=1e-2)


def test_all_linear_layers_and_convolutions_of_a_unet_and_nothing_else():
    unet = two_level_unet()
    before = {name: value.clone() for name, value in unet.state_dict().items()}
    store_in_eight_bits(unet, torch.float32)
    layers = {name for name, module in unet.named_modules() if type(module) in (nn.Linear, nn.Conv2d)}
    in_eight_bits = {name for name, weight in unet.named_parameters() if weight.dtype == EIGHT_BITS}
    assert in_eight_bits == {f"{name}.weight" for name in layers}
    assert len(in_eight_bits) == 83
    for name in before.keys() - in_eight_bits:
        assert torch.equal(unet.state_dict()[name], before[name]), name


def test_a_network_trains_on_an_eight_bit_unet_with_and_without_checkpointing():
    unet = two_level_unet()
    store_in_eight_bits(unet, torch.float32)
    network = apply_lora(unet)
    prediction, gradients = forward_and_backward(unet, network)

    plain = two_level_unet()
    for name, layer in plain.named_modules():
        if type(layer) in (nn.Linear, nn.Conv2d):
            layer.weight.copy_(expanded_weight(unet.get_submodule(name)))
    expected, expected_gradients = forward_and_backward(plain, apply_lora(plain))
    torch.testing.assert_close(prediction, expected, rtol=1e-5, atol=1e-5)
    assert gradients.keys() == expected_gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, expected_gradients[name], rtol=1e-3, atol=1e-6)

    unet.enable_gradient_checkpointing()
    again, checkpointed = forward_and_backward(unet, network)
    assert torch.equal(again, prediction)
    assert all(torch.equal(checkpointed[name], gradient) for name, gradient in gradients.items())


def test_a_checkpoint_keeps_nothing_of_the_layers():
    layers = nn.Sequential(*(stored(nn.Linear(8, 8)) for _ in range(3)))
    x = torch.randn(2, 8, requires_grad=True)
    expected, *_ = torch.autograd.grad(layers(x).sum(), x)
    actual, *_ = torch.autograd.grad(checkpoint(layers, x, use_reentrant=False).sum(), x)
    assert torch.equal(actual, expected)


def test_a_layer_that_a_network_has_patched_is_refused():
    unet = two_level_unet()
    apply_lora(unet)
    with pytest.raises(ValueError, match="before applying networks"):
        store_in_eight_bits(unet, torch.float32)
