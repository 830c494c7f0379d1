"""AdamW on flat buffers against torch's own."""

import copy
from collections.abc import Callable, Iterator

import pytest
import safetensors.torch
import torch
from torch.nn import Parameter
from torch.optim.adamw import adamw

from library.optimizers.flat_adamw import FlatAdamW
from library.optimizers.gradient_clipping import clip_gradients
from networks.files.weights_file import read_network_file, write_network_file

SHAPES = ((4, 6), (6, 4), (3,), (8, 2, 3, 3), (1,), (5, 4))
GROUPS = (
    {"lr": 1e-2, "weight_decay": 0.1},
    {"lr": 3e-3, "betas": (0.8, 0.95), "eps": 1e-6},
)
TOLERANCE = 1e-6

Pair = tuple[FlatAdamW, torch.optim.AdamW]


def weights_of(optimizer: torch.optim.Optimizer) -> list[Parameter]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def pair(dtype: torch.dtype = torch.float32) -> Pair:
    """Both with the same weights in two groups."""
    generator = torch.Generator().manual_seed(1)
    values = [torch.randn(shape, generator=generator, dtype=dtype) for shape in SHAPES]

    def build(optimizer_class: type) -> torch.optim.Optimizer:
        parameters = [Parameter(value.clone()) for value in values]
        groups = [{"params": parameters[:4], **GROUPS[0]}, {"params": parameters[4:], **GROUPS[1]}]
        return optimizer_class(groups, lr=1e-3)

    return build(FlatAdamW), build(torch.optim.AdamW)


def give_gradients(optimizers: Pair, seed: int, missing: tuple[int, ...] = ()) -> None:
    for optimizer in optimizers:
        generator = torch.Generator().manual_seed(seed)
        for index, parameter in enumerate(weights_of(optimizer)):
            gradient = torch.randn(parameter.shape, generator=generator).to(parameter.dtype)
            parameter.grad = None if index in missing else gradient


def take_steps(optimizers: Pair, seeds: range, missing: Callable[[int], tuple[int, ...]] = lambda seed: ()) -> None:
    for seed in seeds:
        give_gradients(optimizers, seed, missing(seed))
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)


def assert_same(optimizers: Pair, tolerance: float = TOLERANCE) -> None:
    ours, theirs = (weights_of(optimizer) for optimizer in optimizers)
    assert len(ours) == len(SHAPES)
    for weight, expected in zip(ours, theirs, strict=True):
        torch.testing.assert_close(weight, expected, rtol=tolerance, atol=tolerance)
    assert_same_state(*(optimizer.state_dict() for optimizer in optimizers), tolerance)


def assert_same_state(ours: dict, theirs: dict, tolerance: float = 0.0) -> None:
    assert ours["param_groups"] == theirs["param_groups"]
    assert ours["state"].keys() == theirs["state"].keys()
    for index, expected in theirs["state"].items():
        assert ours["state"][index].keys() == expected.keys() == {"step", "exp_avg", "exp_avg_sq"}
        for name, value in expected.items():
            torch.testing.assert_close(ours["state"][index][name], value, rtol=tolerance, atol=tolerance)


def test_hundred_steps():
    optimizers = pair()
    take_steps(optimizers, range(100))
    assert_same(optimizers)


def test_parameters_without_gradient_neither_move_nor_count():
    """As with module dropout: another set in each step, one never at all, and steps in which none has any."""
    optimizers = pair()
    take_steps(optimizers, range(40), lambda seed: (5, seed % 5, 1 + seed % 3) if seed % 7 else tuple(range(6)))
    assert_same(optimizers)
    states = optimizers[0].state_dict()["state"]
    assert states.keys() == {0, 1, 2, 3, 4}
    assert {float(state["step"]) for state in states.values()} == {17, 18, 19, 27, 28}
    before = [weight.detach().clone() for weight in weights_of(optimizers[0])]
    take_steps(optimizers, range(1), lambda seed: (0, 2))
    moved = [not torch.equal(*both) for both in zip(before, weights_of(optimizers[0]), strict=True)]
    assert moved == [False, True, False, True, True, True]


