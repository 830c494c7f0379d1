"""What --network_args change about LoRA: its size, its scale, and what training starts from."""

import math

import pytest
import torch
from torch import nn

from library.errors import UserError
from networks.arguments import parse_arguments
from networks.kinds.lora import LoRALayer
from networks.layers.dropouts import Dropouts
from networks.layers.ranked_layer import Decomposition
from networks.targeting.targets import LayerSize, Target
from tests.networks.kinds.lora_cases import (
    ALPHA,
    KINDS,
    RANK,
    apply_weight,
    build,
    close,
    every_kind,
    values_for,
)


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(11)
        yield


LINEAR, CONVOLUTION = nn.Linear(6, 5), nn.Conv2d(6, 5, 3)


def from_arguments(layer: nn.Module, rank=RANK, alpha=ALPHA, **arguments: str) -> LoRALayer:
    parsed = parse_arguments("networks.lora", arguments)
    target = Target("some_layer", layer, "some.layer", "unet")
    return LoRALayer.build(target, LayerSize(rank, alpha), parsed, 0.9)


def test_arguments_reach_the_layer():
    plain = from_arguments(LINEAR)
    assert (plain.lora_dim, plain.alpha.item(), plain.multiplier, plain.dropouts) == (RANK, ALPHA, 0.9, Dropouts())
    assert plain.decomposition is plain.lora_mid is plain.scalar is None
    dropped = from_arguments(
        LINEAR, dropout="0.1", rank_dropout="0.2", module_dropout="0.3", rank_dropout_scale="False"
    )
    assert dropped.dropouts == Dropouts(0.1, 0.2, 0.3, rank_is_scaled=False)
    decomposed = from_arguments(LINEAR, dora_wd="True", wd_on_output="True", norm_gradient="True")
    assert decomposed.decomposition == Decomposition(per_input=False, norm_gradient=True)
    assert decomposed.dora_scale.shape == (5, 1)
    assert from_arguments(CONVOLUTION, use_tucker="True").lora_mid.weight.shape == (RANK, RANK, 3, 3)
    assert from_arguments(nn.Conv2d(6, 5, 1), use_tucker="True").lora_mid is None
    assert from_arguments(LINEAR, use_tucker="True").lora_mid is None


def test_rank_stabilised_scale_needs_nothing_special_of_readers():
    """Kalajdzievski 2023: alpha / sqrt(rank), for readers who compute alpha / rank."""
    layer = from_arguments(LINEAR, rank=16, alpha=2.0, rs_lora="True")
    assert layer.scale == pytest.approx(2 / math.sqrt(16))
    assert layer.alpha.item() / 16 == pytest.approx(2 / math.sqrt(16))
    start = from_arguments(LINEAR, rank=16, alpha=2.0)
    assert start.scale == 2 / 16


@every_kind
def test_a_scalar_starts_at_zero_and_is_saved_as_part_of_up(kind):
    layer, adapter = build(kind, torch.float32, trained=False, has_scalar=True)
    x = values_for(layer, torch.float32)
    base = layer(x)
    assert adapter.lora_up.weight.abs().max() > 0.1
    assert adapter.delta_weight().abs().max() == 0
    adapter.hook_into_layer()
    close(layer(x), base, tolerance=1e-6)
    layer(x).square().sum().backward()
    assert adapter.scalar.grad.abs() > 0.01
    assert adapter.lora_up.weight.grad.abs().max() == 0
    nn.init.constant_(adapter.scalar, -0.5)
    delta = adapter.delta_weight()
    assert delta.std() > 0.001
    saved = adapter.file_tensors()
    assert set(saved) == set(build(kind)[1].file_tensors())
    close(LoRALayer.from_tensors("x", layer, saved).delta_weight(), delta, tolerance=1e-6)
    adapter.load_tensors(saved)
    assert adapter.scalar.item() == 1
    close(adapter.delta_weight(), delta, tolerance=1e-6)


# ---- what training starts from


@every_kind
def test_orthogonal_factors_move_both_and_change_nothing(kind):
    layer = KINDS[kind]().requires_grad_(False)
    adapter = from_arguments(layer, init="orthogonal")
    down, up = adapter.lora_down.weight.flatten(1), adapter.lora_up.weight.flatten(1)
    assert 0.02 < down.std() < 0.2
    assert 0.02 < up.std() < 0.2
    assert adapter.delta_weight().abs().max() < 1e-8
    x = values_for(layer, torch.float32)
    base = layer(x)
    adapter.hook_into_layer()
    close(layer(x), base, tolerance=1e-6)
    layer(x).square().sum().backward()
    assert all(parameter.grad.abs().mean() > 0.01 for parameter in adapter.parameters())
    with pytest.raises(UserError, match="init=orthogonal: needs even ranks, and a layer has 3"):
        from_arguments(layer, rank=3, init="orthogonal")


