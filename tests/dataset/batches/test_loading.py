"""Batches of a whole run: the same with any number of workers, without a pause between epochs, ended in good order."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from library.dataset.batch_plan import batches_of_epoch
from library.dataset.batches.draws import DrawRecipe, draw_for
from library.dataset.batches.loading import BATCHES_AHEAD, BatchLoader, LoaderSettings, choose_loader
from library.dataset.batches.training_batch import TrainingBatch
from library.dataset.captions.exposed_captions import ExposedCaptions
from library.diffusion.latents import LatentLayout
from library.errors import UserError
from tests.dataset.batches.planned_runs import SEED, batches_of_run, dataset_of

LAYOUT = LatentLayout(channels=4, pixels_per_cell=8)
EPOCHS = 5
pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create 4 worker processes")


@dataclass(frozen=True)
class CaptionsAndDraws:
    """Prepares what does not need any picture."""

    datasets: tuple
    unreadable: str = ""
    """path of an image that is an error"""
    deadly: str = ""
    """path of an image that kills the process that reads it"""

    def prepare(self, planned) -> TrainingBatch:
        for one in planned.exposures:
            if str(one.record.path) == self.unreadable:
                raise UserError(f"image '{one.record.path}': it is torn; replace or remove it")
            if str(one.record.path) == self.deadly:
                os.kill(os.getpid(), signal.SIGKILL)
        size = len(planned.exposures)
        return TrainingBatch(
            index=planned.index,
            image_ids=tuple(one.record.image_id for one in planned.exposures),
            captions=tuple(ExposedCaptions(self.datasets, SEED, max_train_steps=1).of_batch(planned)),
            tokens=None,
            text=None,
            sizes=torch.zeros(size, 6, dtype=torch.int64),
            pixels=torch.zeros(size, 3, 64, 64, dtype=torch.uint8),
            latents=None,
            loss_weights=torch.ones(size),
            draws=draw_for(planned, LAYOUT, SEED, DrawRecipe()),
        )


def loader_of(dataset, workers, **faults) -> BatchLoader:
    return BatchLoader(CaptionsAndDraws((dataset,), **faults), LoaderSettings(workers, pin_memory=False))


def load_all(dataset, workers, epochs=EPOCHS) -> list[TrainingBatch]:
    with loader_of(dataset, workers).load(batches_of_run(dataset, epochs)) as batches:
        return list(batches)


@pytest.fixture(autouse=True)
def nothing_is_left_behind():
    before = set(threading.enumerate())
    yield
    assert multiprocessing.active_children() == []
    for thread in set(threading.enumerate()) - before:
        thread.join(timeout=10)  # a queue of DataLoader's ends its own thread a moment later
        assert not thread.is_alive(), thread.name


@pytest.mark.parametrize("workers", [0, 1, 4])
def test_each_epoch_has_every_image_as_often_as_it_has_repeats(workers):
    """The reference tool's workers begin each epoch with batches of another epoch's order."""
    dataset = dataset_of([f"a cat, {number}" for number in range(16)], repeats=2, batch_size=3)
    batches = load_all(dataset, workers)
    per_epoch = 11
    assert [batch.index for batch in batches] == list(range(EPOCHS * per_epoch))
    orders = set()
    for epoch in range(EPOCHS):
        images = [name for batch in batches[epoch * per_epoch :][:per_epoch] for name in batch.image_ids]
        assert Counter(images) == {record.image_id: 2 for record in dataset.records}
        orders.add(tuple(images))
    assert len(orders) == EPOCHS


def test_every_draw_is_the_same_with_any_number_of_workers():
    """The reference tool's workers all draw the same numbers."""
    captions = [f"{first}, {second}, {third}" for first in "abc" for second in "def" for third in "gh"]
    dataset = dataset_of(captions, shuffle_caption=True, caption_dropout_rate=0.3)
    plain, *others = (load_all(dataset, workers, epochs=3) for workers in (0, 1, 4))
    noises = [tuple(row.flatten()[:4].tolist()) for batch in plain for row in batch.draws.noise]
    assert len(set(noises)) == len(noises) == 54
    for batches in others:
        assert [batch.captions for batch in batches] == [batch.captions for batch in plain]
        for one, other in zip(batches, plain, strict=True):
            assert torch.equal(one.draws.noise, other.draws.noise)
            assert torch.equal(one.draws.timestep, other.draws.timestep)