def test_one_call_however_the_numbers_of_steps_differ(monkeypatch):
    """With module dropout, soon every module has another number."""
    calls = []

    def count(weights: list[torch.Tensor], *arguments: object, **keywords: object) -> None:
        calls.append(len(weights))
        adamw(weights, *arguments, **keywords)

    monkeypatch.setattr("library.optimizers.flat_adamw.adamw", count)
    optimizers = pair()
    take_steps(optimizers, range(6), lambda seed: tuple(range(seed)))
    assert calls == [1] * (4 + 6)  # steps in which something of the first group, and of the second, moves
    calls.clear()
    take_steps(optimizers, range(1))
    assert calls == [4, 2]
    assert_same(optimizers)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_are_where_kernels_want_them(dtype):
    """And what lies between them never counts."""
    weights = [Parameter(torch.ones(size, dtype=dtype)) for size in (1, 3, 8, 2)]
    optimizer = FlatAdamW(weights, weight_decay=0.5)
    for _ in range(3):
        for weight in weights:
            weight.grad = torch.ones_like(weight)
        assert float(optimizer.clip_grad_norm_(1.0)) == pytest.approx(14**0.5)
        optimizer.step()
    assert {weight.data_ptr() % 16 for weight in weights} == {0}
    buffer = torch.empty(0, dtype=dtype).set_(weights[0].untyped_storage())
    assert buffer.count_nonzero() == 14


def test_schedules_change_the_rate():
    optimizers = pair()
    schedules = [torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.7) for optimizer in optimizers]
    for seed in range(10):
        take_steps(optimizers, range(seed, seed + 1))
        for schedule in schedules:
            schedule.step()
    assert optimizers[0].param_groups[0]["lr"] == pytest.approx(1e-2 * 0.7**10)
    assert_same(optimizers)


def test_without_a_kernel_for_the_whole_step(monkeypatch):
    monkeypatch.setattr("library.optimizers.flat_adamw._FUSED_DEVICES", ())
    optimizers = pair()
    take_steps(optimizers, range(20), lambda seed: (seed % 6,))
    assert_same(optimizers)


def test_gradients_of_several_backward_passes_add_up():
    for optimizer in (optimizers := pair()):
        for _ in range(3):
            for factor in (1.0, 2.0):
                sum((weight**2).sum() * factor for weight in weights_of(optimizer)).backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
    assert_same(optimizers)


def test_gradients_may_stay_and_be_zeroed_in_place():
    for optimizer in (optimizers := pair()):
        for factor in (1.0, 0.5, 0.25):
            optimizer.zero_grad(set_to_none=False)
            sum((weight**2).sum() * factor for weight in weights_of(optimizer)).backward()
            optimizer.step()
    assert_same(optimizers)


def test_closures():
    def closure_of(optimizer: torch.optim.Optimizer) -> Callable[[], torch.Tensor]:
        def closure() -> torch.Tensor:
            optimizer.zero_grad()
            loss = sum((weight**2).sum() for weight in weights_of(optimizer))
            loss.backward()
            return loss

        return closure

    optimizers = pair()
    ours, theirs = (optimizer.step(closure_of(optimizer)) for optimizer in optimizers)
    assert ours == theirs
    assert_same(optimizers)


@pytest.mark.parametrize("max_norm", [0.5, 1e3])
@pytest.mark.parametrize("missing", [(), (1, 4)])
def test_clipping(max_norm, missing):
    optimizers = pair()
    for seed in range(5):
        give_gradients(optimizers, seed, missing)
        norms = [clip_gradients(optimizer, max_norm) for optimizer in optimizers]
        torch.testing.assert_close(*norms, rtol=TOLERANCE, atol=0)
        for ours, theirs in zip(*map(weights_of, optimizers), strict=True):
            torch.testing.assert_close(ours.grad, theirs.grad, rtol=TOLERANCE, atol=TOLERANCE)
        for optimizer in optimizers:
            optimizer.step()
    assert_same(optimizers)


def test_clipping_without_any_gradient():
    assert clip_gradients(pair()[0], 1.0) == 0


def test_clipping_leaves_gradients_of_others_alone():
    other = Parameter(torch.zeros(2))
    other.grad = torch.full((2,), 1e6)
    optimizers = pair()
    give_gradients(optimizers, 0)
    norms = [float(clip_gradients(optimizer, 1.0)) for optimizer in optimizers]
    assert norms[0] == pytest.approx(norms[1], rel=TOLERANCE)
    assert norms[0] < 100
    assert other.grad.tolist() == [1e6, 1e6]


