"""The command line of a training in front of which tools/plan.py is put."""

import re
from pathlib import Path

import pytest

from library.errors import UserError
from library.models.family import SD1, SD2, SDXL
from library.training.planning.launch_line import SCRIPTS, read_launch_line

OPTIONS = (
    "--output_dir",
    "out put",
    "--optimizer_args",
    "weight_decay=0.1",
    "betas=0.9,0.99",
    "--noise_offset",
    "-1e-5",
)


@pytest.mark.parametrize(
    ("before", "families", "processes"),
    [
        ("", None, 1),
        ("train_network.py", (SD1, SD2), 1),
        ("sdxl_train_network.py", (SDXL,), 1),
        ("./train_network.py", (SD1, SD2), 1),
        ("C:\\lora\\sdxl_train_network.py", (SDXL,), 1),
        ("python train_network.py", (SD1, SD2), 1),
        ("accelerate launch sdxl_train_network.py", (SDXL,), 1),
        ("accelerate launch --multi_gpu --num_processes 4 --mixed_precision bf16 train_network.py", (SD1, SD2), 4),
        ("accelerate launch --num_processes=2 --num_cpu_threads_per_process 1 train_network.py", (SD1, SD2), 2),
        ("python -m accelerate.commands.launch --num-processes 2 train_network.py", (SD1, SD2), 2),
        ("torchrun --nproc_per_node 8 train_network.py", (SD1, SD2), 8),
        ("torchrun --nproc-per-node=8 train_network.py", (SD1, SD2), 8),
        ("CUDA_VISIBLE_DEVICES=1 accelerate launch --config_file four.yaml train_network.py", (SD1, SD2), 1),
        ("--num_processes 3", None, 3),
    ],
)
def test_lines(before, families, processes):
    line = read_launch_line([*before.split(), *OPTIONS])
    assert (line.families, line.num_processes, line.json_file) == (families, processes, None)
    assert line.options == OPTIONS


def test_scripts_are_those_of_the_families():
    assert SCRIPTS == ("train_network.py", "sdxl_train_network.py")


LACKING = "accelerate launch --num_processes 2: this starts 2 processes only where accelerate is configured for several"
UNCOUNTED = "accelerate launch without --num_processes: this plan is for one process, but accelerate starts as many as"


@pytest.mark.parametrize(
    ("before", "notice"),
    [
        ("accelerate launch --num_processes 2", LACKING),
        ("accelerate launch --cpu --num-processes=2", LACKING),
        ("python -m accelerate.commands.launch --num_processes 2", LACKING),
        ("C:\\venv\\accelerate.exe launch --num_processes 2", LACKING),
        ("accelerate launch --multi_gpu", UNCOUNTED),
        ("accelerate launch --config_file=four.yaml", UNCOUNTED),
        ("accelerate launch --multi_gpu --num_processes 2", None),
        ("accelerate launch --multi-gpu --num-processes 2", None),
        ("accelerate launch --config_file two.yaml --num_processes 2", None),
        ("accelerate launch --num_processes 1", None),
        ("accelerate launch", None),
        ("torchrun --nproc_per_node 2", None),
        ("python", None),
    ],
)
def test_launchers_that_may_start_another_number(before, notice):
    notices = read_launch_line([*before.split(), "train_network.py", *OPTIONS]).notices
    assert [text[: len(notice or "")] for text in notices] == ([] if notice is None else [notice])


def test_a_number_for_the_plan_alone_says_nothing_of_the_launcher():
    assert read_launch_line(["accelerate", "launch", "train_network.py", "--num_processes", "2"]).notices == ()


def test_the_plans_own_options_may_stand_anywhere():
    words = ["--json", "a b.json", "accelerate", "launch", "train_network.py", "--seed", "1", "--num_processes", "2"]
    line = read_launch_line([*words, "--v2"])
    assert (line.json_file, line.num_processes) == (Path("a b.json"), 2)
    assert line.options == ("--seed", "1", "--v2")
    assert read_launch_line(["train_network.py", "--seed", "1", "--json=x.json"]).json_file == Path("x.json")


def test_the_last_number_of_processes_counts():
    line = read_launch_line(
        ["accelerate", "launch", "--num_processes", "4", "train_network.py", "--num_processes", "2"]
    )
    assert line.num_processes == 2


def test_mistakes_are_left_to_the_checks_of_training():
    assert read_launch_line(["train_network.py", "--sed", "1", "stray"]).options == ("--sed", "1", "stray")
    assert read_launch_line([]).options == ()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["flux_train_network.py", "--seed", "1"], "'flux_train_network.py' is no script of this suite; name one of: "),
        (["accelerate", "launch", "sd3.py"], "'sd3.py' is no script of this suite; name one of: "),
        (["accelerate", "launch"], "no script is named; name one of: train_network.py, sdxl_train_network.py"),
    ],
)
def test_other_scripts(words, message):
    with pytest.raises(UserError, match=re.escape(message)):
        read_launch_line(words)


@pytest.mark.parametrize("value", ["0", "-1", "two"])
def test_numbers_of_processes_that_cannot_be(value, capsys):
    with pytest.raises(SystemExit) as ended:
        read_launch_line(["--num_processes", value])
    assert ended.value.code == 2
    assert "--num_processes" in capsys.readouterr().err
