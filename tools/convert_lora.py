"""Converts a network file into a form that another program reads.

python tools/convert_lora.py dog.safetensors --to diffusers           names of diffusers and PEFT; LoRA, DoRA per output
python tools/convert_lora.py dog.safetensors --to kohya               kohya's names, from whatever names it has
python tools/convert_lora.py dog.safetensors --to lora --rank 32      a plain LoRA of any kind, by singular values
python tools/convert_lora.py dog.safetensors --to diff                full differences: exact, and as large as the model

A plain LoRA is as near to the original as its rank allows; how near is told. Kinds whose change depends on the model's
weights (DoRA, OFT, BOFT, GLoRA, (IA)^3) need it for the last two, as --base MODEL. The input is never overwritten.
"""

import argparse
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from tqdm import tqdm

from library.console import set_up_console, show
from library.errors import UserError, first_line, format_problems
from library.options.groups import ConsoleOptions
from library.wording import counted, format_size, listed
from networks.files.client_support import exact_clients, forms_in, misreadings
from networks.files.conversion import Base, Conversion, Progress, Source, convert
from networks.files.conversion_metadata import TargetForm
from networks.files.plain_forms import LayerChange, PlainLoRA, RankChoice
from networks.files.weights_file import (
    NonFiniteWeightsError,
    read_network_file,
    read_network_metadata,
    write_network_file,
)
from networks.targeting.targets import find_all

