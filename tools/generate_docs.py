"""Writes docs/options.md from the declarations of the options.

python tools/generate_docs.py            write it
python tools/generate_docs.py --check    only say whether it is current
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from library.atomic_files import write_text_atomically
from library.options.documentation import options_document

ROOT = Path(__file__).resolve().parents[1]
DOCUMENT = ROOT / "docs" / "options.md"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 when the file is not current")
    options = parser.parse_args()
    name = DOCUMENT.relative_to(ROOT).as_posix()
    if not options.check:
        write_text_atomically(DOCUMENT, options_document())
        print(f"Wrote {name}")
        return 0
    if DOCUMENT.is_file() and DOCUMENT.read_text(encoding="utf-8") == options_document():
        return 0
    print(f"{name} is not current; run: python tools/generate_docs.py", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
