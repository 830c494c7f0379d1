"""What lies where in a diffusers folder, on this computer or on a hub."""

import json
import re
from collections.abc import Collection, Iterator
from pathlib import Path

UNET, VAE = "unet", "vae"
TEXT_ENCODERS = ("text_encoder", "text_encoder_2")
TOKENIZERS = ("tokenizer", "tokenizer_2")
SCHEDULER = "scheduler"

MODEL_INDEX = "model_index.json"
"""Lists the components: name -> [library, class], or [null, null] for one that the model does without."""
CONFIGURATION = "config.json"
SCHEDULER_CONFIGURATION = "scheduler_config.json"

_STEMS = {"safetensors": ("diffusion_pytorch_model", "model"), "bin": ("diffusion_pytorch_model", "pytorch_model")}
_HALF_PRECISION = ".fp16"


def choose_weights(names: Collection[str]) -> str | None:
    """The name of the file to read a component's weights from, among the names of the component's files.

    Full precision comes before half, safetensors before pickles, one file before an index of several.
    """
    return next((name for name in _weight_names() if name in names), None)


def _weight_names() -> Iterator[str]:
    for variant in ("", _HALF_PRECISION):
        for extension, stems in _STEMS.items():
            for stem in stems:
                yield f"{stem}{variant}.{extension}"
                yield f"{stem}{variant}.{extension}.index.json"
                yield f"{stem}.{extension}.index{variant}.json"


def is_index(weights: str) -> bool:
    return weights.endswith(".json")


def shards_among(index: str, names: Collection[str]) -> list[str]:
    """The names that can be shards of an index; for where the index cannot be read."""
    stem, extension = index.split(".")[0], "bin" if ".bin." in index else "safetensors"
    shard = re.compile(rf"{stem}(\.fp16)?-\d+-of-\d+(\.fp16)?\.{extension}")
    is_half = _HALF_PRECISION in index
    return [name for name in names if shard.fullmatch(name) and (_HALF_PRECISION in name) == is_half]


def weights_files(folder: Path) -> tuple[Path, ...]:
    """The files that hold a component's weights, whether they exist or are only listed in an index; () = none.

    Raises:
        ValueError: the index cannot be read; names the file.
    """
    weights = choose_weights(file_names(folder))
    if weights is None:
        return ()
    if not is_index(weights):
        return (folder / weights,)
    try:
        shards = sorted(set(json.loads((folder / weights).read_bytes())["weight_map"].values()))
        return tuple(folder / shard for shard in shards)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise ValueError(f"'{folder / weights}' cannot be read; download it again") from None


def has_vocabulary(names: Collection[str]) -> bool:
    """Whether a tokenizer's files are all there, among the names of its files."""
    return "tokenizer.json" in names or {"vocab.json", "merges.txt"} <= set(names)


def file_names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.is_file()} if folder.is_dir() else set()
