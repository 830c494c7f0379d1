"""Changes of normalisation layers against the merged layer and LyCORIS."""

import copy
from types import MethodType

import lycoris.modules.norms
import pytest
import torch
from torch import nn

from library.errors import UserError
from networks.arguments.kinds import LoRAArguments
from networks.kinds.norm import NormLayer, is_norm
from networks.targeting.targets import LayerSize, Target
from tests.networks.kinds.changed_layers import close, gradients, hooked, train

CHANNELS = 8
NORMS = {
    "group": lambda: nn.GroupNorm(2, CHANNELS, eps=1e-3),
    "layer": lambda: nn.LayerNorm(CHANNELS, eps=1e-3),
}
every_norm = pytest.mark.parametrize("kind", NORMS)


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(11)
        yield


def norm_of(kind: str, dtype=torch.float32) -> nn.Module:
    layer = NORMS[kind]()
    nn.init.normal_(layer.weight, 1, 0.2)
    nn.init.normal_(layer.bias)
    return layer.to(dtype).requires_grad_(False)


def input_for(kind: str, dtype=torch.float32, size: int = 5) -> torch.Tensor:
    return torch.randn((2, CHANNELS, size, 4) if kind == "group" else (2, size, CHANNELS), dtype=dtype)


def make(layer: nn.Module) -> NormLayer:
    target = Target("some_norm", layer, "some.norm", "unet")
    return NormLayer.build(target, LayerSize(4, 4.0), LoRAArguments(), 1.0)


@every_norm
def test_every_way_of_computing_agrees(kind):
    layer, x = norm_of(kind), input_for(kind)
    base = layer(x)
    ours = train(make(layer))
    expected = {strength: ours.reference_output(x, strength) for strength in (0.0, 0.6, 1.0)}
    assert (expected[1.0] - base).abs().max() > 0.05

    stacked = copy.deepcopy(layer)
    for _ in range(2):
        hooked(make(stacked)).load_tensors(ours.file_tensors())
    close(stacked(x), base + 2 * (expected[1.0] - base), 1e-6)

    merged = copy.deepcopy(layer)
    NormLayer.from_tensors("some_norm", merged, ours.file_tensors(), multiplier=0.6).merge()
    close(merged(x), expected[0.6], 1e-6)

    hooked(ours)
    for strength, output in expected.items():
        ours.multiplier = strength
        close(layer(x), output, 1e-6)


@every_norm
def test_a_forward_that_was_replaced_is_honoured(kind):
    layer, x = norm_of(kind), input_for(kind)
    stock = type(layer).forward
    layer.forward = MethodType(lambda layer, x: 2 * stock(layer, x), layer)
    ours = hooked(train(make(layer)))
    base = 2 * stock(layer, x)
    close(layer(x), base + ours.reference_output(x) - stock(layer, x), 1e-6)


@every_norm
def test_nothing_changes_at_the_start(kind):
    layer, x = norm_of(kind), input_for(kind)
    before = layer(x)
    hooked(make(layer))
    close(layer(x), before, 1e-7)


@every_norm
def test_gradients_by_finite_differences(kind):
    layer = norm_of(kind, torch.float64)
    ours = hooked(train(make(layer)).double())
    x = input_for(kind, torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda x, *_: layer(x), (x, *ours.parameters()))


@every_norm
def test_outputs_and_gradients_are_those_of_lycoris(kind):
    layer = norm_of(kind)
    theirs = lycoris.modules.norms.NormModule("some_norm", layer)
    ours = train(make(layer))
    assert set(ours.file_tensors()) == {"w_norm", "b_norm"}
    theirs.load_state_dict(ours.file_tensors())
    x = input_for(kind).requires_grad_()
    expected = theirs(x)
    expected_gradients = gradients(expected, x, [theirs.w_norm, theirs.b_norm])
    hooked(ours)
    close(layer(x), expected, 1e-5)
    for first, second in zip(gradients(layer(x), x, [ours.w_norm, ours.b_norm]), expected_gradients, strict=True):
        close(first, second, 1e-5)


@every_norm
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("autocast", [True, False])
def test_half_precision(kind, dtype, autocast):
    """The output has the precision that the layer alone would give, and small changes are in it."""
    layer = norm_of(kind) if autocast else norm_of(kind, dtype)
    x = input_for(kind, dtype, size=4096)
    with torch.autocast("cpu", dtype, enabled=autocast):
        base = layer(x)
        ours = hooked(train(make(layer), 1e-3))
        output = layer(x)
    assert output.dtype == base.dtype
    exact = ours.reference_output(x.double()) - ours.reference_output(x.double(), 0.0)
    fraction = ((output - base).double() * exact).sum() / exact.square().sum()
    assert fraction.item() == pytest.approx(1, abs=0.05)
    (gradient,) = torch.autograd.grad(output.float().square().sum(), [ours.w_norm])
    assert gradient.dtype == torch.float32
    assert gradient.abs().min() > 0


@every_norm
def test_files_without_a_change_of_the_bias(kind):
    ours = NormLayer.from_tensors("some_norm", norm_of(kind), {"w_norm": torch.ones(CHANNELS).half()})
    assert ours.w_norm.eq(1).all()
    assert not ours.b_norm.any()


def test_norms_without_bias():
    layer = nn.LayerNorm(CHANNELS, bias=False)
    x = input_for("layer")
    ours = hooked(train(make(layer)))
    assert set(ours.file_tensors()) == {"w_norm"}
    close(layer(x), ours.reference_output(x), 1e-6)


def test_what_does_not_fit_is_refused():
    with pytest.raises(UserError, match="normalisation without weights"):
        make(nn.LayerNorm(CHANNELS, elementwise_affine=False))
    with pytest.raises(UserError, match=r"some_norm\.w_norm: 4 instead of 8"):
        NormLayer.from_tensors("some_norm", norm_of("group"), {"w_norm": torch.ones(4)})


def test_norm_limit_scales_the_change():
    ours = train(make(norm_of("group")))
    before = [parameter.detach().clone() for parameter in ours.parameters()]
    assert ours.delta_norm().item() == pytest.approx(before[0].norm().item())
    with torch.no_grad():
        ours.shrink(torch.tensor(0.25))
    for first, second in zip(ours.parameters(), before, strict=True):
        close(first, 0.25 * second, 1e-7)


def test_which_layers_are_norms():
    layers = [nn.GroupNorm(1, 2), nn.LayerNorm(2), nn.Linear(2, 2), nn.Conv2d(1, 1, 1), nn.BatchNorm2d(2)]
    assert [is_norm(layer) for layer in layers] == [True, True, False, False, False]