def test_the_norm_of_very_many_gradients():
    """Added up one by one in float32, it would be 0.1 % off."""
    weight = Parameter(torch.zeros(20_000_000))
    optimizer = FlatAdamW([weight])
    weight.grad = torch.ones(20_000_000)
    assert float(optimizer.clip_grad_norm_(1.0)) == pytest.approx(20_000_000**0.5, rel=1e-6)


def test_gradients_are_kept_once():
    optimizer, _ = optimizers = pair()
    give_gradients(optimizers, 0)
    clip_gradients(optimizer, 1.0)
    storages = {weight.grad.untyped_storage().data_ptr() for weight in weights_of(optimizer)}
    assert len(storages) == 2  # one for each group


def test_gradients_that_change_after_clipping_count():
    optimizers = pair()
    give_gradients(optimizers, 0)
    for optimizer in optimizers:
        clip_gradients(optimizer, 0.5)
        first, second, *_ = weights_of(optimizer)
        first.grad = torch.ones_like(first)
        second.grad.mul_(3)
        optimizer.step()
    assert_same(optimizers)


def test_states_of_torch_are_taken_over_and_back():
    ours, theirs = optimizers = pair()
    take_steps(optimizers, range(7), lambda seed: (seed % 4,))
    others = pair()
    take_steps(others, range(50, 53))  # moments that the state has to replace
    others[0].load_state_dict(copy.deepcopy(theirs.state_dict()))
    others[1].load_state_dict(copy.deepcopy(ours.state_dict()))
    assert_same_state(others[0].state_dict(), theirs.state_dict())
    assert_same_state(others[1].state_dict(), ours.state_dict())
    for optimizer, source in zip(others, optimizers, strict=True):
        torch._foreach_copy_([w.data for w in weights_of(optimizer)], [w.data for w in weights_of(source)])
    take_steps(optimizers, range(7, 15))
    take_steps(others, range(7, 15))
    assert_same(others)
    assert_same((others[0], theirs))


def test_a_state_survives_a_file(tmp_path):
    optimizers = pair()
    take_steps(optimizers, range(3), lambda seed: (2,))
    torch.save(optimizers[0].state_dict(), tmp_path / "state.pt")
    other, _ = pair()
    other.load_state_dict(torch.load(tmp_path / "state.pt"))
    assert_same_state(other.state_dict(), optimizers[0].state_dict())
    other.load_state_dict(pair()[1].state_dict())  # of an optimizer that took no step yet
    assert other.state_dict()["state"] == {}


@pytest.mark.parametrize("option", ["amsgrad", "maximize"])
def test_states_of_unknown_options_are_refused(option):
    theirs = torch.optim.AdamW([Parameter(torch.zeros(2))], **{option: True})
    with pytest.raises(ValueError, match=f"AdamW with {option}"):
        FlatAdamW([Parameter(torch.zeros(2))]).load_state_dict(theirs.state_dict())


def test_values_out_of_range_are_refused():
    with pytest.raises(ValueError, match="beta"):
        FlatAdamW([Parameter(torch.zeros(2))], betas=(2, 3))


def test_values_stay_and_are_views_of_one_buffer():
    ours, theirs = pair()
    for weight, expected in zip(weights_of(ours), weights_of(theirs), strict=True):
        assert torch.equal(weight, expected)
    assert len({weight.untyped_storage().data_ptr() for weight in weights_of(ours)}) == 2


@pytest.mark.parametrize("change", [lambda data: data.clone(), lambda data: data.double().float() * 2])
def test_storage_that_others_replace_is_taken_back(change):
    optimizers = pair()
    take_steps(optimizers, range(3))
    for optimizer in optimizers:
        for weight in weights_of(optimizer)[1:3]:
            weight.data = change(weight.data)
    take_steps(optimizers, range(3, 6))
    assert_same(optimizers)
    assert len({weight.untyped_storage().data_ptr() for weight in weights_of(optimizers[0])}) == 2


def test_a_change_of_precision_is_followed():
    ours, _ = pair()
    for weight in weights_of(ours)[:2]:
        weight.data = weight.data.bfloat16()
    give_gradients((ours, ours), 0)
    before = [weight.detach().clone() for weight in weights_of(ours)]
    ours.step()
    assert all(not torch.equal(*both) for both in zip(before, weights_of(ours), strict=True))
    assert weights_of(ours)[0].dtype == torch.bfloat16


