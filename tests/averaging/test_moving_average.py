"""Running averages against sums that are formed with plain numbers."""

import pytest
import torch
from torch import nn

from library.averaging.moving_average import MovingAverages, exponential, power_function
from library.optimizers.kept_weights import kept


def parameters_of(*dtypes: torch.dtype) -> list[nn.Parameter]:
    torch.manual_seed(1)
    shapes = [(3, 2), (), (4,)]
    return [nn.Parameter(torch.randn(shape).to(dtype)) for shape, dtype in zip(shapes, dtypes, strict=True)]


def walk(parameters, averages, steps, start=0):
    """Moves the weights by what only the number of the step decides. Returns where they were, each time."""
    places = []
    for step in range(start, start + steps):
        draws = torch.Generator().manual_seed(step)
        with torch.no_grad():
            for parameter in parameters:
                parameter.add_(torch.randn(parameter.shape, generator=draws).to(parameter.dtype), alpha=0.1)
        averages.after_step()
        places.append(flat(parameters))
    return places


def flat(parameters) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten().double() for parameter in parameters])


def applied(averages, name, parameters) -> torch.Tensor:
    with averages.applied(name):
        return flat(parameters)


FLOATS = (torch.float32,) * 3


@pytest.mark.parametrize("decay", [0.3, 0.9, 0.9999])
def test_exponential_average(decay):
    parameters = parameters_of(*FLOATS)
    expected = flat(parameters)
    averages = MovingAverages(parameters, {"ema": exponential(decay)})
    for number, place in enumerate(walk(parameters, averages, 30), 1):
        share = min(decay, (1 + number) / (10 + number))
        expected = share * expected + (1 - share) * place
    torch.testing.assert_close(applied(averages, "ema", parameters), expected, rtol=1e-5, atol=1e-6)
    assert averages.updates("ema") == 30


def test_what_was_before_training_is_forgotten_in_a_short_run():
    """At a constant decay of 0.999, it would still be 95 % of the average after 50 steps."""
    parameters = [nn.Parameter(torch.zeros(1))]
    averages = MovingAverages(parameters, {"ema": exponential(0.999)})
    with torch.no_grad():
        parameters[0].fill_(1.0)
    for _ in range(50):
        averages.after_step()
    assert applied(averages, "ema", parameters).item() > 0.9999


def test_power_function_average_begins_with_the_first_step():
    parameters = parameters_of(*FLOATS)
    averages = MovingAverages(parameters, {"a": power_function(0.1)})
    (first,) = walk(parameters, averages, 1)
    assert torch.equal(applied(averages, "a", parameters), first)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_averages_of_half_weights_are_exact(dtype):
    """Moves that are smaller than half of what the weights' precision tells apart would be lost in it."""
    parameters = parameters_of(dtype, torch.float32, dtype)
    averages = MovingAverages(parameters, {"ema": exponential(0.99)})
    expected = flat(parameters)
    for number, place in enumerate(walk(parameters, averages, 40), 1):
        share = min(0.99, (1 + number) / (10 + number))
        expected = share * expected + (1 - share) * place
    values = averages.state_dict()["ema"]["values"]
    assert values.dtype == torch.float32
    torch.testing.assert_close(values.double(), expected, rtol=1e-5, atol=1e-6)


def test_weights_come_back_bit_by_bit_and_stay_where_they_are():
    """Optimizers hold views of one buffer."""
    buffer = torch.randn(7)
    parameters = [nn.Parameter(torch.empty(3, 2)), nn.Parameter(torch.empty(()))]
    parameters[0].data, parameters[1].data = buffer[:6].view(3, 2), buffer[6]
    averages = MovingAverages(parameters, {"ema": exponential(0.9)})
    before = buffer.clone()
    walk(parameters, averages, 5)
    trained = buffer.clone()
    with averages.applied("ema"):
        assert not torch.equal(buffer, trained)
        assert torch.equal(flat(parameters).float(), buffer)
    assert torch.equal(buffer, trained)
    with pytest.raises(KeyboardInterrupt), averages.applied("ema"):
        raise KeyboardInterrupt
    assert torch.equal(buffer, trained)
    assert not torch.equal(buffer, before)


