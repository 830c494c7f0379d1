"""DoRA over LoRA: magnitudes per input or per output, against the definition and against other implementations."""

import copy

import peft
import pytest
import torch
from lycoris.modules.locon import LoConModule
from torch import nn
from torch.nn import functional

from library.errors import UserError
from library.models.eight_bit_weights import store_in_eight_bits
from networks.arguments import parse_arguments
from networks.kinds.catalogue import OF_MODULE
from networks.kinds.lora import LoRALayer
from networks.layers.dropouts import Dropouts
from networks.layers.ranked_layer import Decomposition, decomposed_weight
from networks.targeting.targets import LayerSize, Target

torch.set_num_threads(1)

RANK, ALPHA = 4, 3.0
LAYERS = {
    "linear": lambda: nn.Linear(6, 5),
    "square linear without bias": lambda: nn.Linear(6, 6, bias=False),
    "1x1 convolution": lambda: nn.Conv2d(6, 5, 1),
    "3x3 convolution": lambda: nn.Conv2d(6, 5, 3, stride=2, padding=1),
}
PER_INPUT, PER_OUTPUT = Decomposition(per_input=True), Decomposition(per_input=False)

every_layer = pytest.mark.parametrize("kind", LAYERS)
both_ways = pytest.mark.parametrize("per_input", [True, False], ids=["per input", "per output"])
with_and_without_norm_gradient = pytest.mark.parametrize("norm_gradient", [False, True])


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(17)
        yield


def build(kind: str, decomposition: Decomposition, dtype=torch.float32, trained=True, **options):
    """A layer and its adapter; a trained one has moved magnitudes and an `up` that is not zero."""
    layer = LAYERS[kind]().to(dtype).requires_grad_(False)
    adapter = LoRALayer("some_layer", layer, RANK, ALPHA, decomposition=decomposition, **options).to(dtype)
    if trained:
        nn.init.normal_(adapter.lora_up.weight)
        with torch.no_grad():
            adapter.dora_scale.mul_(1 + 0.2 * torch.rand_like(adapter.dora_scale))
    return layer, adapter


def values_for(layer: nn.Module, dtype=torch.float32) -> torch.Tensor:
    return torch.randn((3, 6, 4, 5) if isinstance(layer, nn.Conv2d) else (3, 7, 6), dtype=dtype)


