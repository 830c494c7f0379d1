"""Tensors on their way to the CPU."""

import pytest
import torch

from library.training.host_copies import HostCopies


def test_they_arrive_in_order_as_they_were_when_sent():
    copies = HostCopies()
    values = torch.tensor([1.0, 2.0])
    copies.send("first", values)
    values += 10
    copies.send("second", values)
    assert [(label, copy.tolist()) for label, copy in copies.arrived()] == [
        ("first", [1.0, 2.0]),
        ("second", [11.0, 12.0]),
    ]
    assert list(copies.arrived()) == []


class Event:
    def __init__(self):
        self.is_over = False

    def query(self):
        return self.is_over

    def synchronize(self):
        self.is_over = True


def test_nothing_overtakes_what_is_still_on_its_way():
    copies, events = HostCopies(), [Event(), Event(), Event()]
    copies._pending.extend((number, torch.tensor(number), event) for number, event in enumerate(events))

    def arrived(wait=False):
        return [label for label, _ in copies.arrived(wait)]

    assert arrived() == []
    events[1].is_over = True
    assert arrived() == []
    events[0].is_over = True
    assert arrived() == [0, 1]
    assert arrived(wait=True) == [2]
    assert events[2].is_over


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_cuda_nothing_waits():
    copies = HostCopies()
    torch.cuda._sleep(500_000_000)
    copies.send("late", torch.arange(3, device="cuda"))
    assert list(copies.arrived()) == []
    ((label, copy),) = copies.arrived(wait=True)
    assert (label, copy.tolist(), copy.is_pinned()) == ("late", [0, 1, 2], True)
