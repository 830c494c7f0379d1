"""What a training command says, and in which process."""

import pytest

from library.errors import UserError
from library.training import command
from tests.training.command import as_words, least_arguments, train


@pytest.fixture
def arguments(tiny_model, train_data_dir, tmp_path):
    return least_arguments(tiny_model, train_data_dir, tmp_path / "out")


@pytest.fixture
def second_process(monkeypatch):
    monkeypatch.setattr(command, "is_main_process", lambda: False)


def test_what_only_one_process_meets_is_said_by_it(capsys, arguments, second_process, monkeypatch):
    def meet_a_damaged_image(plan):
        raise UserError("image 'b.png': it is damaged")

    monkeypatch.setattr("library.training.setup.start_training", meet_a_damaged_image)
    assert train(*as_words(arguments)) == 1
    assert "image 'b.png': it is damaged" in capsys.readouterr().err


def test_what_is_lost_by_an_interruption_is_said(capsys, arguments, monkeypatch):
    monkeypatch.setattr("library.training.preview_schedule.PreviewSchedule.after_step", interrupt)
    assert train(*as_words({**arguments, "--max_train_steps": "4"})) == 130
    said = "Interrupted at step 1 of 4; no network was saved, 1 step is lost; --save_every_n_steps saves in between.\n"
    assert capsys.readouterr().err.endswith(said)


def test_an_interruption_before_the_training(capsys, arguments, monkeypatch):
    monkeypatch.setattr("library.training.setup.start_training", interrupt)
    assert train(*as_words(arguments)) == 130
    assert capsys.readouterr().err.endswith("Interrupted before the training began; no network was saved.\n")


def interrupt(*arguments):
    raise KeyboardInterrupt


def test_what_every_process_finds_is_said_once(capsys, arguments, second_process):
    assert train(*as_words({**arguments, "--network_dim": "-1"})) == 1
    assert capsys.readouterr().err == ""
