"""The fields of the schedule: what was in effect, not what was given."""

import json

import pytest

from library.metadata.training_metadata import _schedule_fields
from library.options.groups import OptimizerOptions, ScheduleOptions


@pytest.mark.parametrize(
    ("optimizer", "arguments", "name", "warmup"),
    [
        ("AdamW", (), "cosine", 5),
        ("AdaFactor", ("relative_step=False",), "cosine", 5),
        ("AdaFactor", (), "adafactor:0.001", 0),
        ("AdaFactor", ("warmup_init=True",), "adafactor:0.001", 0),
        ("AdamWScheduleFree", (), "constant", 0),
    ],
)
def test_an_optimizer_with_its_own_schedule(optimizer, arguments, name, warmup):
    options = OptimizerOptions(optimizer_type=optimizer, optimizer_args=arguments, learning_rate=1e-3)
    fields = _schedule_fields(options, ScheduleOptions(lr_scheduler="cosine", lr_warmup_steps=5))
    assert fields == {"ss_lr_scheduler": name, "ss_lr_warmup_steps": warmup}


def test_a_class_with_its_arguments():
    schedule = ScheduleOptions(
        lr_scheduler_type="torch.optim.lr_scheduler.StepLR", lr_scheduler_args=("step_size=2", "gamma=0.5")
    )
    fields = _schedule_fields(OptimizerOptions(), schedule)
    assert fields["ss_lr_scheduler"] == "torch.optim.lr_scheduler.StepLR"
    assert json.loads(fields["ss_lr_scheduler_args"]) == ["step_size=2", "gamma=0.5"]