def apply_weight(layer: nn.Module, weight: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    if isinstance(layer, nn.Conv2d):
        return functional.conv2d(x, weight, layer.bias, layer.stride, layer.padding)
    return functional.linear(x, weight, layer.bias)


def written_out(layer: nn.Module, adapter: LoRALayer, norm_gradient=False) -> torch.Tensor:
    """W' = m V / |V|, number by number in the sense of the paper: V = W + alpha / rank * up down."""
    up, down = adapter.lora_up.weight.flatten(1), adapter.lora_down.weight.flatten(1)
    v = layer.weight + ALPHA / RANK * (up @ down).view(layer.weight.shape)
    axis = 1 if adapter.dora_scale.shape[0] == 1 else 0
    norm = v.movedim(axis, 0).flatten(1).square().sum(1).sqrt().view(adapter.dora_scale.shape)
    return adapter.dora_scale * v / (norm if norm_gradient else norm.detach())


def close(first: torch.Tensor, second: torch.Tensor, tolerance: float = 1e-5) -> None:
    torch.testing.assert_close(first, second, rtol=tolerance, atol=tolerance)


@every_layer
@both_ways
def test_shapes_of_magnitudes(kind, per_input):
    layer, adapter = build(kind, Decomposition(per_input), trained=False)
    outputs, inputs, *kernel = layer.weight.shape
    pixel = [1 for _ in kernel]
    assert list(adapter.dora_scale.shape) == ([1, inputs, *pixel] if per_input else [outputs, 1, *pixel])
    axes = [axis for axis in range(layer.weight.ndim) if axis != int(per_input)]
    close(adapter.dora_scale, torch.linalg.vector_norm(layer.weight, dim=axes, keepdim=True))
    assert set(adapter.file_tensors()) == {"dora_scale", "alpha", "lora_down.weight", "lora_up.weight"}


@every_layer
@both_ways
def test_the_change_is_zero_at_the_start(kind, per_input):
    layer, adapter = build(kind, Decomposition(per_input), trained=False)
    x = values_for(layer)
    base = layer(x)
    adapter.hook_into_layer()
    close(layer(x), base, 1e-6)
    assert adapter.delta_weight().abs().max() < 1e-7
    close(adapter.change(x), torch.zeros_like(base), 1e-6)


@every_layer
@both_ways
def test_definition_change_live_layer_and_merge_agree(kind, per_input):
    layer, adapter = build(kind, Decomposition(per_input), torch.float64)
    x = values_for(layer, torch.float64)
    base = layer(x)
    changed = written_out(layer, adapter)
    delta = adapter.delta_weight()
    assert delta.abs().mean() > 0.03
    close(delta, changed - layer.weight, 1e-10)
    expected = apply_weight(layer, changed, x)
    close(adapter.change(x), expected - base, 1e-6)
    adapter.hook_into_layer()
    close(layer(x), expected, 1e-6)
    del layer.forward
    adapter.merge()
    close(layer(x), expected, 1e-5)


@every_layer
@both_ways
@pytest.mark.parametrize("multiplier", [0.25, -1.5])
def test_strength_goes_from_the_base_weight_to_the_changed_one(kind, per_input, multiplier):
    layer, adapter = build(kind, Decomposition(per_input), multiplier=multiplier)
    x = values_for(layer)
    expected = apply_weight(layer, layer.weight + multiplier * (written_out(layer, adapter) - layer.weight), x)
    adapter.hook_into_layer()
    close(layer(x), expected)


@every_layer
@both_ways
@with_and_without_norm_gradient
def test_gradients_are_those_of_the_formula(kind, per_input, norm_gradient):
    layer, adapter = build(kind, Decomposition(per_input, norm_gradient))
    x = values_for(layer).requires_grad_()
    leaves = [x, *adapter.parameters()]
    assert len(leaves) == 4
    formula = apply_weight(layer, written_out(layer, adapter, norm_gradient), x)
    expected = torch.autograd.grad(formula.sin().sum(), leaves)
    base = layer(x)
    of_change = torch.autograd.grad((base + adapter.change(x)).sin().sum(), leaves)
    definition = decomposed_weight(layer.weight, adapter.additive_delta(), adapter.dora_scale, adapter.decomposition)
    of_definition = torch.autograd.grad(apply_weight(layer, definition, x).sin().sum(), leaves)
    adapter.hook_into_layer()
    live = torch.autograd.grad(layer(x).sin().sum(), leaves)
    for theirs, *ours in zip(expected, live, of_change, of_definition, strict=True):
        assert theirs.abs().mean() > 0.01
        for one in ours:
            close(one, theirs)


@both_ways
def test_the_norm_gradient_makes_a_difference(per_input):
    found = []
    for norm_gradient in (False, True):
        torch.manual_seed(1)
        layer, adapter = build("linear", Decomposition(per_input, norm_gradient))
        x = values_for(layer)
        adapter.hook_into_layer()
        layer(x).sin().sum().backward()
        found.append(adapter.lora_up.weight.grad)
    assert (found[0] - found[1]).abs().max() > 0.01


@both_ways
def test_two_networks_on_one_layer_add_up(per_input):
    layer, first = build("linear", Decomposition(per_input))
    second = LoRALayer("other", layer, 2, 1.0, 0.5, decomposition=Decomposition(per_input))
    nn.init.normal_(second.lora_up.weight)
    x = values_for(layer)
    base = layer(x)
    first.hook_into_layer()
    second.hook_into_layer()
    close(layer(x), base + first.change(x) + 0.5 * second.change(x))


@every_layer
@both_ways
def test_dropouts_act_on_the_low_rank_part_only(kind, per_input):
    """Dropping everything leaves magnitude / norm * W, with the norm of all of V."""
    layer, adapter = build(kind, Decomposition(per_input), dropouts=Dropouts(rank=0.999999, rank_is_scaled=False))
    x = values_for(layer)
    norm_factor = written_out(layer, adapter) / (layer.weight + adapter.additive_delta())
    expected = apply_weight(layer, layer.weight * norm_factor, x)
    base = layer(x)
    close(base + adapter.train().change(x), expected)
    adapter.hook_into_layer()
    close(layer(x), expected)
    assert not torch.allclose(layer(x), apply_weight(layer, written_out(layer, adapter), x), atol=0.01)


@every_layer
@both_ways
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_frozen_layer_in_half_precision_under_autocast(kind, per_input, dtype):
    layer, adapter = build(kind, Decomposition(per_input))
    x = values_for(layer)
    adapter.hook_into_layer()
    exact = layer(x)
    exact.square().mean().backward()
    expected = [parameter.grad.clone() for parameter in adapter.parameters()]
    adapter.zero_grad()
    layer.to(dtype)
    with torch.autocast("cpu", dtype):
        result = layer(x.to(dtype))
    assert result.dtype == dtype
    tolerance = 0.02 if dtype == torch.float16 else 0.15
    close(result.float(), exact, tolerance)
    result.float().square().mean().backward()
    for parameter, gradient in zip(adapter.parameters(), expected, strict=True):
        assert parameter.grad.dtype == torch.float32
        assert (parameter.grad - gradient).norm() < tolerance * gradient.norm()


def test_rounding_the_network_rounds_neither_its_scale_nor_its_magnitudes():
    """Rounded magnitudes would change the weight of a layer before anything is trained."""
    layer = LAYERS["linear"]().requires_grad_(False)
    adapter = LoRALayer("x", layer, RANK, 0.3, decomposition=Decomposition())
    magnitudes = adapter.dora_scale.detach().clone()
    parameters = list(adapter.parameters())
    adapter.bfloat16()
    assert adapter.lora_up.weight.dtype == torch.bfloat16
    assert [one is two for one, two in zip(adapter.parameters(), parameters, strict=True)] == [True] * 3
    assert torch.equal(adapter.dora_scale, magnitudes)
    assert adapter.file_tensors()["alpha"] == torch.tensor(0.3)
    adapter.load_state_dict(adapter.state_dict())
    assert adapter.scale == pytest.approx(0.3 / RANK, rel=1e-6)
    assert adapter.double().dora_scale.dtype == torch.float64


def test_rounding_the_network_does_not_round_the_norms():
    _, adapter = build("linear", PER_INPUT)
    adapter.bfloat16()
    assert adapter._magnitude_factor(adapter._weight_squares(), *adapter.factors()).dtype == torch.float32
    assert adapter._squares.dtype == torch.float32


def test_an_input_that_nothing_reads():
    layer = nn.Linear(3, 2, bias=False).requires_grad_(False)
    layer.weight[:, 1] = 0
    adapter = LoRALayer("x", layer, 2, decomposition=Decomposition(norm_gradient=True))
    x = torch.randn(4, 3)
    base = layer(x)
    adapter.hook_into_layer()
    close(layer(x), base, 1e-6)
    layer(x).square().sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in adapter.parameters())


