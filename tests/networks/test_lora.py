"""One adapted layer: its weight change, live forward, merge, file content and gradients agree."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from networks.adapted_layer import AdaptedLayer
from networks.lora import LoRALayer

# The layers are so small that more threads would only wait for each other.
torch.set_num_threads(1)

RANK, ALPHA = 4, 3.0
SCALE = ALPHA / RANK
KINDS = {
    "linear": lambda: nn.Linear(6, 5),
    "linear without bias": lambda: nn.Linear(6, 5, bias=False),
    "1x1 convolution": lambda: nn.Conv2d(6, 5, 1),
    "1x1 convolution without bias": lambda: nn.Conv2d(6, 5, 1, bias=False),
}
DTYPES = {"float64": torch.float64, "float32": torch.float32}

every_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(11)
        yield


def build(kind: str, dtype=torch.float64, trained=True, **options) -> tuple[nn.Module, LoRALayer]:
    """A layer and its adapter; a trained one has an `up` that is not zero."""
    layer = KINDS[kind]().to(dtype).requires_grad_(False)
    adapter = LoRALayer("some_layer", layer, **{"rank": RANK, "alpha": ALPHA, **options}).to(dtype)
    if trained:
        nn.init.normal_(adapter.lora_up.weight)
    return layer, adapter


def values_for(layer: nn.Module, dtype=torch.float64) -> torch.Tensor:
    shape = (3, 6, 4, 2) if isinstance(layer, nn.Conv2d) else (3, 7, 6)
    return torch.randn(shape, dtype=dtype)


def apply_weight(layer: nn.Module, weight: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    return functional.conv2d(x, weight) if isinstance(layer, nn.Conv2d) else functional.linear(x, weight)


def written_out(layer: nn.Module, adapter: LoRALayer) -> torch.Tensor:
    """alpha / rank * up @ down, element by element."""
    down, up = adapter.lora_down.weight.flatten(1), adapter.lora_up.weight.flatten(1)
    product = torch.einsum("or,ri->oi", up, down) * (adapter.alpha.item() / adapter.lora_dim)
    return product.reshape(layer.weight.shape)


def close(first: torch.Tensor, second: torch.Tensor, tolerance: float = 1e-10) -> None:
    torch.testing.assert_close(first, second, rtol=tolerance, atol=tolerance)


@every_kind
def test_the_weight_change_is_what_the_live_layer_adds(kind):
    layer, adapter = build(kind)
    x = values_for(layer)
    base = layer(x)
    delta = adapter.delta_weight()
    assert delta.shape == layer.weight.shape
    assert delta.std() > 0.1
    close(delta, written_out(layer, adapter))
    adapter.hook_into_layer()
    added = layer(x) - base
    assert added.abs().mean() > 0.1
    close(added, apply_weight(layer, delta, x))
    close(added, adapter.change(x))


@every_kind
@pytest.mark.parametrize("multiplier", [1.0, 0.3, -2.0])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_merged_layer_is_the_live_layer(kind, multiplier, dtype):
    layer, adapter = build(kind, DTYPES[dtype], multiplier=multiplier)
    x = values_for(layer, DTYPES[dtype])
    base = layer(x)
    adapter.hook_into_layer()
    live = layer(x)
    del layer.forward
    adapter.merge()
    assert layer.weight.dtype == DTYPES[dtype]
    assert not torch.allclose(layer(x), base, atol=0.1)
    # the sum is formed in float32
    close(layer(x), live, tolerance=1e-5)


@every_kind
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_merging_into_another_precision(kind, dtype):
    layer, adapter = build(kind, torch.float32)
    expected = (layer.weight + written_out(layer, adapter)).to(dtype)
    adapter.merge(dtype)
    assert layer.weight.dtype == dtype
    close(layer.weight, expected, tolerance=torch.finfo(dtype).eps)


@every_kind
def test_the_change_is_zero_at_the_start(kind):
    layer, adapter = build(kind, trained=False)
    x = values_for(layer)
    base = layer(x)
    adapter.hook_into_layer()
    assert torch.equal(layer(x), base)
    assert adapter.delta_weight().abs().max() == 0
    assert adapter.lora_up.weight.abs().max() == 0
    bound = 1 / math.sqrt(6)
    down = adapter.lora_down.weight
    assert 0.5 * bound < down.abs().max() <= bound


def test_down_starts_uniform_up_to_one_over_the_root_of_its_inputs():
    """PyTorch's own start for layers, as in every other implementation."""
    down = LoRALayer("x", nn.Linear(100, 7), rank=64).lora_down.weight
    assert down.abs().max().item() == pytest.approx(0.1, rel=0.01)
    assert down.std().item() == pytest.approx(0.1 / math.sqrt(3), rel=0.05)
    assert down.mean().item() == pytest.approx(0, abs=0.005)


