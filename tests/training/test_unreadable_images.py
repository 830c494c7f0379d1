"""What is said of images that turn out unreadable while training."""

import logging
from dataclasses import dataclass

import pytest

from library.errors import UserError
from library.training.unreadable_images import EXAMPLES_SHOWN, UnreadableImages


@dataclass(frozen=True)
class Batch:
    unreadable: tuple[str, ...] = ()
    image_ids: tuple[str, ...] = ("a", "b", "c")


def test_each_is_named_once_as_it_comes_and_all_of_them_at_the_end(caplog):
    images = UnreadableImages(9)
    batches = [Batch(), Batch(("a.png: torn", "b.png: gone")), Batch(("b.png: gone",)), Batch(("ü.png: torn",))]
    watched = images.watch(iter(batches))
    with caplog.at_level(logging.INFO):
        assert [next(watched), next(watched)] == batches[:2]
        assert [record.message.split(": ", 1)[1] for record in caplog.records] == ["a.png: torn", "b.png: gone"]
        assert list(watched) == batches[2:]
        assert len(caplog.records) == 3
        images.summarize()
    summary = caplog.records[3].message
    assert summary.startswith("unreadable when needed, and so without effect: 3 images: ")
    assert summary.endswith(": a.png: torn; b.png: gone; ü.png: torn")


def test_nothing_is_said_of_a_run_in_which_all_could_be_read(caplog):
    images = UnreadableImages(3)
    assert len(list(images.watch(iter([Batch(), Batch()])))) == 2
    images.summarize()
    assert not caplog.records


@pytest.mark.parametrize("level", [logging.WARNING, logging.ERROR])
def test_processes_that_show_errors_only_name_theirs_as_errors(caplog, level):
    images = UnreadableImages(3, level)
    list(images.watch(iter([Batch(("a.png: torn",))])))
    images.summarize()
    assert [record.levelno for record in caplog.records] == [level, level]


def test_of_many_only_a_few_are_named_again(caplog):
    images = UnreadableImages(100)
    list(images.watch(iter([Batch((f"{number}.png: gone",)) for number in range(EXAMPLES_SHOWN + 2)])))
    caplog.clear()
    images.summarize()
    (summary,) = [record.message for record in caplog.records]
    assert summary.startswith("unreadable when needed, and so without effect: 7 images: ")
    assert summary.endswith(
        ": 0.png: gone; 1.png: gone; 2.png: gone; 3.png: gone; 4.png: gone; and 2 more (named above)"
    )


def lost(*names: str) -> Batch:
    return Batch(tuple(f"{name}.png: gone" for name in names), names)


def test_the_run_ends_when_no_image_at_all_can_be_read_any_more():
    batches = [Batch(), lost("a"), lost("a", "b"), lost("c"), Batch()]
    watched = UnreadableImages(3).watch(iter(batches))
    assert [next(watched) for _ in range(3)] == batches[:3]
    with pytest.raises(UserError, match=r"none of the images can be read.*; c\.png: gone$"):
        next(watched)


@pytest.mark.parametrize("readable", [Batch(("a.png: gone",), ("a", "c")), Batch((), ("c",))])
def test_the_run_goes_on_as_long_as_one_can_be_read(readable):
    batches = [lost("a", "b"), readable, lost("c"), lost("a"), readable] * 3
    assert list(UnreadableImages(3).watch(iter(batches))) == batches
