"""The help of the training script, as a user gets it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from library.options.command_line import build_parser, help_text, parse_command_line
from library.options.schema import all_options
from tests.options.test_declarations import NUM_OPTIONS, PENDING, PENDING_CHOICES

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """The finished `train_network.py --help`, started from another folder; its stderr lists all imports."""
    return subprocess.run(
        [sys.executable, "-X", "importtime", ROOT / "train_network.py", "--help"],
        cwd=tmp_path_factory.mktemp("ein Ordner"),
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )


def test_help_answers_without_loading_the_large_libraries(shown):
    imported = {line.rsplit("|", 1)[-1].strip() for line in shown.stderr.splitlines() if "import time:" in line}
    assert shown.returncode == 0
    assert "library.options.schema" in imported
    assert not imported & {"torch", "diffusers", "transformers", "accelerate", "tensorboard"}


def test_help_names_every_option(shown):
    named = re.findall(r"^  --(\w+)", shown.stdout, flags=re.MULTILINE)
    assert len(named) == NUM_OPTIONS
    assert set(named) == set(all_options())


def test_help_marks_what_is_not_available(shown):
    entries = re.split(r"^  --(?=\w)", shown.stdout.split("\nEach switch can be")[0], flags=re.MULTILINE)[1:]
    assert len(entries) == NUM_OPTIONS
    marked = {entry.split()[0] for entry in entries if "(Not available yet.)" in re.sub(r"\s+", " ", entry)}
    assert marked == PENDING


def test_help_explains_the_least_that_is_needed_and_how_to_switch_off(shown):
    assert "--network_module networks.lora" in shown.stdout
    assert "--no_NAME" in shown.stdout
    assert "such as 10%." in re.sub(r"\s+", " ", shown.stdout)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("shuffle_caption", "Shuffle the tags of a caption each time it is used."),
        ("keep_tokens", "So many tags at the front are neither shuffled nor dropped. Default: 0."),
        ("log_with", "Where logs go; TensorBoard when --logging_dir is given. One of: tensorboard."),
        (
            "sample_sampler",
            "Sampler of prompts that name none. One of: ddim, euler, euler_a, k_euler, k_euler_a. Default: ddim.",
        ),
        ("v2", "The base model is SD 2.x."),
        (
            "dynamo_backend",
            "Compiler of --torch_compile. One of: eager, aot_eager, inductor, aot_ts_nvfuser, "
            "nvprims_nvfuser, cudagraphs, ofi, fx2trt, onnxrt, tensort, ipex, tvm. Default: inductor.",
        ),
        ("deepspeed", "Train with DeepSpeed. (Not available yet.)"),
        ("zero_stage", "ZeRO stage. One of: 0, 1, 2, 3. Default: 2. (Not available yet.)"),
    ],
)
def test_help_text(name, text):
    assert help_text(all_options()[name]) == text


def test_help_offers_no_choice_that_is_refused():
    assert len(PENDING_CHOICES) == 2
    for name, choices in PENDING_CHOICES.items():
        offered = help_text(all_options()[name]).split("One of: ")[1].split(".")[0].split(", ")
        assert not {str(choice) for choice in choices} & set(offered)


def test_parsing_keeps_words_as_they_were_typed():
    words = [
        "--network_dim",
        "08",
        "--network_args",
        "a=1",
        "b=ü x",
        "--flip_aug",
        "--no_color_aug",
        "--seed",
        "--lowram",
    ]
    parsed = parse_command_line(build_parser("train_network.py", ""), words)
    assert parsed.given == {
        "network_dim": "08", "network_args": ["a=1", "b=ü x"], "flip_aug": True, "color_aug": False, "lowram": True,
    }  # fmt: skip
    assert parsed.incomplete == {"seed"}
    assert parsed.problems == ("--seed: a value is missing",)
