"""Which version of the suite this is."""

from pathlib import Path

VERSION = "0.1.0"

_GIT_FOLDER = Path(__file__).resolve().parent.parent / ".git"


def source_identity() -> str:
    """The commit of a git checkout, else the version. Reads git's files; starts no process."""
    try:
        head = (_GIT_FOLDER / "HEAD").read_text(encoding="ascii").strip()
        if not head.startswith("ref: "):
            return head
        reference = head.removeprefix("ref: ")
        loose = _GIT_FOLDER / reference
        if loose.is_file():
            return loose.read_text(encoding="ascii").strip()
        for line in (_GIT_FOLDER / "packed-refs").read_text(encoding="ascii").splitlines():
            if line.endswith(f" {reference}"):
                return line.split(" ", 1)[0]
    except OSError:
        pass
    return VERSION
