"""The learning rates of a run as a picture."""

from PIL import Image

from library.training.planning.learning_rates import LearningRateFigures
from library.training.planning.line_chart import Line, LineChart, draw_chart
from library.training.planning.run_report import RunReport, TrainingFigures


def rate_chart(report: RunReport) -> Image.Image | None:
    """None if the rates are not known."""
    training = report.training
    if training is None or training.learning_rate is None or not training.learning_rate.curves:
        return None
    counts, figures = training.counts, training.learning_rate
    return draw_chart(
        LineChart(
            title=_title(figures),
            num_steps=counts.max_train_steps,
            lines=tuple(Line(", ".join(curve.parts), figures.steps, curve.rates) for curve in figures.curves),
            epochs=tuple(range(counts.steps_per_epoch, counts.max_train_steps, counts.steps_per_epoch)),
            saves=_saves(training),
        )
    )


def _title(figures: LearningRateFigures) -> str:
    what = "Factor of the learning rate that it finds" if figures.finds_rate else "Learning rate"
    return f"{what}: {figures.optimizer}, {figures.schedule}"


def _saves(training: TrainingFigures) -> tuple[int, ...]:
    return tuple(file.step for file in training.output.files) if training.output else ()
