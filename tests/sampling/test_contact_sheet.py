"""Contact sheets: which pictures are on them, and in which order."""

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from library.errors import UserError
from library.sampling.contact_sheet import (
    columns_of_moments,
    describe_left_out,
    draw_contact_sheet,
    find_previews,
    moments_in_order,
    previews_of_run,
)

TOOL = Path(__file__).parents[2] / "tools" / "contact_sheet.py"


def put(folder: Path, name: str, colour: str = "red", size: tuple[int, int] = (64, 64)) -> None:
    Image.new("RGB", size, colour).save(folder / name)


def columns(folder: Path, output_name: str | None = None) -> list[str]:
    return moments_in_order(previews_of_run(find_previews(folder), output_name))


def test_contact_sheet(tmp_path):
    for moment, stamp, colour in (("000000", 0, "red"), ("e000001", 1, "green"), ("e000002", 2, "blue")):
        for number in (0, 1):
            put(tmp_path, f"my_run_{moment}_{number:02d}_2026112100000{stamp}_5.png", colour, (64 + 32 * number, 64))
    (tmp_path / "other.png").write_bytes(b"")
    previews = previews_of_run(find_previews(tmp_path), None)
    assert len(previews) == 6
    moments = moments_in_order(previews)
    assert moments == ["000000", "e000001", "e000002"]
    assert [preview.heading for preview in previews[::2]] == ["before", "epoch 1", "epoch 2"]
    sheet = draw_contact_sheet(columns_of_moments(previews, moments), {0: "a prompt, " * 50})
    assert sheet.width >= 3 * 96
    assert sheet.height >= 2 * 64
    colours = {colour for _, colour in sheet.getcolors(100_000)}
    assert {(255, 0, 0), (0, 128, 0), (0, 0, 255)} <= colours


def test_no_previews(tmp_path):
    with pytest.raises(UserError, match="holds no previews"):
        find_previews(tmp_path)


@pytest.fixture
def cat_and_dog(tmp_path) -> Path:
    put(tmp_path, "cat_000600_00_20261120090000.png")
    put(tmp_path, "dog_000000_00_20261121090000.png", "green")
    put(tmp_path, "dog_000300_00_20261121090500.png", "blue")
    return tmp_path


def test_runs_are_kept_apart(cat_and_dog):
    assert columns(cat_and_dog) == ["000000", "000300"]
    assert columns(cat_and_dog, "cat") == ["000600"]
    found = find_previews(cat_and_dog)
    assert describe_left_out(found, previews_of_run(found, None)) == [
        "Left out: pictures of 'cat' (1); --output_name 'cat' draws them"
    ]
    with pytest.raises(
        UserError, match="--output_name 'cow': there are no pictures of it; there are some of 'cat', 'dog'"
    ):
        previews_of_run(found, "cow")


def test_a_run_without_a_name(cat_and_dog):
    put(cat_and_dog, "000100_00_20261119090000.png")
    assert columns(cat_and_dog, "") == ["000100"]


@pytest.mark.parametrize(
    ("drawn", "expected"),
    [
        (["000100", "000200", "000300"], ["000100", "000200", "000300"]),
        (["000100", "000200", "000300", "000150", "000300"], ["000150", "000300"]),
        (["000000", "000100", "000000", "000050"], ["000000", "000050"]),
        (["000000", "e000001", "e000002", "000000", "e000001"], ["000000", "e000001"]),
        (["000000", "000000", "e000001"], ["000000", "e000001"]),
        (["e000001", "e000002", "000500", "001000"], ["000500", "001000"]),
        (["000500", "e000001"], ["e000001"]),
        (["999999", "1000000"], ["999999", "1000000"]),
    ],
)
def test_a_run_of_the_same_name_begins_where_steps_do_not_grow(tmp_path, drawn, expected):
    for hour, moment in enumerate(drawn):
        put(tmp_path, f"dog_{moment}_00_20261121{hour:02d}0000.png")
        put(tmp_path, f"dog_{moment}_01_20261121{hour:02d}0002.png")
    assert columns(tmp_path) == expected
    found = find_previews(tmp_path)
    chosen = previews_of_run(found, None)
    assert len(chosen) == 2 * len(expected)
    assert chosen[0].time.startswith(f"20261121{len(drawn) - len(expected):02d}")
    earlier = 2 * (len(drawn) - len(expected))
    assert describe_left_out(found, chosen) == (
        [f"Left out: pictures of earlier runs of 'dog' ({earlier})"] if earlier else []
    )


def test_moments_drawn_within_one_second(tmp_path):
    for moment in ("000000", "e000001", "e000002"):
        for number in range(2):
            put(tmp_path, f"dog_{moment}_{number:02d}_20261121000000.png")
    assert columns(tmp_path) == ["000000", "e000001", "e000002"]


def test_more_than_a_hundred_prompts(tmp_path):
    put(tmp_path, "dog_000100_100_20261121000000_7.png")
    assert find_previews(tmp_path)[0].number == 100


def run_tool(*arguments) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, TOOL, *arguments], capture_output=True, text=True, check=False)


def test_the_tool_shows_the_newest_run(cat_and_dog):
    sheet = cat_and_dog / "sheet"
    result = run_tool(cat_and_dog, f"{sheet}.png", "--first_and_last")
    assert (result.returncode, result.stderr) == (0, "")
    assert "Left out: pictures of 'cat' (1)" in result.stdout
    colours = {colour for _, colour in Image.open(f"{sheet}.png").getcolors(100_000)}
    assert {(0, 128, 0), (0, 0, 255)} <= colours
    assert (255, 0, 0) not in colours


@pytest.mark.parametrize("target", ["missing/sheet.png", "sheet.nonsense"])
def test_the_tool_cannot_write(cat_and_dog, target):
    result = run_tool(cat_and_dog, cat_and_dog / target)
    assert result.returncode == 1
    assert "cannot be written" in result.stderr
    assert "Traceback" not in result.stderr