@pytest.mark.parametrize("workers", [0, 1, 4])
def test_captions_are_dropped_in_the_very_epochs_asked_for(workers):
    """In the reference tool, each worker's first batch of an epoch still follows the epoch before."""
    dataset = dataset_of([f"cat {number}" for number in range(8)], batch_size=1, caption_dropout_every_n_epochs=2)
    batches = load_all(dataset, workers, epochs=4)
    assert [bool(batch.captions[0]) for batch in batches] == 8 * [True] + 8 * [False] + 8 * [True] + 8 * [False]


@pytest.mark.parametrize(("workers", "ahead"), [(0, BATCHES_AHEAD), (2, BATCHES_AHEAD + 2 * 2 + 1)])
def test_an_epoch_is_planned_only_when_its_batches_are_near(workers, ahead):
    dataset = dataset_of([f"cat {number}" for number in range(20)], batch_size=1)
    planned = []

    def plan():
        for epoch in range(1000):
            planned.append(epoch)
            yield from batches_of_epoch([dataset], SEED, epoch)

    with loader_of(dataset, workers).load(plan()) as batches:
        for _ in range(20 - ahead):
            next(batches)
        assert planned == [0]
        for _ in range(ahead):
            next(batches)
        assert next(batches).index == 20
        assert planned == [0, 1], "the second epoch goes on where the first ends"


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_comes_where_its_batch_would_have(workers):
    dataset = dataset_of([f"cat {number}" for number in range(6)], batch_size=1)
    planned = batches_of_run(dataset, 2)
    torn = planned[3].exposures[0].record.path
    with loader_of(dataset, workers, unreadable=str(torn)).load(planned) as batches:
        assert [next(batches).index for _ in range(3)] == [0, 1, 2]
        with pytest.raises(UserError, match=rf"^image '{torn}': it is torn; replace or remove it$"):
            next(batches)


def test_a_killed_worker_is_told_with_what_to_do():
    dataset = dataset_of([f"cat {number}" for number in range(6)], batch_size=1)
    planned = batches_of_run(dataset, 2)
    deadly = str(planned[3].exposures[0].record.path)
    with (
        pytest.raises(UserError, match=r"was killed.*shm-size.*--max_data_loader_n_workers"),
        loader_of(dataset, 2, deadly=deadly).load(planned) as batches,
    ):
        list(batches)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("taken", [0, 3])
def test_a_run_that_ends_early_leaves_nothing_behind(workers, taken):
    dataset = dataset_of([f"cat {number}" for number in range(6)])
    planned = batches_of_run(dataset, 100)
    with pytest.raises(KeyboardInterrupt), loader_of(dataset, workers).load(planned) as batches:
        for _ in range(taken):
            next(batches)
        raise KeyboardInterrupt


@pytest.mark.parametrize("workers", [0, 2])
def test_loading_leaves_the_global_generator_alone(workers):
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    load_all(dataset_of(["cat", "dog"]), workers)
    assert torch.equal(torch.rand(4), expected)


@pytest.mark.skipif(sys.platform == "win32", reason="sends a signal as a terminal does")
@pytest.mark.parametrize("workers", [0, 2])
def test_ctrl_c_ends_in_good_order_and_silence(workers):
    """A terminal sends the signal to all processes of the command."""
    script = (
        "from tests.dataset.batches.test_loading import batches_of_run, dataset_of, loader_of\n"
        "dataset = dataset_of([f'cat {number}' for number in range(6)])\n"
        "try:\n"
        f"    with loader_of(dataset, {workers}).load(batches_of_run(dataset, 20000)) as batches:\n"
        "        for number, batch in enumerate(batches):\n"
        "            if number == 5: print('training', flush=True)\n"
        "except KeyboardInterrupt: print('interrupted')\n"
    )
    root = Path(__file__).parents[3]
    process = subprocess.Popen(
        [sys.executable, "-c", script], cwd=root, start_new_session=True, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout.readline() == "training\n"
    os.killpg(process.pid, signal.SIGINT)
    out, errors = process.communicate(timeout=60)
    assert (out, errors, process.returncode) == ("interrupted\n", "", 0)
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)


@pytest.mark.parametrize(
    ("wanted", "cached", "expected"), [(0, False, 0), (1, False, 1), (8, True, 0), (1000, False, None)]
)
def test_choice_of_workers(wanted, cached, expected):
    settings = choose_loader(wanted, cached=cached, device=torch.device("cpu"))
    assert settings.num_workers == expected if expected is not None else 1 <= settings.num_workers < 1000
    assert not settings.pin_memory
    assert choose_loader(wanted, cached=cached, device=torch.device("cuda")).pin_memory