@every_layer
@both_ways
@pytest.mark.parametrize("norm_gradient", [False, True])
def test_a_layer_in_eight_bits(kind, per_input, norm_gradient):
    """Its weight is expanded when it is needed, and not kept: of what is kept, nothing is as large as the weight."""
    model = nn.Sequential(LAYERS[kind]().requires_grad_(False))
    store_in_eight_bits(model, torch.float32)
    (layer,) = model
    adapter = LoRALayer("some_layer", layer, RANK, ALPHA, decomposition=Decomposition(per_input, norm_gradient))
    nn.init.normal_(adapter.lora_up.weight)
    expanded = layer.expanded_weight()
    delta = adapter.delta_weight()
    assert delta.abs().mean() > 0.03
    x = values_for(layer).requires_grad_()
    expected = apply_weight(layer, expanded + delta, x)
    expected_gradients = torch.autograd.grad(expected.sin().sum(), [x, *adapter.parameters()])
    adapter.hook_into_layer()
    kept = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept.append((tensor.dtype, tensor.shape))
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output = layer(x)
    close(output, expected)
    assert (layer.weight.dtype, layer.weight.shape) in kept
    assert (torch.float32, layer.weight.shape) not in kept
    found = torch.autograd.grad(output.sin().sum(), [x, *adapter.parameters()])
    for one, two in zip(found, expected_gradients, strict=True):
        close(one, two)


# ---- files