def test_groups_can_be_added():
    optimizers = pair()
    take_steps(optimizers, range(3))
    for optimizer in optimizers:
        optimizer.add_param_group({"params": [Parameter(torch.ones(3, 3))], "lr": 0.1})
    ours, theirs = optimizers
    for seed in range(3):
        give_gradients(optimizers, seed)
        ours.step()
        theirs.step()
    for weight, expected in zip(weights_of(ours), weights_of(theirs), strict=True):
        torch.testing.assert_close(weight, expected, rtol=TOLERANCE, atol=TOLERANCE)
    assert not torch.equal(weights_of(ours)[-1], torch.ones(3, 3))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_computes_and_remembers_in_float32(dtype, monkeypatch):
    monkeypatch.setattr("library.optimizers.flat_adamw._CHUNK", 7)
    ours, _ = pair(dtype)
    _, exact = pair()
    torch._foreach_copy_([w.data for w in weights_of(exact)], [w.data for w in weights_of(ours)])
    give_gradients((ours, exact), 3)
    for weight, half in zip(weights_of(exact), weights_of(ours), strict=True):
        weight.grad = half.grad.float()
    ours.step()
    exact.step()
    for weight, expected in zip(weights_of(ours), weights_of(exact), strict=True):
        assert weight.dtype == dtype
        assert torch.equal(weight, expected.to(dtype))
    states = ours.state_dict()
    assert {state["exp_avg"].dtype for state in states["state"].values()} == {torch.float32}
    other, _ = pair(dtype)
    other.load_state_dict(copy.deepcopy(states))
    assert_same_state(other.state_dict(), states)


@pytest.mark.parametrize("has_overflow", [False, True])
def test_scaled_losses(has_overflow):
    """As under --mixed_precision fp16: a step whose gradients are not finite is left out."""
    scales, results = [], []
    for optimizer in (optimizers := pair()):
        scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
        for step in range(3):
            loss = sum((weight**2).sum() for weight in weights_of(optimizer))
            scaler.scale(loss * (float("inf") if has_overflow and step == 1 else 1.0)).backward()
            scaler.unscale_(optimizer)
            clip_gradients(optimizer, 1.0)
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad(set_to_none=True)
        scales.append(scaler.get_scale())
        results.append({float(state["step"]) for state in optimizer.state_dict()["state"].values()})
    assert scales == [4.0 if has_overflow else 8.0] * 2
    assert results == [{2.0 if has_overflow else 3.0}] * 2
    assert_same(optimizers)


def tensors_of(optimizer: FlatAdamW) -> Iterator[tuple[str, torch.Tensor]]:
    for index, weight in enumerate(weights_of(optimizer)):
        yield f"layer{index}.weight", weight.detach()


@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
@pytest.mark.parametrize("dtype", [None, torch.float32, torch.float16])
def test_files_hold_each_weight_once(tmp_path, suffix, dtype):
    optimizer = FlatAdamW([Parameter(torch.randn(64, 64)) for _ in range(50)])
    tensors = dict(tensors_of(optimizer))
    file = tmp_path / f"network.{suffix}"
    write_network_file(file, tensors, dtype, {})
    saved = read_network_file(file)
    assert len(saved) == 50
    for name, tensor in tensors.items():
        assert torch.equal(saved[name], tensor.to(dtype or tensor.dtype))
    size = 50 * 64 * 64 * (dtype or torch.float32).itemsize
    assert size <= file.stat().st_size < size + 30_000


def test_files_of_others_hold_each_weight_once(tmp_path):
    """Networks of others save their state dict as it is."""
    optimizer = FlatAdamW([Parameter(torch.randn(64, 64)) for _ in range(50)])
    tensors = dict(tensors_of(optimizer))
    safetensors.torch.save_file(tensors, tmp_path / "network.safetensors")
    torch.save(tensors, tmp_path / "network.pt")
    for file in tmp_path.iterdir():
        assert file.stat().st_size < 50 * 64 * 64 * 4 + 30_000
        assert torch.equal(read_network_file(file)["layer7.weight"], tensors["layer7.weight"])
