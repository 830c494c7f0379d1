"""How long training waits for the first batch of an epoch: ours against a new pass of a DataLoader for each epoch.

    python benchmarks/epoch_boundary.py [--images 64] [--workers 2] [--epochs 6] [--step_seconds 0.2]

A training step is a pause: what is measured is how long `next` takes after it.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader

from library.dataset.batch_plan import PlannedBatch, batches_of_epoch
from library.dataset.batches.batch_preparation import BatchPreparer
from library.dataset.batches.loading import BatchLoader, LoaderSettings
from library.dataset.batches.training_batch import TrainingBatch
from library.dataset.findings import Findings
from library.dataset.images.picture_files import FilePictures
from library.dataset.scanning.scan import scan_dataset
from library.diffusion.conditioning import TokenizedCaptions
from library.diffusion.latents import LatentLayout
from library.options.dataset_settings import DatasetSettings, SubsetSettings

SEED = 1
SIZE = 768
"""of pictures, in pixels; they are trained at 512"""


def tokenize(captions) -> TokenizedCaptions:
    return TokenizedCaptions((torch.zeros(len(captions), 1, 77, dtype=torch.int64),))


def make_preparer(folder: Path, num_images: int) -> BatchPreparer:
    generator = np.random.default_rng(SEED)
    for number in range(num_images):
        coarse = generator.integers(0, 256, (SIZE // 16, SIZE // 16, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((SIZE, SIZE), Image.Resampling.BICUBIC).save(folder / f"{number}.png")
    subset = SubsetSettings(image_dir=folder, class_tokens="cat")
    settings = DatasetSettings(resolution=(512, 512), batch_size=4, subsets=(subset,))
    dataset = scan_dataset(0, settings, Findings())
    return BatchPreparer(
        (dataset,),
        SEED,
        LatentLayout(4, 8),
        tokenize,
        prior_loss_weight=1.0,
        max_train_steps=1,
        pictures=FilePictures(),
    )


class _Prepared(torch.utils.data.Dataset):
    def __init__(self, preparer: BatchPreparer):
        self._preparer = preparer

    def __getitem__(self, batch: PlannedBatch) -> TrainingBatch:
        return self._preparer.prepare(batch)


def passes(preparer: BatchPreparer, epochs: int, workers: int) -> Iterator[TrainingBatch]:
    """A new pass, and new workers, for each epoch."""
    for epoch in range(epochs):
        planned = batches_of_epoch(preparer.datasets, SEED, epoch)
        yield from DataLoader(_Prepared(preparer), batch_size=None, sampler=planned, num_workers=workers)


def stream(preparer: BatchPreparer, epochs: int, workers: int) -> Iterator[TrainingBatch]:
    planned = (batch for epoch in range(epochs) for batch in batches_of_epoch(preparer.datasets, SEED, epoch))
    with BatchLoader(preparer, LoaderSettings(workers, pin_memory=False)).load(planned) as batches:
        yield from batches


def waits(batches: Iterator[TrainingBatch], per_epoch: int, step_seconds: float) -> tuple[float, float]:
    """Median seconds that `next` takes within epochs, and for the first batch of every epoch but the first."""
    within, first = [], []
    with closing(batches):
        next(batches)
        number = 1
        while True:
            time.sleep(step_seconds)
            start = time.perf_counter()
            if next(batches, None) is None:
                return statistics.median(within), statistics.median(first)
            (within if number % per_epoch else first).append(time.perf_counter() - start)
            number += 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--step_seconds", type=float, default=0.2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        preparer = make_preparer(Path(folder), options.images)
        per_epoch = len(batches_of_epoch(preparer.datasets, SEED, 0))
        for workers in (options.workers, 0):
            results = {}
            for name, load in (("a pass for each epoch", passes), ("one stream", stream)):
                within, first = waits(load(preparer, options.epochs, workers), per_epoch, options.step_seconds)
                results[name] = first
                print(f"{workers} workers, {name}: first batch {first * 1000:.2f} ms, others {within * 1000:.2f} ms")
            ratio = results["one stream"] / results["a pass for each epoch"]
            print(f"{workers} workers: first batch of an epoch, one stream / a pass for each: {ratio:.4f}")


if __name__ == "__main__":
    main()
