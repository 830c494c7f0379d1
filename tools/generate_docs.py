"""Writes the references in docs/ from the declarations of options, arguments and client programs.

python tools/generate_docs.py            write them
python tools/generate_docs.py --check    only say whether they are current
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from library.atomic_files import write_text_atomically
from library.options.documentation import options_document
from networks.arguments.documentation import arguments_document
from networks.files.client_document import clients_document

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = {
    ROOT / "docs" / "options.md": options_document,
    ROOT / "docs" / "network_arguments.md": arguments_document,
    ROOT / "docs" / "clients.md": clients_document,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 when a file is not current")
    options = parser.parse_args()
    outdated = False
    for path, render in DOCUMENTS.items():
        name = path.relative_to(ROOT).as_posix()
        if not options.check:
            write_text_atomically(path, render())
            print(f"Wrote {name}")
        elif not path.is_file() or path.read_text(encoding="utf-8") != render():
            print(f"{name} is not current; run: python tools/generate_docs.py", file=sys.stderr)
            outdated = True
    return 1 if outdated else 0


if __name__ == "__main__":
    sys.exit(main())
