"""The thread that makes items before they are asked for."""

import threading
import time

import pytest

from library.dataset.batches.prefetching import prefetched


def wait_until(condition) -> None:
    deadline = time.monotonic() + 10
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.001)
    assert condition()


def test_items_come_in_order_and_end():
    with prefetched(range(100), ahead=3) as items:
        assert list(items) == list(range(100))
        assert list(items) == []


@pytest.mark.parametrize("ahead", [1, 4])
def test_no_more_than_a_few_are_made_ahead(ahead):
    made = []
    with prefetched(map(made.append, range(100)), ahead) as items:
        for taken in range(10):
            wait_until(lambda: len(made) >= taken + ahead)  # noqa: B023
            time.sleep(0.01)
            assert len(made) == taken + ahead
            next(items)


def test_an_error_comes_where_its_item_would_have():
    def broken():
        yield from (1, 2)
        raise KeyError("three")

    with prefetched(broken(), ahead=4) as items:
        assert [next(items), next(items)] == [1, 2]
        with pytest.raises(KeyError, match="three"):
            next(items)


@pytest.mark.parametrize("taken", [0, 1, 5])
def test_the_thread_ends_with_the_context(taken):
    threads = threading.active_count()
    made = []
    with pytest.raises(KeyboardInterrupt), prefetched(map(made.append, range(1000)), ahead=4) as items:
        for _ in range(taken):
            next(items)
        raise KeyboardInterrupt
    assert threading.active_count() == threads
    assert len(made) <= taken + 4
