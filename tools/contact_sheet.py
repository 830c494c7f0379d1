"""Draws the previews of a run on one sheet: a row for each prompt, a column for each moment.

python tools/contact_sheet.py OUTPUT_DIR/sample sheet.png --sample_prompts prompts.txt
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from library.errors import UserError, format_problems
from library.sampling.contact_sheet import (
    columns_of_moments,
    describe_left_out,
    draw_contact_sheet,
    find_previews,
    moments_in_order,
    previews_of_run,
)
from library.sampling.prompt_files import read_prompt_file


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder with previews, usually OUTPUT_DIR/sample")
    parser.add_argument("sheet", type=Path, help="PNG file to write")
    parser.add_argument("--sample_prompts", type=Path, help="prompt file of the run, for the text beside the rows")
    parser.add_argument("--output_name", help="which run's previews; default: the run with the newest one")
    parser.add_argument("--first_and_last", action="store_true", help="only the first and the last column")
    options = parser.parse_args()
    try:
        found = find_previews(options.folder)
        previews = previews_of_run(found, options.output_name)
        prompts = read_prompt_file(options.sample_prompts) if options.sample_prompts else []
    except UserError as error:
        print(format_problems(error.problems), file=sys.stderr)
        return 1
    for line in describe_left_out(found, previews):
        print(line)
    moments = moments_in_order(previews)
    if options.first_and_last:
        moments = list(dict.fromkeys([moments[0], moments[-1]]))
    columns = columns_of_moments(previews, moments)
    sheet = draw_contact_sheet(columns, {prompt["enum"]: prompt["prompt"] for prompt in prompts})
    try:
        sheet.save(options.sheet)
    except (OSError, ValueError) as error:
        print(f"Error: '{options.sheet}' cannot be written: {error}", file=sys.stderr)
        return 1
    print(f"Wrote {options.sheet}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
