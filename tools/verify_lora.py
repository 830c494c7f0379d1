"""Tells what a network file holds, for which models, which programs read it, and what it does to a model.

python tools/verify_lora.py dog.safetensors
python tools/verify_lora.py dog.safetensors --base model.safetensors

With --base: which layers match those of the model, and how strongly each block is changed. Exit code 1 if something
is wrong with the file.
"""

import argparse
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch import nn
from tqdm import tqdm

from library.errors import UserError, format_problems
from library.models.adapter import ModelAdapter
from library.models.named_model import load_named_model
from library.training.network_files import families_of_network, read_network_header
from networks.files.client_support import misreadings
from networks.files.key_dialects import to_own_names
from networks.files.layer_deltas import changes_in
from networks.files.weights_file import not_finite, read_network_file, read_network_metadata
from networks.kinds.catalogue import recognise, tensors_by_layer
from networks.targeting.targets import find_all
from networks.verification.block_strengths import LayerNorms, strengths_by_block
from networks.verification.file_contents import examine_contents
from networks.verification.report import (
    describe_clients,
    describe_contents,
    describe_families,
    describe_faults,
    describe_match,
    describe_strengths,
)

Weights = Mapping[str, torch.Tensor]
Layers = Mapping[str, nn.Module]


def main(words: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(words)
    try:
        return _verify(options.file, options.base)
    except UserError as error:
        print(format_problems(error.problems), file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="network file: .safetensors, .ckpt or .pt")
    parser.add_argument("--base", metavar="MODEL", help="model it was trained on: file, diffusers folder or hub id")
    return parser


def _verify(file: Path, base: str | None) -> int:
    families = families_of_network(read_network_header(file).shapes)
    as_it_is, metadata = read_network_file(file), read_network_metadata(file)
    adapter = None if base is None else load_named_model(base, "base")
    model = None if adapter is None else _layers_of(adapter)
    weights, report = to_own_names(as_it_is, model, metadata)
    weights = {key: tensor for key, tensor in weights.items() if key not in report.unknown}
    contents = examine_contents(weights)
    print(f"{file}:")
    if not contents.layers:
        print("WRONG: it holds no layers of a network")
        return 1
    _show(describe_families(families))
    _show(describe_contents(contents))
    print("what programs make of it:")
    _show(describe_clients(misreadings(as_it_is)))
    faults = list(describe_faults(contents))
    if adapter is not None and families and adapter.family.name not in families:
        faults.append(f"it is a network for {' or '.join(families)}, and the model is one of {adapter.family.name}")
    if model is not None:
        faults += _compare_with_model(weights, contents.layers, model)
    for fault in faults:
        print(f"WRONG: {fault}")
    return 1 if faults else 0


def _show(lines: Iterable[str]) -> None:
    for line in lines:
        print(line)


def _layers_of(adapter: ModelAdapter) -> Layers:
    views = adapter.views()
    return {target.name: target.layer for target in find_all(views.text_encoders_as_kohya(), views.unet)}


def _compare_with_model(weights: Weights, in_file: Sequence[str], model: Layers) -> list[str]:
    """Shows what fits and how strong it is. Returns what is wrong."""
    matches = list(describe_match(in_file, model))
    fitting = {
        f"{name}.{suffix}": tensor
        for name, tensors in tensors_by_layer(weights).items()
        if name in model and recognise(tensors) is not None
        for suffix, tensor in tensors.items()
    }
    if fitting and not not_finite(fitting):
        _show(describe_strengths(strengths_by_block(_norms(fitting, model))))
    if any(name not in model for name in in_file):
        return matches
    _show(matches)
    return []


@torch.no_grad()
def _norms(weights: Weights, model: Layers) -> Iterator[LayerNorms]:
    changes = changes_in(weights, model)
    for name, delta, _ in tqdm(changes, "measuring", len(tensors_by_layer(weights)), unit="layer", leave=False):
        weight = model[name].get_parameter("weight")
        yield LayerNorms(name, torch.linalg.vector_norm(delta).item(), torch.linalg.vector_norm(weight.float()).item())


if __name__ == "__main__":
    sys.exit(main())
