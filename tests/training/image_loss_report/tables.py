"""Made-up image losses."""

from dataclasses import replace

import numpy as np

from library.training.image_loss_report.loss_table import ImageLossTable


def usual_loss(timesteps):
    """Steep, as that of a model that predicts noise."""
    return 0.02 + 0.9 * np.exp(-timesteps / 120)


def table_of(factors, exposures, seed=0, scatter=0.2, **changes) -> ImageLossTable:
    """`exposures` losses of each image, which are what is usual times the image's factor and times chance."""
    rng = np.random.default_rng(seed)
    rows = len(factors) * exposures
    image = np.tile(np.arange(len(factors)), exposures)
    timestep = rng.integers(0, 1000, rows)
    loss = usual_loss(timestep) * np.asarray(factors, float)[image] * rng.uniform(1 - scatter, 1 + scatter, rows)
    names = tuple(f"0/0/{number}.png" for number in range(len(factors)))
    table = replace(ImageLossTable(names, image, np.arange(rows) // 4 + 1, timestep, loss, loss), **changes)
    return replace(table, weighted_loss=table.loss / 2)
