"""Carries out fixes such that each can be taken back.

A backup folder holds the originals of all files that were rewritten or moved away, and a listing, `changes.json`:

    {"version": 1, "changes": [{"path", "copy", "now", "sha256"}]}

`path` is the file as it was, `copy` its copy in the backup folder (null if it was only renamed), `now` the file that
took its place (null if there is none) and `sha256` what that contains. The originals and the listing are written
before anything is changed.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from library.atomic_files import atomic_path, write_text_atomically
from library.errors import UserError
from library.linting.fixes import Fix, Removal, Rename, Rewrite

LISTING = "changes.json"
VERSION = 1
_FIELDS = ("path", "copy", "now", "sha256")
_LONGEST_NAME = 40
"""Letters of a file's name that are kept in its copy's, which would otherwise become too long for some disks."""


def carry_out(fixes: Sequence[Fix], backup: Path) -> None:
    """
    Args:
        backup: a new folder.

    Raises:
        UserError: a file or folder cannot be written; what was changed until then can be taken back.
    """
    try:
        _save_originals(fixes, backup)
    except OSError as error:
        raise UserError(
            f"--fix cannot write its backup to '{backup}': {error.strerror or error}; nothing was changed. "
            "Give a --backup_dir that can be written"
        ) from None
    for fix in fixes:
        try:
            _carry_out(fix)
        except OSError as error:
            raise UserError(
                f"--fix cannot change '{fix.path}': {error.strerror or error}; "
                f"--restore '{backup}' takes back what was changed before"
            ) from None


@dataclass(frozen=True)
class Restored:
    files: list[Path]
    """as they were again"""
    gone: dict[Path, Path]
    """Files that were only renamed -> their later names, under which they are no more."""


def restore(backup: Path) -> Restored:
    """Takes back what a backup folder lists, as far as it is there.

    Raises:
        UserError: the folder is no backup, a file cannot be written, or was changed since; names the files.
    """
    changes = _read_listing(backup)
    try:
        touched = [change["path"] for change in changes if not _is_untouched(change, backup)]
    except OSError as error:
        raise UserError(f"--restore '{backup}': '{error.filename}' cannot be read: {error.strerror}") from None
    if touched:
        raise UserError(
            [f"--restore: '{path}' was changed or replaced after the fix; move it away first" for path in touched]
        )
    restored = Restored([], {})
    for change in changes:
        path = Path(change["path"])
        try:
            if _restore(change, backup):
                restored.files.append(path)
            elif not path.exists():
                restored.gone[path] = Path(change["now"])
        except OSError as error:
            raise UserError(f"--restore: '{change['path']}' cannot be written: {error.strerror or error}") from None
    return restored


def _save_originals(fixes: Sequence[Fix], backup: Path) -> None:
    changes = []
    backup.mkdir(parents=True)
    for number, fix in enumerate(fixes):
        copy = None if isinstance(fix, Rename) else f"{number:04d} {fix.path.name[-_LONGEST_NAME:]}"
        if copy is not None:
            shutil.copy2(fix.path, backup / copy)
        changes.append(_change(fix, copy))
    write_text_atomically(backup / LISTING, json.dumps({"version": VERSION, "changes": changes}, indent=2) + "\n")


def _change(fix: Fix, copy: str | None) -> dict[str, Any]:
    now: Path | None
    content: str | None
    match fix:
        case Rewrite():
            now, content = fix.path, _hash(fix.text.encode())
        case Rename():
            now, content = fix.target, _hash(fix.path.read_bytes())
        case Removal():
            now, content = None, None
    return {
        "path": str(fix.path.absolute()),
        "copy": copy,
        "now": now and str(now.absolute()),
        "sha256": content,
    }


def _carry_out(fix: Fix) -> None:
    match fix:
        case Rewrite():
            mode = fix.path.stat().st_mode
            write_text_atomically(fix.path, fix.text)
            fix.path.chmod(mode)
        case Rename():
            if os.path.lexists(fix.target):
                raise FileExistsError(0, f"'{fix.target}' exists")
            fix.path.rename(fix.target)
        case Removal():
            fix.path.unlink()


def _read_listing(backup: Path) -> list[dict[str, Any]]:
    try:
        content = json.loads((backup / LISTING).read_text(encoding="utf-8"))
        if content["version"] != VERSION:
            raise ValueError
        return [{name: change[name] for name in _FIELDS} for change in content["changes"]]
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(
            f"--restore '{backup}': it holds no {LISTING} that can be read; name a folder that --fix has made"
        ) from None


def _is_untouched(change: dict[str, Any], backup: Path) -> bool:
    """Whether nobody else has written to the places of a file, before and after the fix."""
    known = {change["sha256"]}
    if change["copy"] is not None:
        known.add(_hash((backup / change["copy"]).read_bytes()))
    places = [Path(place) for place in (change["path"], change["now"]) if place is not None]
    return all(_hash(place.read_bytes()) in known for place in places if place.exists())


def _restore(change: dict[str, Any], backup: Path) -> bool:
    """Whether there was anything to do."""
    path = Path(change["path"])
    if change["copy"] is None:
        now = Path(change["now"])
        if not now.exists() or path.exists():
            return False
        now.rename(path)
        return True
    with atomic_path(path) as temporary:
        shutil.copy2(backup / change["copy"], temporary)
    shutil.copymode(backup / change["copy"], path)
    return True


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