@every_layer
@both_ways
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_only_the_shape_tells_the_axis(kind, per_input, dtype):
    layer, adapter = build(kind, Decomposition(per_input))
    saved = {name: value.to(dtype) for name, value in adapter.file_tensors().items()}
    again = LoRALayer.from_tensors("x", layer, saved)
    assert again.decomposition == Decomposition(per_input)
    close(again.delta_weight(), adapter.delta_weight(), 1e-6 if dtype == torch.float32 else 5e-3)
    other = build(kind, Decomposition(not per_input))[1]
    with pytest.raises(UserError, match=r"some_layer\.dora_scale: .* instead of"):
        other.load_tensors(saved)


@every_layer
@both_ways
def test_going_on_from_a_lora_without_magnitudes(kind, per_input):
    layer, plain = build(kind, Decomposition(per_input))
    saved = plain.file_tensors()
    del saved["dora_scale"]
    change = LoRALayer.from_tensors("x", layer, saved).delta_weight()
    adapter = build(kind, Decomposition(per_input), trained=False)[1]
    adapter._layer = (layer,)
    adapter.load_tensors(saved)
    assert change.abs().mean() > 0.03
    close(adapter.delta_weight(), change, 1e-6)


def test_the_module_networks_dora_is_lora_with_magnitudes():
    layer = nn.Linear(6, 5)
    for given, expected in (({}, PER_INPUT), ({"wd_on_output": "True"}, PER_OUTPUT)):
        arguments = parse_arguments("networks.dora", given)
        target = Target("some_layer", layer, "some.layer", "unet")
        made = OF_MODULE["networks.dora"].build(target, LayerSize(RANK, ALPHA), arguments, 1.0)
        assert isinstance(made, LoRALayer)
        assert made.decomposition == expected


@both_ways
def test_shrinking_scales_the_change_before_the_magnitudes(per_input):
    _, adapter = build("linear", Decomposition(per_input))
    before, magnitudes = adapter.additive_delta(), adapter.dora_scale.clone()
    close(adapter.delta_norm(), before.norm())
    with torch.no_grad():
        adapter.shrink(torch.tensor(0.5))
    close(adapter.additive_delta(), 0.5 * before)
    assert torch.equal(adapter.dora_scale, magnitudes)


# ---- the same numbers as other implementations, on the same tensors


def compare_with(theirs: nn.Module, their_parameters: dict[str, torch.Tensor], layer: nn.Module, adapter: LoRALayer):
    x = values_for(layer).requires_grad_()
    adapter.hook_into_layer()
    close(layer(x), theirs(x))
    ours = torch.autograd.grad(layer(x).sin().sum(), [x, *adapter.parameters()])
    names = [name for name, _ in adapter.named_parameters()]
    expected = torch.autograd.grad(theirs(x).sin().sum(), [x, *(their_parameters[name] for name in names)])
    assert len(expected) == 4
    for one, two in zip(ours, expected, strict=True):
        assert two.abs().mean() > 1e-3
        close(one.flatten(), two.flatten())


@every_layer
def test_peft(kind):
    """It has magnitudes for outputs, and treats the norm as a constant."""
    layer, adapter = build(kind, PER_OUTPUT)
    model = peft.inject_adapter_in_model(
        peft.LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=["0"], use_dora=True),
        nn.Sequential(copy.deepcopy(layer)),
    )
    peer = model[0]
    theirs = {
        "lora_down.weight": peer.lora_A["default"].weight,
        "lora_up.weight": peer.lora_B["default"].weight,
        "dora_scale": peer.lora_magnitude_vector["default"].weight,
    }
    with torch.no_grad():
        for name, parameter in adapter.named_parameters():
            theirs[name].copy_(parameter.view_as(theirs[name]))
    compare_with(model, theirs, layer, adapter)
    peer.merge()
    close(layer.weight + adapter.delta_weight(), peer.get_base_layer().weight)


@every_layer
@both_ways
def test_lycoris(kind, per_input):
    """It lets gradients flow through the norm."""
    layer, adapter = build(kind, Decomposition(per_input, norm_gradient=True))
    twin = copy.deepcopy(layer)
    peer = LoConModule("x", twin, 1.0, RANK, ALPHA, weight_decompose=True, wd_on_out=not per_input)
    theirs = dict(peer.named_parameters())
    with torch.no_grad():
        for name, parameter in adapter.named_parameters():
            theirs[name].copy_(parameter)
    close(layer.weight + adapter.delta_weight(), peer.get_merged_weight()[0])
    peer.apply_to()
    compare_with(twin, theirs, layer, adapter)
