"""From a folder, or the options of a training command, to the datasets that are to be checked."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from library.dataset.findings import Findings
from library.dataset.records import Dataset
from library.dataset.scanning.folder_convention import find_folders, parse_folder_name
from library.dataset.scanning.scan import scan_dataset
from library.errors import UserError
from library.models.family import SDXL
from library.options.command_line import build_parser
from library.options.dataset_file import dataset_from_subsets
from library.options.resolution import ResolvedOptions, resolve_options
from library.training.dataset_checks import check_datasets

_STAND_INS = {
    "pretrained_model_name_or_path": "any",
    "output_dir": ".",
    "network_module": "networks.lora",
    "max_train_steps": "1",
}
"""What a training command needs, and a check of its data does not."""
_ANY_RESOLUTION = "1024"


@dataclass(frozen=True)
class LintedData:
    resolved: ResolvedOptions
    single: Path | None
    """a folder of images that is checked by itself; None = what the options say"""
    folders: tuple[Path, ...]
    """named by the user"""
    has_resolution: bool

    def scan(self, findings: Findings) -> tuple[Dataset, ...]:
        if self.single is None:
            return check_datasets(self.resolved, SDXL, findings, lists_images=True).datasets
        parsed = parse_folder_name(self.single.resolve().name)
        subset = {"image_dir": self.single, "class_tokens": parsed.class_tokens if parsed else None}
        return (scan_dataset(0, dataset_from_subsets([subset], self.resolved), findings),)


def find_datasets(arguments: Sequence[str]) -> LintedData:
    """
    Args:
        arguments: the command line without the options that only the check has.

    Raises:
        UserError: it names no images, or is wrong.
    """
    folder, words = _take_folder(list(arguments))
    if folder is not None:
        words += ["--train_data_dir", str(folder)]
    single = folder if folder is not None and not _holds_named_folders(folder) else None
    resolved = _resolve(words)
    data = resolved.settings.data
    if data.dataset_class is not None:
        raise UserError("--dataset_class: only datasets that are files can be checked; leave it out")
    if not resolved.given & {"train_data_dir", "dataset_config", "in_json"}:
        raise UserError("name a folder with images, or give --train_data_dir or --dataset_config as for training")
    has_resolution = "resolution" in resolved.given or data.dataset_config is not None
    stand_ins = {name: value for name, value in _STAND_INS.items() if name not in resolved.given}
    if not has_resolution:
        stand_ins["resolution"] = _ANY_RESOLUTION
    resolved = _resolve([*words, *(word for name, value in stand_ins.items() for word in (f"--{name}", value))])
    if resolved.problems:
        raise UserError(resolved.problems)
    folders = tuple(path for path in (data.train_data_dir, data.reg_data_dir) if path is not None)
    return LintedData(resolved, single, folders, has_resolution)


def _resolve(words: Sequence[str]) -> ResolvedOptions:
    return resolve_options(build_parser("lint_dataset.py", ""), words)


def _take_folder(words: list[str]) -> tuple[Path | None, list[str]]:
    """The word that belongs to no option, and the others."""
    parser = build_parser("lint_dataset.py", "")
    parser.add_argument("folder", nargs="?")
    name = getattr(parser.parse_known_args(words)[0], "folder", None)
    if name is None:
        return None, words
    place = len(words) - 1 - words[::-1].index(name)
    folder = Path(name)
    if not folder.is_dir():
        is_file = f"'{name}' is not a folder; a dataset file is named with --dataset_config"
        raise UserError(is_file if folder.exists() else f"there is no folder '{name}'")
    return folder, words[:place] + words[place + 1 :]


def _holds_named_folders(folder: Path) -> bool:
    try:
        return bool(find_folders(folder, is_reg=False).subsets)
    except OSError as error:
        raise UserError(f"'{folder}' cannot be read: {error.strerror or error}") from None