def principal(kind: str) -> tuple[nn.Module, LoRALayer]:
    layer = KINDS[kind]().requires_grad_(False)
    adapter = from_arguments(layer, rank=2, init="pissa")
    adapter.multiplier = 1.0
    return layer, adapter


@every_kind
def test_principal_factors_are_the_best_approximation_of_the_weight(kind):
    layer, adapter = principal(kind)
    product = adapter.scale * adapter.lora_up.weight.flatten(1) @ adapter.lora_down.weight.flatten(1)
    left, values, right = torch.linalg.svd(layer.weight.flatten(1), full_matrices=False)
    close(product, (left[:, :2] * values[:2]) @ right[:2], tolerance=1e-5)
    # half of the singular value is in each factor
    norms = adapter.scale * adapter.lora_down.weight.flatten(1).square().sum(1)
    close(norms, values[:2], tolerance=1e-5)
    with pytest.raises(UserError, match="a layer has no more than 5 singular vectors, but rank 6; lower it"):
        from_arguments(layer, rank=6, init="pissa")


@every_kind
def test_principal_factors_train_the_difference_from_their_start(kind):
    layer, adapter = principal(kind)
    x = values_for(layer, torch.float32).requires_grad_()
    base = layer(x)
    adapter.hook_into_layer()
    assert adapter.delta_weight().abs().max() == 0
    close(layer(x), base, tolerance=1e-6)

    start = adapter.lora_up.weight.flatten(1) @ adapter.lora_down.weight.flatten(1)
    start = start.detach()
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    product = adapter.lora_up.weight.flatten(1) @ adapter.lora_down.weight.flatten(1)
    delta = adapter.scale * (product - start).view_as(layer.weight)
    assert delta.std() > 0.01
    close(adapter.delta_weight(), delta, tolerance=1e-6)
    close(adapter.delta_norm(), delta.norm(), tolerance=1e-5)
    formula = apply_weight(layer, layer.weight + delta, x) + (0 if layer.bias is None else bias_of(layer))
    close(layer(x), formula, tolerance=1e-5)
    leaves = [x, *adapter.parameters()]
    assert len(leaves) == 3
    ours = torch.autograd.grad(layer(x).sin().sum(), leaves)
    for one, two in zip(ours, torch.autograd.grad(formula.sin().sum(), leaves), strict=True):
        close(one, two, tolerance=1e-4)


def bias_of(layer: nn.Module) -> torch.Tensor:
    return layer.bias.view(-1, 1, 1) if isinstance(layer, nn.Conv2d) else layer.bias


@every_kind
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_principal_factors_in_files(kind, dtype):
    """A plain LoRA of twice the rank, as exact in half precision as the change itself can be."""
    layer, adapter = principal(kind)
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter.add_(1e-3 * torch.randn_like(parameter))
    delta = adapter.delta_weight()
    saved = {name: value.to(dtype) for name, value in adapter.file_tensors().items()}
    assert set(saved) == {"lora_down.weight", "lora_up.weight", "alpha"}
    plain = LoRALayer.from_tensors("x", layer, saved)
    assert plain.lora_dim == 4
    assert plain.scale == adapter.scale
    tolerance = 1e-5 if dtype == torch.float32 else 0.01
    assert (plain.delta_weight() - delta).norm() < tolerance * delta.norm()

    again = from_arguments(layer, rank=2, init="pissa")
    again.load_tensors(saved)
    assert (again.delta_weight() - delta).norm() < tolerance * delta.norm()
    close(again.lora_up.weight, adapter.lora_up.weight, tolerance=1e-6 if dtype == torch.float32 else 0.01)
    assert again.scale == adapter.scale
    with pytest.raises(UserError, match=r"lora_down.weight has the rank 2; .* which is 4 here"):
        again.load_tensors(build(kind, torch.float32, rank=2, has_mid=False)[1].file_tensors())


def test_dropped_ranks_of_principal_factors_are_dropped_with_their_start():
    layer = nn.Linear(6, 5).requires_grad_(False)
    adapter = from_arguments(layer, rank=2, init="pissa", rank_dropout="0.5", rank_dropout_scale="False")
    with torch.no_grad():
        adapter.lora_up.weight.add_(0.1)
    x = torch.randn(1, 6).expand(200, 6)
    changes = adapter.train().change(x).detach()
    of_rank = [
        adapter.scale * (up[:, None] * down - start_up[:, None] * start_down)
        for up, down, start_up, start_down in zip(
            adapter.lora_up.weight.T, adapter.lora_down.weight, adapter.start_up.T, adapter.start_down, strict=True
        )
    ]
    expected = [0 * x[0] @ of_rank[0].T, of_rank[0] @ x[0], of_rank[1] @ x[0], (of_rank[0] + of_rank[1]) @ x[0]]
    distances = torch.stack([(changes - one.detach()).abs().amax(1) for one in expected])
    assert distances.amin(0).max() < 1e-5
    assert len(set(distances.argmin(0).tolist())) == 4