@every_kind
def test_the_multiplier_scales_the_change(kind):
    layer, adapter = build(kind)
    x = values_for(layer)
    base, change = layer(x), adapter.change(x)
    adapter.hook_into_layer()
    for multiplier in (1.0, 0.25, -1.5):
        adapter.multiplier = multiplier
        close(layer(x), base + multiplier * change)
    adapter.multiplier = 0.0
    assert torch.equal(layer(x), base)


@every_kind
def test_two_networks_on_one_layer_add_up(kind):
    layer, first = build(kind)
    second = LoRALayer("other", layer, rank=2, alpha=5.0, multiplier=0.5).double()
    nn.init.normal_(second.lora_up.weight)
    x = values_for(layer)
    base = layer(x)
    first.hook_into_layer()
    second.hook_into_layer()
    close(layer(x), base + first.change(x) + 0.5 * second.change(x))
    first.multiplier = 0.0
    close(layer(x), base + 0.5 * second.change(x))
    second.multiplier = 0.0
    assert torch.equal(layer(x), base)


@every_kind
def test_dropout_works_in_training_only(kind):
    layer, adapter = build(kind, rank=1, alpha=None, dropout=0.25)
    x = torch.randn((20, 6, 10, 10) if isinstance(layer, nn.Conv2d) else (2000, 6), dtype=torch.float64)
    full = adapter.eval().change(x)
    assert torch.equal(adapter.change(x), full)
    dropped = adapter.train().change(x)
    # of rank 1 there is one value between `down` and `up`: it is dropped, or grows to keep the mean
    factors = (dropped / full).select(1, 0).flatten().tolist()
    assert len(factors) == 2000
    assert {round(value, 6) for value in factors} == {0.0, round(1 / 0.75, 6)}
    assert factors.count(0.0) == pytest.approx(500, abs=100)
    assert not torch.equal(adapter.change(x), dropped)


@pytest.mark.parametrize("dropout", [None, 0, 0.0])
def test_without_dropout_training_changes_nothing(dropout):
    layer, adapter = build("linear", dropout=dropout)
    x = values_for(layer)
    before = torch.get_rng_state()
    assert torch.equal(adapter.train().change(x), adapter.eval().change(x))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("rank", "given", "saved", "scale"),
    [(4, None, 4.0, 1.0), (4, 0, 4.0, 1.0), (4, 1, 1.0, 0.25), (8, 16.0, 16.0, 2.0), (3, 1.0, 1.0, 1 / 3)],
)
def test_alpha_and_scale(rank, given, saved, scale):
    adapter = LoRALayer("x", nn.Linear(6, 5), rank, given)
    assert adapter.alpha.item() == saved
    assert adapter.scale == pytest.approx(scale, rel=1e-12)
    assert adapter.lora_dim == rank


@every_kind
def test_the_state_dict_is_what_files_hold(kind):
    layer, adapter = build(kind, torch.float32)
    kernel = [1, 1] if isinstance(layer, nn.Conv2d) else []
    assert [(name, list(value.shape)) for name, value in adapter.state_dict().items()] == [
        ("alpha", []),
        ("lora_down.weight", [RANK, 6, *kernel]),
        ("lora_up.weight", [5, RANK, *kernel]),
    ]
    assert {value.dtype for value in adapter.state_dict().values()} == {torch.float32}
    assert [name for name, _ in adapter.named_parameters()] == ["lora_down.weight", "lora_up.weight"]


