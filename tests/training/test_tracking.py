"""The folder of a run's logs."""

import time
from pathlib import Path

import pytest

from library.errors import UserError
from library.options.groups import LoggingOptions
from library.training.tracking import log_folder


def test_a_folder_for_each_run():
    stamp = time.strftime("%Y%m%d%H%M%S", time.localtime(0))
    assert log_folder(LoggingOptions(), 0) is None
    assert log_folder(LoggingOptions(logging_dir="logs"), 0) == Path("logs", stamp)
    named = LoggingOptions(logging_dir="logs", log_prefix="my cat..", log_tracker_name="Bär.1")
    assert log_folder(named, 0) == Path("logs", f"my cat..{stamp}")


@pytest.mark.parametrize("option", ["log_prefix", "log_tracker_name"])
@pytest.mark.parametrize("name", ["a/../../../b", "/b", "a\\b", "C:b", "../b"])
def test_names_that_lead_elsewhere(option, name):
    with pytest.raises(UserError, match=f"--{option} .*must be part of a folder's name"):
        log_folder(LoggingOptions(logging_dir="logs", **{option: name}), 0)


@pytest.mark.parametrize("name", ["..", "."])
def test_a_log_is_in_a_folder_of_its_own(name):
    with pytest.raises(UserError, match="--log_tracker_name"):
        log_folder(LoggingOptions(logging_dir="logs", log_tracker_name=name), 0)