_DTYPES = {"float": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
_EXTENSIONS = (".safetensors", ".ckpt", ".pt")
_MOST_NAMES = 3
_DEFAULT_RANK = 32
_NOTICEABLE_ERROR = 0.05
"""How far a change may be from the original's, relative to it, without a warning."""


def main(words: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(words)
    try:
        target = _checked_target(options.file, options.save_to, options.to)
        form = TargetForm(options.to)
        ranks = _checked_ranks(form, options.rank, options.conv_rank, options.energy)
        source = Source(options.file.name, read_network_file(options.file), read_network_metadata(options.file))
        base = None if options.base is None else _load_base(options.base)
        show(f"{options.file}: {_contents(source.tensors)}")
        dtype = _DTYPES.get(options.save_precision)
        conversion = convert(source, form, base, ranks, _progress_on(options.device), dtype)
        write_network_file(target, conversion.tensors, conversion.dtype, conversion.metadata)
    except UserError as error:
        show(format_problems(error.problems), sys.stderr)
        return 1
    except NonFiniteWeightsError as error:
        show(f"Error: '{target}' was not written: {error}; use --save_precision float", sys.stderr)
        return 1
    except OSError as error:
        show(f"Error: '{target}' cannot be written: {error.strerror or error}", sys.stderr)
        return 1
    for line in _summary(target, conversion):
        show(line)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="network file: .safetensors, .ckpt or .pt")
    parser.add_argument("--to", required=True, choices=[form.value for form in TargetForm], help="form to convert to")
    parser.add_argument("--base", metavar="MODEL", help="model it was trained on: file, diffusers folder or hub id")
    parser.add_argument(
        "--rank",
        type=int,
        help=f"of a plain LoRA, at most; default: {_DEFAULT_RANK}, or whatever --energy needs",
    )
    parser.add_argument("--conv_rank", type=int, help="the same for 3x3 convolutions; default: --rank")
    parser.add_argument(
        "--energy",
        type=float,
        metavar="SHARE",
        help="for a plain LoRA: as small a rank as keeps this share of each layer's squared change",
    )
    parser.add_argument("--save_to", type=Path, help="file to write; default: the input's name with the form added")
    parser.add_argument("--save_precision", choices=list(_DTYPES), help="default: that of the input")
    parser.add_argument("--device", type=_device, default="cpu", help="to compute singular values on, such as cuda")
    return parser


def _device(text: str) -> torch.device:
    """
    Raises:
        argparse.ArgumentTypeError: there is no such device here.
    """
    try:
        torch.empty(0, device=text, dtype=torch.float64)
        return torch.device(text)
    except (RuntimeError, AssertionError, TypeError) as error:
        raise argparse.ArgumentTypeError(f"'{text}' cannot be used: {first_line(error)}") from None


def _checked_target(source: Path, save_to: Path | None, form: str) -> Path:
    """
    Raises:
        UserError: the file cannot be written, or exists.
    """
    target = save_to or source.with_name(f"{source.stem}_{form}.safetensors")
    if target.suffix.lower() not in _EXTENSIONS:
        raise UserError(f"--save_to '{target}': network files end in {', '.join(_EXTENSIONS)}")
    if target.exists():
        raise UserError(f"--save_to '{target}': the file exists already; name another one")
    if not target.parent.is_dir():
        raise UserError(f"--save_to '{target}': there is no folder '{target.parent}'")
    return target


def _checked_ranks(form: TargetForm, rank: int | None, conv_rank: int | None, energy: float | None) -> RankChoice:
    """
    Raises:
        UserError: a value is impossible, or of no use with this form.
    """
    given = {"rank": rank, "conv_rank": conv_rank, "energy": energy}
    given = {name: value for name, value in given.items() if value is not None}
    problems = [
        f"--{name} {given[name]}: must be 1 or more" for name in ("rank", "conv_rank") if given.get(name, 1) < 1
    ]
    if energy is not None and not 0 < energy <= 1:
        problems.append(f"--energy {energy:g}: must be more than 0 and at most 1")
    if form is not TargetForm.LORA:
        remedy = (
            f"is for --to {TargetForm.LORA.value} only, which chooses ranks; --to {form.value} keeps every change whole"
        )
        problems += [f"--{name} {value:g}: {remedy}; leave it out" for name, value in given.items()]
    if problems:
        raise UserError(problems)
    rank = rank or (_DEFAULT_RANK if energy is None else sys.maxsize)
    return RankChoice(rank, conv_rank or rank, energy)


def _load_base(name: str) -> Base:
    from library.models.named_model import load_named_model  # takes seconds, and is seldom needed

    model = load_named_model(name, "base")
    views = model.views()
    layers = {target.name: target.layer for target in find_all(views.text_encoders_as_kohya(), views.unet)}
    return Base(layers, model.family.is_v2)


def _progress_on(device: torch.device) -> Progress:
    def show(changes: Iterable[LayerChange], count: int) -> Iterator[LayerChange]:
        for name, weight, bias in tqdm(changes, total=count, unit="layer", disable=None):
            yield name, weight.to(device), bias

    return show


def _contents(tensors: Mapping[str, torch.Tensor]) -> str:
    return ", ".join(f"{form.value} ({counted(layers, 'layer')})" for form, layers in forms_in(tensors).items())


def _summary(target: Path, conversion: Conversion) -> Iterator[str]:
    yield f"Wrote {target}: {_contents(conversion.tensors)}, {format_size(target.stat().st_size)}"
    if conversion.kept:
        names = listed(conversion.kept, _MOST_NAMES)
        yield f"Taken over as they are, since they belong to no layer: {names}"
    if conversion.approximation is not None:
        yield from _losses(conversion.approximation)
    exact = exact_clients(conversion.tensors)
    yield f"This file is read exactly by: {', '.join(exact) or 'none of the programs known here'}"
    for misreading in misreadings(conversion.tensors):
        yield f"  {misreading}"


def _losses(plain: PlainLoRA) -> Iterator[str]:
    worst = max(plain.errors, key=lambda error: error.relative)
    yield (
        f"The change differs from the original's by {plain.relative_error:.2%}; most in {worst.name}: "
        f"{worst.relative:.2%} at rank {worst.rank}"
    )
    if plain.relative_error > _NOTICEABLE_ERROR:
        yield (
            "Warning: that is far off, and pictures will show it; for a nearer copy give a larger --rank or --energy, "
            f"or --to {TargetForm.DIFF.value}, which loses nothing"
        )
    if plain.left_out:
        names = listed(plain.left_out, _MOST_NAMES)
        yield f"Warning: changes of biases and norm layers, which no LoRA holds, are left out: {names}"


if __name__ == "__main__":
    set_up_console(ConsoleOptions())
    sys.exit(main())