@every_kind
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_loading_takes_over_the_files_alpha(kind, dtype):
    layer, saved = build(kind, torch.float32)
    state = {name: value.to(dtype).clone() for name, value in saved.state_dict().items()}
    fresh = LoRALayer("some_layer", layer, RANK, alpha=1.0)
    assert fresh.scale == 0.25
    fresh.load_state_dict(state)
    assert fresh.alpha.item() == ALPHA
    assert fresh.scale == SCALE
    close(fresh.delta_weight(), saved.delta_weight(), tolerance=1e-6 if dtype == torch.float32 else 5e-3)
    # an alpha that the file lacks stays what it was
    other = LoRALayer("some_layer", layer, RANK, alpha=1.0)
    other.load_state_dict({name: value for name, value in state.items() if name != "alpha"}, strict=False)
    assert other.scale == 0.25
    assert torch.equal(other.lora_up.weight, fresh.lora_up.weight)


@every_kind
def test_gradients_are_those_of_the_formula(kind):
    layer, adapter = build(kind)
    x = values_for(layer).requires_grad_()
    leaves = [x, adapter.lora_down.weight, adapter.lora_up.weight]
    # as if the layer's weight were replaced by W + alpha / rank * up @ down
    formula = layer(x) + apply_weight(layer, written_out(layer, adapter), x)
    expected = torch.autograd.grad(formula.sin().sum(), leaves)
    adapter.hook_into_layer()
    live = torch.autograd.grad(layer(x).sin().sum(), leaves)
    for ours, theirs in zip(live, expected, strict=True):
        assert theirs.abs().mean() > 0.01
        close(ours, theirs)
    assert not layer.weight.requires_grad


@every_kind
def test_the_first_step_moves_up_only(kind):
    layer, adapter = build(kind, trained=False)
    adapter.hook_into_layer()
    layer(values_for(layer)).square().sum().backward()
    assert adapter.lora_up.weight.grad.abs().mean() > 0.1
    assert adapter.lora_down.weight.grad.abs().max() == 0


@every_kind
def test_bfloat16_throughout(kind):
    layer, adapter = build(kind, torch.float32)
    x = values_for(layer, torch.float32)
    adapter.hook_into_layer()
    exact = layer(x)
    layer.bfloat16()
    adapter.bfloat16()
    result = layer(x.bfloat16())
    assert result.dtype == torch.bfloat16
    assert result.isfinite().all()
    close(result.float(), exact, tolerance=0.1)


@every_kind
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_frozen_layer_in_half_precision_under_autocast(kind, dtype):
    """As in training: the adapter's own weights and gradients stay float32."""
    layer, adapter = build(kind, torch.float32)
    x = values_for(layer, torch.float32)
    adapter.hook_into_layer()
    exact = layer(x)
    exact.square().mean().backward()
    gradient = adapter.lora_up.weight.grad.clone()
    adapter.zero_grad()
    layer.to(dtype)
    with torch.autocast("cpu", dtype):
        result = layer(x.to(dtype))
    assert result.dtype == dtype
    assert result.isfinite().all()
    close(result.float(), exact, tolerance=0.01 if dtype == torch.float16 else 0.1)
    result.float().square().mean().backward()
    assert adapter.lora_up.weight.grad.dtype == torch.float32
    close(adapter.lora_up.weight.grad, gradient, tolerance=0.01 if dtype == torch.float16 else 0.1)


def test_other_arguments_reach_the_layer():
    class Shifted(nn.Linear):
        def forward(self, x, shift, scale=1.0):
            return super().forward(x) * scale + shift

    layer = Shifted(6, 5)
    adapter = LoRALayer("x", layer, RANK)
    nn.init.normal_(adapter.lora_up.weight)
    x = torch.randn(2, 6)
    base = layer(x, 1.0, scale=2.0)
    adapter.hook_into_layer()
    close(layer(x, 1.0, scale=2.0), base + adapter.change(x), tolerance=1e-6)


def test_the_base_class_defines_no_change():
    adapter = AdaptedLayer("x", nn.Linear(2, 2), 1, None, 1.0)
    with pytest.raises(TypeError, match="AdaptedLayer does not define its weight change"):
        adapter.delta_weight()
    with pytest.raises(TypeError, match="AdaptedLayer does not define its forward pass"):
        adapter.change(torch.ones(1, 2))


def test_the_layer_is_not_part_of_the_adapter():
    """Else saving a network would save the model with it, and moving it would move the model."""
    layer, adapter = build("linear")
    assert adapter.layer is layer
    assert layer not in set(adapter.modules())
    assert len(list(adapter.modules())) == 3
