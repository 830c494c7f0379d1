"""Makes network files with averages of the weights, of any length, after a training with --ema_snapshots_every_n_steps.

python tools/synthesize_ema.py out/dog-ema-snapshots --sigma_rel 0.07
python tools/synthesize_ema.py out/dog-ema-snapshots --sigma_rel 0.05 0.1 0.15 --plot profiles.png
python tools/synthesize_ema.py out/dog-ema-snapshots --sigma_rel 0.1 --step 800

sigma_rel says how wide an average is, as a share of the training up to its end: 0.05 averages over about the last
eighth, 0.1 over about the last quarter, 0.2 over half of it. Between 0.03 and 0.25, what comes out is what training
would have kept; the error that is shown tells how nearly. docs/averaging.md explains it.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from library.averaging.power_profiles import exponent_of
from library.averaging.snapshot_facts import FOLDER_ENDING, snapshot_steps
from library.averaging.snapshots import Snapshot, find_snapshots
from library.averaging.synthesis import MOST_SNAPSHOTS, Synthesis, sufficient_spacing, synthesise
from library.console import set_up_console, show
from library.errors import UserError, format_problems
from library.options.groups import ConsoleOptions
from library.wording import counted, format_size
from networks.files.weights_file import NonFiniteWeightsError, write_network_file

_DTYPES = {"float": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
_NOTICEABLE_ERROR = 0.05
"""Of a profile, relative to it."""
_NOTICEABLE_MAGNIFICATION = 8.0
"""Of the rounding of half precision: three of its eleven bits."""


def main(words: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(words)
    try:
        _check_widths(options.sigma_rel)
        targets = _checked_targets(options.folder, options.sigma_rel, options.step, options.output)
        snapshots = find_snapshots(options.folder, options.step, options.allow_missing)
        show(f"{options.folder}: {_contents(snapshots)}")
        syntheses = [
            _write(target, snapshots, width, _DTYPES.get(options.save_precision))
            for target, width in zip(targets, options.sigma_rel, strict=True)
        ]
    except UserError as error:
        show(format_problems(error.problems), sys.stderr)
        return 1
    return 0 if options.plot is None else _draw(syntheses, options.plot)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder NAME-ema-snapshots that training wrote")
    parser.add_argument(
        "--sigma_rel",
        type=float,
        nargs="+",
        default=[],
        metavar="WIDTH",
        help="relative width of each average, one at least; 0.1 (the last quarter) is a good beginning",
    )
    parser.add_argument("--step", type=int, help="step that the averages end with; default: the last one")
    parser.add_argument("--output", type=Path, help="file to write; default: beside the folder, NAME-ema-sigmaWIDTH")
    parser.add_argument("--save_precision", choices=list(_DTYPES), help="default: that of the snapshots")
    parser.add_argument("--plot", type=Path, help="picture to draw: how much each step counts")
    parser.add_argument("--allow_missing", action="store_true", help="use the snapshots that there are")
    return parser


def _check_widths(widths: Sequence[float]) -> None:
    if not widths:
        raise UserError(
            "--sigma_rel is missing: how wide the average is to be, as a share of the training; --sigma_rel 0.1 (about "
            "the last quarter) is a good beginning"
        )
    problems = []
    for width in dict.fromkeys(widths):
        try:
            exponent_of(width)
        except UserError as error:
            problems.append(f"--sigma_rel {width:g}: {error}")
        if widths.count(width) > 1:
            problems.append(f"--sigma_rel {width:g} is given {widths.count(width)} times")
    if problems:
        raise UserError(problems)


def _checked_targets(folder: Path, widths: Sequence[float], step: int | None, output: Path | None) -> list[Path]:
    """
    Raises:
        UserError: a file cannot be written, or exists.
    """
    if output is not None and len(widths) > 1:
        raise UserError(f"--output '{output}': one file cannot hold {len(widths)} averages; leave it out")
    name = folder.resolve().name.removesuffix(FOLDER_ENDING) + ("" if step is None else f"-step{step:08d}")
    targets = [output or folder.resolve().parent / f"{name}-sigma{width:g}.safetensors" for width in widths]
    problems = []
    for target in targets:
        if target.suffix.lower() != ".safetensors":
            problems.append(f"--output '{target}': the file must end in .safetensors")
        elif target.exists():
            problems.append(f"'{target}' exists already; name another one with --output, or remove it")
        elif not target.parent.is_dir():
            problems.append(f"--output '{target}': there is no folder '{target.parent}'")
    if problems:
        raise UserError(problems)
    return targets


def _contents(snapshots: Sequence[Snapshot]) -> str:
    steps = sorted({snapshot.facts.step for snapshot in snapshots})
    widths = sorted({f"{snapshot.facts.width:g}" for snapshot in snapshots})
    span = f"step {steps[0]}" if len(steps) == 1 else f"{len(steps)} steps from {steps[0]} to {steps[-1]}"
    return f"{counted(len(snapshots), 'snapshot')}: {span}, in {counted(len(widths), 'width')} ({', '.join(widths)})"


def _write(target: Path, snapshots: Sequence[Snapshot], width: float, dtype: torch.dtype | None) -> Synthesis:
    made = synthesise(snapshots, width)
    try:
        write_network_file(target, made.tensors, dtype, made.metadata)
    except NonFiniteWeightsError as error:
        raise UserError(f"'{target}' was not written: {error}; use --save_precision float") from None
    except OSError as error:
        raise UserError(f"'{target}' cannot be written: {error.strerror or error}") from None
    steps = sorted({snapshot.facts.step for snapshot in snapshots})
    for line in _summary(target, made, steps):
        show(line)
    return made


def _summary(target: Path, made: Synthesis, steps: Sequence[int]) -> Iterator[str]:
    combination = made.combination
    yield (
        f"Wrote {target}: sigma_rel {combination.wanted.width:g}, error of its profile {combination.error:.2%}, "
        f"{format_size(target.stat().st_size)}"
    )
    if combination.error > _NOTICEABLE_ERROR:
        yield f"Warning: that is another average than was asked for: {_remedy(combination.wanted.width, steps)}"
    if combination.magnification > _NOTICEABLE_MAGNIFICATION:
        yield (
            f"Warning: the rounding of the snapshots may be {combination.magnification:.0f} times as large in it; "
            "train with --save_precision float for averages as short as this"
        )


def _remedy(width: float, steps: Sequence[int]) -> str:
    every = sufficient_spacing(width, steps[-1], _NOTICEABLE_ERROR)
    nearer = "choose a sigma_rel nearer to 0.05 or 0.1"
    if every is None:
        most = counted(min(steps[-1], MOST_SNAPSHOTS), "step")
        return f"even snapshots of {most} would be too few for sigma_rel {width:g}; {nearer}"
    return (
        f"snapshots of {counted(len(steps), 'step')} are too few for sigma_rel {width:g}; train with "
        f"--ema_snapshots_every_n_steps {every} at most, which makes {len(snapshot_steps(every, steps[-1]))} of them, "
        f"or {nearer}"
    )


def _draw(syntheses: Sequence[Synthesis], file: Path) -> int:
    from library.averaging.profile_figure import draw_profiles  # matplotlib takes a second

    try:
        draw_profiles([made.combination for made in syntheses], file)
    except (OSError, ValueError) as error:
        show(f"Error: --plot '{file}' cannot be written: {error}", sys.stderr)
        return 1
    show(f"Wrote {file}")
    return 0


if __name__ == "__main__":
    set_up_console(ConsoleOptions())
    sys.exit(main())
