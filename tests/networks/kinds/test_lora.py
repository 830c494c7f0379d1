"""One adapted layer: its weight change, live forward, merge, file content and gradients agree."""

import math

import pytest
import torch
from torch import nn

from library.errors import UserError
from networks.kinds.lora import LoRALayer
from networks.layers.adapted_layer import AdaptedLayer
from networks.layers.dropouts import Dropouts
from tests.networks.kinds.lora_cases import (
    ALPHA,
    DTYPES,
    RANK,
    SCALE,
    apply_weight,
    build,
    close,
    every_kind,
    values_for,
    written_out,
)


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(11)
        yield


@every_kind
def test_the_weight_change_is_what_the_live_layer_adds(kind):
    layer, adapter = build(kind)
    x = values_for(layer)
    base = layer(x)
    delta = adapter.delta_weight()
    assert delta.shape == layer.weight.shape
    assert delta.std() > 0.05
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
    down = adapter.lora_down.weight
    bound = 1 / math.sqrt(down[0].numel())
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
    layer, adapter = build(kind, rank=1, alpha=None, dropouts=Dropouts(neuron=0.25))
    side = 10 * layer.stride[0] if isinstance(layer, nn.Conv2d) else None
    x = torch.randn((20, 6, side, side) if side else (2000, 6), dtype=torch.float64)
    full = adapter.eval().change(x)
    assert torch.equal(adapter.change(x), full)
    dropped = adapter.train().change(x)
    # of rank 1 there is one value between `down` and `up`: it is dropped, or grows to keep the mean
    factors = (dropped / full).select(1, 0).flatten().tolist()
    assert len(factors) == 2000
    assert {round(value, 6) for value in factors} == {0.0, round(1 / 0.75, 6)}
    assert factors.count(0.0) == pytest.approx(500, abs=100)
    assert not torch.equal(adapter.change(x), dropped)


def test_without_dropout_training_changes_nothing():
    layer, adapter = build("linear", dropouts=Dropouts(neuron=0.0))
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
    is_tucker = kind.endswith("tucker")
    kernel = list(layer.weight.shape[2:])
    pixel = [1 for _ in kernel]
    mid = [("lora_mid.weight", [RANK, RANK, *kernel])] if is_tucker else []
    assert sorted((name, list(value.shape)) for name, value in adapter.file_tensors().items()) == [
        ("alpha", []),
        ("lora_down.weight", [RANK, 6, *(pixel if is_tucker else kernel)]),
        *mid,
        ("lora_up.weight", [5, RANK, *pixel]),
    ]
    assert adapter.state_dict().keys() == adapter.file_tensors().keys() <= LoRALayer.SUFFIXES
    assert {value.dtype for value in adapter.state_dict().values()} == {torch.float32}
    assert {name for name, _ in adapter.named_parameters()} == adapter.state_dict().keys() - {"alpha"}


@every_kind
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_loading_takes_over_the_files_alpha(kind, dtype):
    layer, saved = build(kind, torch.float32)
    state = {name: value.to(dtype).clone() for name, value in saved.state_dict().items()}
    fresh = build(kind, torch.float32, trained=False, alpha=1.0)[1]
    assert fresh.scale == 0.25
    fresh.load_tensors(state)
    assert fresh.alpha.item() == ALPHA
    assert fresh.scale == SCALE
    assert {value.dtype for value in fresh.state_dict().values()} == {torch.float32}
    close(fresh.delta_weight(), saved.delta_weight(), tolerance=1e-6 if dtype == torch.float32 else 5e-3)
    again = LoRALayer.from_tensors("some_layer", layer, state, multiplier=0.5)
    assert (again.lora_dim, again.scale, again.multiplier) == (RANK, SCALE, 0.5)
    assert torch.equal(again.delta_weight(), fresh.delta_weight())


@every_kind
def test_gradients_are_those_of_the_formula(kind):
    layer, adapter = build(kind)
    x = values_for(layer).requires_grad_()
    leaves = [x, *adapter.parameters()]
    assert len(leaves) == (4 if kind.endswith("tucker") else 3)
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
    adapter = AdaptedLayer("x", nn.Linear(2, 2))
    with pytest.raises(NotImplementedError, match="AdaptedLayer"):
        adapter.delta_weight()


def test_the_layer_is_not_part_of_the_adapter():
    """Else saving a network would save the model with it, and moving it would move the model."""
    layer, adapter = build("linear")
    assert adapter.layer is layer
    assert layer not in set(adapter.modules())
    assert len(list(adapter.modules())) == 3


# ---- dropouts


