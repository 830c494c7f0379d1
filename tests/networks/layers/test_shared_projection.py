"""One projection for layers with the same input: it is shared when it may be, and never wrong."""

import copy
import gc
import weakref

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from networks.layers import shared_projection
from networks.layers.low_rank_functions import low_rank_linear
from networks.layers.shared_projection import SharedProjection

IN, OUT, RANKS = 6, 5, (3, 2, 4)


class Layers:
    """Queries, keys and values; each with a weight of its own, and one shared projection."""

    def __init__(self, dtype=torch.float64):
        torch.manual_seed(1)
        self.weights = [torch.randn(OUT, IN, dtype=dtype) for _ in RANKS]
        self.downs = [torch.randn(rank, IN, dtype=dtype, requires_grad=True) for rank in RANKS]
        self.ups = [torch.randn(OUT, rank, dtype=dtype, requires_grad=True) for rank in RANKS]
        self.shared = SharedProjection(self.downs)

    @property
    def parameters(self):
        return [*self.downs, *self.ups]

    def run(self, place, x, mask=None):
        weight, down, up = self.weights[place], self.downs[place], self.ups[place]
        return low_rank_linear(x, weight, None, down, up, 0.5, mask, shared=self.shared.project(place, x))

    def run_alone(self, place, x, mask=None):
        return low_rank_linear(x, self.weights[place], None, self.downs[place], self.ups[place], 0.5, mask)


@pytest.fixture
def layers():
    return Layers()


@pytest.fixture
def products(monkeypatch):
    """How many projections are computed at a time, for each time."""
    counts = []
    project = shared_projection._project
    monkeypatch.setattr(
        shared_projection, "_project", lambda x, members: counts.append(len(members)) or project(x, members)
    )
    return counts


def draw_input(shape=(2, 4), dtype=torch.float64):
    return torch.randn(*shape, IN, dtype=dtype, requires_grad=True)


def test_members_with_one_input_need_one_product(layers, products):
    x = draw_input()
    outputs = [layers.run(place, x) for place in range(3)]
    assert products == [3]
    alone = [layers.run_alone(place, x) for place in range(3)]
    torch.testing.assert_close(outputs, alone)
    wanted = [x, *layers.parameters]
    found, true = (torch.autograd.grad(sum(y.sin().sum() for y in ys), wanted) for ys in (outputs, alone))
    torch.testing.assert_close(found, true)


def test_each_member_has_its_own_dropout(layers):
    x = draw_input()
    masks = [torch.rand(2, 1, rank, dtype=torch.float64) for rank in RANKS]
    found, true = (
        torch.autograd.grad(sum(run(place, x, masks[place]).sin().sum() for place in range(3)), [x, *layers.parameters])
        for run in (layers.run, layers.run_alone)
    )
    torch.testing.assert_close(found, true)


def test_a_member_with_another_input_gets_its_own_projection(layers, products):
    first, second = draw_input(), draw_input()
    for place, x in ((0, first), (1, second), (2, first)):
        torch.testing.assert_close(layers.run(place, x), layers.run_alone(place, x))
    assert products == [3, 3, 3]


def test_a_member_that_is_called_twice_computes_again(layers, products):
    x = draw_input()
    for place in (0, 0, 1, 1):
        torch.testing.assert_close(layers.run(place, x), layers.run_alone(place, x))
    assert products == [3, 3, 3]


def test_gradients_flow_when_a_member_is_left_out(layers):
    x = draw_input()
    found, true = (
        torch.autograd.grad(run(0, x).sin().sum() + run(2, x).sin().sum(), [x, layers.downs[0], layers.downs[2]])
        for run in (layers.run, layers.run_alone)
    )
    torch.testing.assert_close(found, true)


def test_a_changed_input_or_parameter_is_noticed(layers):
    x = draw_input()
    with torch.no_grad():
        layers.run(0, x)
        x.mul_(2)
        torch.testing.assert_close(layers.run(1, x), layers.run_alone(1, x))
        layers.downs[2].mul_(2)
        torch.testing.assert_close(layers.run(2, x), layers.run_alone(2, x))


def test_what_was_computed_without_gradients_has_gradients_where_it_is_used_with_them(layers, products):
    x = draw_input()
    with torch.no_grad():
        layers.run(0, x)
    assert torch.autograd.grad(layers.run(1, x).sum(), layers.downs[1])[0].abs().sum() > 0
    assert products == [3]


def test_under_autocast_the_input_is_kept_once_in_half_precision():
    layers, x = Layers(torch.float32), draw_input(dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        alone = [layers.run_alone(place, x) for place in range(3)]
        kept = []
        with torch.autograd.graph.saved_tensors_hooks(lambda one: kept.append(one) or one, lambda one: one):
            outputs = [layers.run(place, x) for place in range(3)]
    of_input = {one.data_ptr() for one in kept if one.shape == x.shape}
    assert len(of_input) == 1
    assert x.data_ptr() not in of_input
    assert sum(one.shape == x.shape and one.dtype == torch.bfloat16 for one in kept) == 3
    wanted = [x, *layers.parameters]
    found, true = (torch.autograd.grad(sum(y.float().sin().sum() for y in ys), wanted) for ys in (outputs, alone))
    assert all(gradient.dtype == torch.float32 for gradient in found)
    torch.testing.assert_close(found, true)


def test_inference_mode_and_autocast(layers):
    with torch.inference_mode():
        x = torch.randn(3, IN, dtype=torch.float64)
        torch.testing.assert_close(layers.run(1, x), layers.run_alone(1, x))
    narrow, x = Layers(torch.float32), draw_input(dtype=torch.float32)
    narrow.run(0, x)
    with torch.autocast("cpu", torch.bfloat16):
        output = narrow.run(1, x)
    assert output.dtype == torch.bfloat16
    assert torch.autograd.grad(output.sum(), narrow.downs[1])[0].dtype == torch.float32


@pytest.mark.parametrize("use_reentrant", [True, False])
@pytest.mark.parametrize("places", [(0, 1, 2), (1, 2), (0, 2)], ids=str)
def test_checkpointing_gives_the_same_gradients(layers, use_reentrant, places):
    """Cross-attention's keys and values get an input from outside of the checkpointed block: the same tensor, forward
    and in the recomputation."""
    x, hidden = draw_input(), draw_input()

    def block(run, hidden, x):
        inside = hidden.sin()
        return sum((run(place, x) * run(place, inside)).sum() + run(place, x).cos().sum() for place in places)

    def loss_of(run):
        return sum(checkpoint(block, run, hidden, x, use_reentrant=use_reentrant) for _ in range(2))

    wanted = [x, hidden, *(layers.downs[place] for place in places), *(layers.ups[place] for place in places)]
    results = []
    for run in (layers.run, layers.run_alone):
        for tensor in wanted:
            tensor.grad = None
        loss_of(run).backward()
        results.append([tensor.grad.clone() for tensor in wanted])
    torch.testing.assert_close(*results)


def test_no_activation_is_kept_alive(layers):
    x = draw_input()
    layers.run(0, x)  # two members never take theirs
    gone = weakref.ref(x)
    del x
    gc.collect()
    assert gone() is None


def test_copies_have_the_copied_parameters(layers):
    layers.run(0, draw_input())
    shared, downs = copy.deepcopy((layers.shared, layers.downs))
    assert all(one is other for one, other in zip(shared.members, downs, strict=True))
    x = draw_input()
    torch.testing.assert_close(shared.project(1, x), (x, x @ downs[1].t()))
