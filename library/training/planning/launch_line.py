"""The command line of a training, as it is handed to the plan: with its launcher and script, or without."""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath

from library.errors import UserError
from library.models.family import FAMILIES, ModelFamily

SCRIPTS = tuple(dict.fromkeys(family.script for family in FAMILIES))

DESCRIPTION = """Tells what a training would do, without doing it: images, captions, buckets, steps, files, disk
space and everything that is wrong. Needs no GPU and loads no model.

Put it in front of the command line of the training:

  python tools/plan.py accelerate launch --multi_gpu --num_processes 2 train_network.py --config_file dog.toml

The launcher may be left out, and the script, too, if the model file tells which one it belongs to. With
--debug_dataset, pages with the pictures and captions of the first batches are written as well. The exit code is 1 if
the training would not start."""


_STARTS_SEVERAL = {
    "multi_gpu",
    "use_deepspeed",
    "use_fsdp",
    "use_megatron_lm",
    "tpu",
    "mpirun_hostfile",
    "config_file",
}
"""Options with which `accelerate launch` starts the processes that it is told to, or whose file says whether it does.
Without them it starts one, unless a configuration says otherwise, or there is none and it finds several GPUs."""


@dataclass(frozen=True)
class LaunchLine:
    families: tuple[ModelFamily, ...] | None
    """what the named script trains; None = no script is named"""
    options: tuple[str, ...]
    """of the training script"""
    num_processes: int
    notices: tuple[str, ...]
    """where the launcher may start another number of processes"""
    json_file: Path | None
    chart_file: Path | None


def read_launch_line(words: Sequence[str]) -> LaunchLine:
    """Understands what stands before the script as far as it matters, and leaves the rest of it alone.

    Raises:
        UserError: the line names another script.
        SystemExit: an option of the plan's own has no proper value, or help was asked for.
    """
    position = next((index for index, word in enumerate(words) if _script(word) in SCRIPTS), None)
    if position is None and words and not words[0].startswith("-"):
        named = next((f"'{word}' is no script of this suite" for word in words if word.endswith(".py")), None)
        raise UserError(f"{named or 'no script is named'}; name one of: {', '.join(SCRIPTS)}")
    launcher = words[: position or 0]
    rest = words if position is None else words[position + 1 :]
    parser = _parser()
    own, _ = parser.parse_known_args(launcher)
    own, options = parser.parse_known_args(rest, own)
    script = None if position is None else _script(words[position])
    return LaunchLine(
        families=None if script is None else tuple(family for family in FAMILIES if family.script == script),
        options=tuple(options),
        num_processes=own.num_processes or 1,
        notices=tuple(_launch_notices(launcher, own.num_processes)),
        json_file=own.json,
        chart_file=own.draw_schedule,
    )


def _launch_notices(launcher: Sequence[str], num_processes: int | None) -> Iterator[str]:
    if not any(_script(word).startswith("accelerate") for word in launcher):
        return
    options = {word.partition("=")[0].lstrip("-").replace("-", "_") for word in launcher if word.startswith("--")}
    if num_processes is None and options & _STARTS_SEVERAL:
        yield (
            "accelerate launch without --num_processes: this plan is for one process, but accelerate starts as many as "
            "its configuration says or as it finds GPUs; give --num_processes to plan for them"
        )
    if "num_processes" in options and (num_processes or 1) > 1 and not options & _STARTS_SEVERAL:
        yield (
            f"accelerate launch --num_processes {num_processes}: this starts {num_processes} processes only where "
            "accelerate is configured for several GPUs, or is not configured and finds several; elsewhere it starts "
            "one, and never more with --cpu. Give it --multi_gpu (without GPUs, set the environment variable "
            "ACCELERATE_USE_CPU=true beside it, in place of --cpu)"
        )


def _script(word: str) -> str:
    """The file name of a path in the form of any system."""
    return PureWindowsPath(word).name


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="plan.py",
        usage="plan.py [--json FILE] [--draw_schedule FILE] [--num_processes N] [LAUNCHER ...] [SCRIPT] OPTIONS",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the plan to this file, too, with every name")
    parser.add_argument(
        "--draw_schedule", metavar="FILE", type=Path, help="draw the learning rate over the run into this PNG file"
    )
    names = ("--num_processes", "--num-processes", "--nproc_per_node", "--nproc-per-node")
    parser.add_argument(*names, type=_positive, metavar="N", help="processes that train together; default 1")
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' must be a whole number above 0")
    return int(text)