@every_kind
@pytest.mark.parametrize("is_scaled", [True, False])
def test_rank_dropout_leaves_out_ranks_of_single_images(kind, is_scaled):
    layer, adapter = build(kind, dropouts=Dropouts(rank=0.5, rank_is_scaled=is_scaled))
    x = values_for(layer)[:1].repeat(400, *(1 for _ in values_for(layer).shape[1:]))
    x = x[:, 0] if x.ndim == 3 else x
    changes = adapter.train().change(x)
    of_rank = []
    for rank in range(RANK):
        single = build(kind, trained=False)[1]
        single.load_state_dict(adapter.state_dict())
        with torch.no_grad():
            single.lora_up.weight[:, [one for one in range(RANK) if one != rank]] = 0
        of_rank.append(single.change(x[:1])[0].flatten())
    solved = torch.linalg.lstsq(torch.stack(of_rank, 1), changes.flatten(1).T).solution
    factor = 2.0 if is_scaled else 1.0
    assert solved.shape == (RANK, 400)
    assert set(solved.round(decimals=6).flatten().abs().tolist()) == {0.0, factor}
    assert (solved > 0.5).double().mean().item() == pytest.approx(0.5, abs=0.05)
    assert len(set(map(tuple, solved.round().T.tolist()))) == 2**RANK
    assert torch.equal(adapter.eval().change(x[:1]), build_like(kind, adapter).change(x[:1]))


def build_like(kind: str, adapter: LoRALayer) -> LoRALayer:
    same = build(kind, trained=False)[1]
    same.load_state_dict(adapter.state_dict())
    return same


@every_kind
def test_the_fused_forward_drops_the_same(kind):
    """What the live layer computes with masks is base output + change with the same masks."""
    layer, adapter = build(kind, dropouts=Dropouts(neuron=0.3, rank=0.3), multiplier=0.7)
    x = values_for(layer)
    base = layer(x)
    adapter.hook_into_layer()
    torch.manual_seed(3)
    change = adapter.train().change(x)
    torch.manual_seed(3)
    live = layer(x)
    close(live, base + 0.7 * change)
    assert not torch.allclose(live, base + 0.7 * adapter.eval().change(x))


@every_kind
def test_module_dropout_leaves_the_layer_as_it_is(kind):
    layer, adapter = build(kind, dropouts=Dropouts(module=0.5))
    x = values_for(layer)
    base = layer(x)
    adapter.hook_into_layer()
    left_out = [torch.equal(layer(x), base) for _ in range(60)]
    assert 10 < sum(left_out) < 50
    adapter.eval()
    assert not any(torch.equal(layer(x), base) for _ in range(20))


# ---- files that do not fit


def test_files_that_do_not_fit():
    layer, adapter = build("linear", torch.float32)
    tensors = adapter.file_tensors()
    own = "some_layer.lora_down.weight"
    with pytest.raises(UserError, match=rf"{own}: 7x6 instead of 4x6"):
        adapter.load_tensors({**tensors, "lora_down.weight": torch.ones(7, 6)})
    with pytest.raises(UserError, match=rf"{own} is missing"):
        adapter.load_tensors({"alpha": tensors["alpha"], "lora_up.weight": tensors["lora_up.weight"]})
    with pytest.raises(UserError, match=r"some_layer\.lora_mid\.weight has no place in this network"):
        adapter.load_tensors({**tensors, "lora_mid.weight": torch.ones(4, 4, 3, 3)})
    with pytest.raises(UserError, match=r"some_layer\.dora_scale has no place in this network"):
        adapter.load_tensors({**tensors, "dora_scale": torch.ones(1, 6)})
    with pytest.raises(UserError, match=r"lora_up\.weight: 9x4 instead of 5x4"):
        LoRALayer.from_tensors("x", layer, {**tensors, "lora_up.weight": torch.ones(9, 4)})


def test_linear_layers_and_convolutions_of_one_pixel_are_interchangeable():
    linear, on_linear = build("linear", torch.float32)
    pixel, on_pixel = build("1x1 convolution", torch.float32)
    from_linear = LoRALayer.from_tensors("x", pixel, on_linear.file_tensors())
    assert torch.equal(from_linear.delta_weight().flatten(1), on_linear.delta_weight())
    from_pixel = LoRALayer.from_tensors("x", linear, on_pixel.file_tensors())
    assert torch.equal(from_pixel.delta_weight(), on_pixel.delta_weight().flatten(1))


# ---- the limit of --scale_weight_norms


@every_kind
def test_shrinking_scales_the_weight_change(kind):
    _, adapter = build(kind)
    before = adapter.delta_weight()
    close(adapter.delta_norm(), before.norm())
    with torch.no_grad():
        adapter.shrink(torch.tensor(0.3))
    close(adapter.delta_weight(), 0.3 * before, tolerance=1e-6)