def test_applying_changes_no_average():
    parameters = parameters_of(*FLOATS)
    averages, untouched = (MovingAverages(parameters, {"ema": exponential(0.9)}) for _ in range(2))
    for step in range(6):
        walk(parameters, averages, 1, start=step)
        untouched.after_step()
        with averages.applied("ema"):
            pass
    assert torch.equal(averages.state_dict()["ema"]["values"], untouched.state_dict()["ema"]["values"])


DECAYS = {"ema": exponential(0.95), "narrow": power_function(0.05), "wide": power_function(0.1)}


def test_going_on_from_a_state_is_going_on():
    parameters = parameters_of(*FLOATS)
    averages = MovingAverages(parameters, DECAYS)
    walk(parameters, averages, 5)
    state, place = averages.state_dict(), [parameter.detach().clone() for parameter in parameters]
    walk(parameters, averages, 5, start=5)
    resumed = [nn.Parameter(values) for values in place]
    others = MovingAverages(resumed, DECAYS)
    others.load_state_dict(state)
    walk(resumed, others, 5, start=5)
    expected, found = averages.state_dict(), others.state_dict()
    assert expected.keys() == found.keys() == DECAYS.keys()
    for name in DECAYS:
        assert torch.equal(expected[name]["values"], found[name]["values"])
        assert expected[name]["updates"] == found[name]["updates"] == 10
        assert not torch.equal(expected[name]["values"], state[name]["values"])  # a copy


def test_states_of_something_else_are_refused():
    averages = MovingAverages(parameters_of(*FLOATS), {"ema": exponential(0.9)})
    with pytest.raises(ValueError, match=r"the saved averages are \['x'\], but \['ema'\] are kept"):
        averages.load_state_dict({"x": {}})
    with pytest.raises(ValueError, match="has 3 numbers, but 11 are trained: the network is another one"):
        averages.load_state_dict({"ema": {"values": torch.zeros(3), "updates": 1}})


class SlowTransfer:
    """Keeps a copy until it is asked for, as a GPU's does."""

    def __init__(self):
        self.waiting = None
        self.most = 0

    def begin(self, values):
        assert self.waiting is None, "what was before has not been read"
        self.waiting = values.clone()

    def end(self):
        arrived, self.waiting = self.waiting, None
        return None if arrived is None else arrived.float()


def test_copies_that_take_time_make_no_difference():
    """Averages on the CPU of weights on a GPU are a step behind, and catch up whenever they are looked at."""
    parameters = parameters_of(*FLOATS)
    at_once, late = (MovingAverages(parameters, DECAYS) for _ in range(2))
    transfer = late._copies._transfer = SlowTransfer()
    for step in range(8):
        walk(parameters, at_once, 1, start=step)
        late.after_step()
        assert transfer.waiting is not None
        if step == 3:
            assert late.updates("ema") == 4
        if step == 5:
            assert torch.equal(applied(late, "wide", parameters), applied(at_once, "wide", parameters))
    assert late._averages["ema"].updates == 7
    expected, found = at_once.state_dict(), late.state_dict()
    for name in DECAYS:
        assert torch.equal(expected[name]["values"], found[name]["values"])


def test_a_state_replaces_what_is_on_its_way():
    parameters = parameters_of(*FLOATS)
    averages = MovingAverages(parameters, DECAYS)
    averages._copies._transfer = SlowTransfer()
    state = averages.state_dict()
    walk(parameters, averages, 1)
    averages.load_state_dict(state)
    assert averages.updates("ema") == 0


def test_nothing_is_copied_where_nothing_is_averaged(monkeypatch):
    averages = MovingAverages(parameters_of(*FLOATS), {})
    monkeypatch.setattr(torch, "cat", lambda *_: pytest.fail("the weights were copied"))
    averages.after_step()
    assert averages.state_dict() == {}


def test_inner_changes_are_undone_with_the_outer_ones():
    parameters = parameters_of(*FLOATS)
    averages = MovingAverages(parameters, {"ema": exponential(0.9)})
    walk(parameters, averages, 3)
    trained = flat(parameters)
    with kept(parameters), averages.applied("ema"), torch.no_grad():
        parameters[0].zero_()
    assert torch.equal(flat(parameters), trained)
