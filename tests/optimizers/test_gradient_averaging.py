"""The mean gradient of several processes."""

import multiprocessing
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import Parameter

from library.optimizers.gradient_averaging import average_gradients

SHAPES = ((2, 3), (4,), (1, 2, 2))


def parameters(values: tuple[float | None, ...], dtype: torch.dtype = torch.float32) -> list[Parameter]:
    """With gradients of these values."""
    found = [Parameter(torch.zeros(shape, dtype=dtype)) for shape in SHAPES]
    for parameter, value in zip(found, values, strict=True):
        parameter.grad = None if value is None else torch.full_like(parameter, value)
    return found


def contribution(of_process: list[Parameter]) -> Tensor:
    """What a process gives to the collective operation."""
    given: list[Tensor] = []

    def record(flat: Tensor) -> Tensor:
        given.append(flat)
        return flat

    average_gradients(of_process, record)
    return given[0]


def average(*processes: tuple[float | None, ...], dtype: torch.dtype = torch.float32) -> list[list[Tensor | None]]:
    """Gradients of each process afterwards."""
    mean = torch.stack([contribution(parameters(values, dtype)) for values in processes]).mean(0)
    given = [parameters(values, dtype) for values in processes]
    for of_process in given:
        average_gradients(of_process, lambda flat: mean.clone())
    return [[parameter.grad for parameter in of_process] for of_process in given]


def values_of(gradients: list[Tensor | None]) -> list[float | None]:
    for gradient, shape in zip(gradients, SHAPES, strict=True):
        assert gradient is None or (gradient.shape == shape and len(gradient.unique()) == 1)
    return [None if gradient is None else float(gradient.flatten()[0]) for gradient in gradients]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_mean(dtype):
    for gradients in average((1.0, 2.0, 3.0), (3.0, 6.0, -3.0), dtype=dtype):
        assert values_of(gradients) == [2.0, 4.0, 0.0]
        assert {gradient.dtype for gradient in gradients} == {dtype}


def test_missing_in_one_process_counts_as_zero_and_in_all_stays_missing():
    for gradients in average((1.0, None, None), (None, None, 4.0), (2.0, None, 5.0)):
        assert values_of(gradients) == [1.0, None, 3.0]


def test_a_gradient_of_zeros_is_one():
    for gradients in average((0.0, None, 1.0), (None, None, 1.0)):
        assert values_of(gradients) == [0.0, None, 1.0]


def test_values_that_are_not_finite_do_not_hide_others():
    first, second = average((float("nan"), 1.0, None), (None, float("inf"), None))
    for gradients in (first, second):
        assert gradients[0].isnan().all()
        assert gradients[1].isinf().all()
        assert gradients[2] is None


def test_who_has_all_does_not_wait(monkeypatch):
    complete, lacking = parameters((1.0, 2.0, 3.0)), parameters((1.0, None, 3.0))
    asked = []
    to_list = Tensor.tolist
    monkeypatch.setattr(Tensor, "tolist", lambda self: asked.append(self) or to_list(self))
    average_gradients(complete, lambda flat: flat)
    assert asked == []
    average_gradients(lacking, lambda flat: flat)
    assert len(asked) == 1
    assert lacking[1].grad is None


def _process(rank: int, folder: str) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    own = parameters((1.0, None, 3.0) if rank else (3.0, None, None))
    calls = []

    def reduce(flat: Tensor) -> Tensor:
        calls.append(flat)
        torch.distributed.all_reduce(flat)
        return flat / 2

    average_gradients(own, reduce)
    torch.save({"gradients": [parameter.grad for parameter in own], "calls": len(calls)}, f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


def test_two_processes(tmp_path: Path):
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_process, args=(rank, str(tmp_path))) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt")
        assert found["calls"] == 1
        assert values_of(found["gradients"]) == [2.0, None, 1.5]
