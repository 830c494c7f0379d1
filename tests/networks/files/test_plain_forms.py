"""Any change as a plain LoRA, or as full differences."""

import pytest
import torch

from library.errors import UserError
from networks.files.plain_forms import RankChoice, nearest_factors, to_differences, to_plain_lora
from tests.networks.files.random_files import normal

FULL = RankChoice(1000, 1000)


def matrix_of(singular_values: list[float], rows: int, columns: int) -> torch.Tensor:
    count = len(singular_values)
    left = torch.linalg.qr(normal(rows, count, seed=1).double()).Q
    right = torch.linalg.qr(normal(columns, count, seed=2).double()).Q
    return (left * torch.tensor(singular_values, dtype=torch.float64)) @ right.T


@pytest.mark.parametrize("shape", [(6, 10), (10, 6), (8, 8)])
@pytest.mark.parametrize("rank", [1, 3, 5])
def test_nearest_factors_lose_what_singular_values_say(shape, rank):
    matrix = normal(*shape).double()
    up, down = nearest_factors(matrix, rank)
    assert (up.shape, down.shape) == ((shape[0], rank), (rank, shape[1]))
    values = torch.linalg.svdvals(matrix)
    torch.testing.assert_close(torch.linalg.svdvals(matrix - up @ down)[: len(values) - rank], values[rank:])
    torch.testing.assert_close(up.norm(), down.norm())


def test_a_change_of_low_rank_is_kept_exactly():
    change = (normal(20, 3, seed=1) @ normal(3, 30, seed=2)).double()
    up, down = nearest_factors(change, 3)
    torch.testing.assert_close(up @ down, change, rtol=0, atol=1e-7)


@pytest.mark.parametrize("allowed", [3, 4, 12, 1000])
@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_ranks_that_a_change_does_not_have_are_left_out(allowed, scale):
    """A product of float32 factors: what its rounding adds is noise."""
    change = (normal(40, 3, seed=1) @ normal(3, 30, seed=2)) * scale
    for matrix in (change, change.T):
        up, down = nearest_factors(matrix, allowed)
        assert len(down) == 3
        torch.testing.assert_close(up @ down, matrix, rtol=0, atol=1e-6 * scale)


@pytest.mark.parametrize(("energy", "rank"), [(0.1, 1), (0.79, 1), (0.81, 2), (0.97, 3), (1.0, 4)])
def test_ranks_by_energy(energy, rank):
    """Squares are 16, 3, 0.7 and 0.3, of 20 in all: their shares add up to 0.8, 0.95, 0.985 and 1."""
    matrix = matrix_of([4.0, 3**0.5, 0.7**0.5, 0.3**0.5], 12, 9)
    _, down = nearest_factors(matrix, 100, energy)
    assert len(down) >= rank if energy == 1 else len(down) == rank
    assert len(nearest_factors(matrix, 2, energy)[1]) == min(rank, 2)


def test_no_change_at_all():
    up, down = nearest_factors(torch.zeros(5, 4), 2)
    assert torch.equal(up @ down, torch.zeros(5, 4))
    assert len(nearest_factors(torch.zeros(5, 4), 2, energy=0.9)[1]) == 1


def test_plain_lora():
    linear, kernel, pointwise = normal(6, 8, seed=1), normal(6, 4, 3, 3, seed=2), normal(6, 4, 1, 1, seed=3)
    plain = to_plain_lora([("a", linear, None), ("b", kernel, None), ("c", pointwise, None)], RankChoice(4, 2))
    shapes = {key: tuple(tensor.shape) for key, tensor in plain.tensors.items()}
    assert shapes == {
        "a.lora_down.weight": (4, 8), "a.lora_up.weight": (6, 4), "a.alpha": (),
        "b.lora_down.weight": (2, 4, 3, 3), "b.lora_up.weight": (6, 2, 1, 1), "b.alpha": (),
        "c.lora_down.weight": (4, 4, 1, 1), "c.lora_up.weight": (6, 4, 1, 1), "c.alpha": (),
    }  # fmt: skip
    assert [plain.tensors[f"{name}.alpha"].item() for name in "abc"] == [4, 4, 4]
    up, down = (plain.tensors[f"b.lora_{which}.weight"].flatten(1) for which in ("up", "down"))
    wanted_up, wanted_down = nearest_factors(kernel.flatten(1), 2)
    torch.testing.assert_close(4 / 2 * up @ down, wanted_up @ wanted_down)
    assert [error.rank for error in plain.errors] == [4, 2, 4]
    assert plain.errors[2].relative < 1e-6
    values = torch.linalg.svdvals(linear)
    assert plain.errors[0].relative == pytest.approx(float(values[4:].norm() / values.norm()), rel=1e-4)
    lost = [error.lost for error in plain.errors]
    whole = torch.cat([linear.flatten(), kernel.flatten(), pointwise.flatten()]).norm()
    assert plain.relative_error == pytest.approx(float(torch.tensor(lost).norm() / whole), rel=1e-5)
    assert plain.left_out == ()


def test_ranks_never_exceed_the_weight():
    plain = to_plain_lora([("a", normal(3, 8), None)], FULL)
    assert plain.tensors["a.lora_down.weight"].shape == (3, 8)
    assert plain.tensors["a.alpha"].item() == 3
    torch.testing.assert_close(plain.tensors["a.lora_up.weight"] @ plain.tensors["a.lora_down.weight"], normal(3, 8))


def test_biases_and_norms_are_reported():
    changes = [("a", normal(4, 4), normal(4)), ("norm", normal(4), normal(4)), ("b", normal(4, 4), None)]
    plain = to_plain_lora(changes, FULL)
    assert plain.left_out == ("a", "norm")
    assert {key.partition(".")[0] for key in plain.tensors} == {"a", "b"}


def test_nothing_that_a_lora_could_hold():
    with pytest.raises(UserError, match="could hold"):
        to_plain_lora([("norm", normal(4), None)], FULL)


def test_differences():
    weight, kernel, bias, norm = normal(4, 6), normal(4, 6, 3, 3), normal(4), normal(5)
    tensors = to_differences([("a", weight, None), ("b", kernel, bias), ("n", norm, bias), ("m", norm, None)])
    assert list(tensors) == ["a.diff", "b.diff", "b.diff_b", "n.w_norm", "n.b_norm", "m.w_norm", "m.b_norm"]
    assert tensors["a.diff"] is weight
    assert tensors["b.diff_b"] is bias
    assert torch.equal(tensors["m.b_norm"], torch.zeros(5))
