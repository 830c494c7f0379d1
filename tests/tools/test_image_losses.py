"""The command that tells which images are hard."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from library.training.image_loss_report.command import run_image_losses_command
from library.training.image_loss_report.difficulty import difficulties, fine_bins
from library.training.image_loss_report.figure import draw_losses
from library.training.image_loss_report.loss_table import ImageLoss, add_to_table, begin_table, read_table
from tests.training.image_loss_report.tables import table_of

TOOL = Path(__file__).parents[2] / "tools" / "image_losses.py"
HARD, EASY = "0/0/_DSC $a_b$ \\frac{1} & <b>.png", "0/1/猫\x1b[31m\n.png"


def put_table(file: Path) -> Path:
    """40 images with 50 losses each, of which one is hard and one easy."""
    table = table_of([1.6, *[1.0] * 38, 0.5], exposures=50)
    names = [HARD, *table.images[1:-1], EASY]
    columns = zip(table.step, table.image, table.timestep, table.loss, table.weighted_loss, strict=True)
    begin_table(file, [ImageLoss(int(step), names[image], *others) for step, image, *others in columns])
    return file


@pytest.fixture
def file(tmp_path):
    return put_table(tmp_path / "n-image-losses.csv")


def report(*words, capsys) -> list[str]:
    assert run_image_losses_command("", [str(word) for word in words]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out.splitlines()


def test_the_report(file, capsys):
    lines = report(file, "--images", 3, capsys=capsys)
    assert lines[0] == f"{file}: 2000 losses of 40 images, steps 1 to 500"
    bins = [line.split() for line in lines[3:13]]
    assert [line[0] for line in bins] == [str(first) for first in range(0, 1000, 100)]
    assert sum(int(line[3]) for line in bins) == 2000
    assert all(float(line[5]) == pytest.approx(float(line[4]) / 2, abs=1e-4) for line in bins)
    hardest = lines.index("The hardest images: loss / what is usual at the same timesteps")
    easiest = lines.index("The easiest images")
    assert lines[hardest + 2].startswith("*   1.6")
    assert lines[hardest + 2].endswith(f"50  {HARD}")
    assert lines[easiest + 2].startswith("*   0.5")
    assert lines[easiest + 2].endswith("50  0/1/猫\\x1b[31m\\n.png")
    assert easiest - hardest == 3 + 3
    assert lines[-1].startswith("* 2 of 40 images differ from 1 by more than chance")


def test_no_image_is_both_hard_and_easy(file, capsys):
    lines = report(file, "--images", 1000, capsys=capsys)
    shown = [line for line in lines if line.endswith(".png")]
    assert len(shown) == len(set(shown)) == 40


def test_one_image_has_nothing_to_be_compared_with(tmp_path, capsys):
    begin_table(tmp_path / "one.csv", [ImageLoss(1, "0/0/a.png", 5, 0.5, 0.5)])
    lines = report(tmp_path / "one.csv", "--output", tmp_path / "one.html", capsys=capsys)
    assert lines[0].endswith("1 loss of 1 image, steps 1 to 1")
    assert not any("hardest" in line for line in lines)
    assert "0/0/a.png" in (tmp_path / "one.html").read_text("utf-8")


def put_few(file: Path, images: int, exposures: int) -> Path:
    rows = [ImageLoss(1, f"0/0/{number}.png", 80 * number, 0.9**number, 0.5) for number in range(images)]
    begin_table(file, rows * exposures)
    return file


def test_few_losses_give_no_verdict(tmp_path, capsys):
    lines = report(put_few(tmp_path / "few.csv", 12, 1), "--output", tmp_path / "few.html", capsys=capsys)
    said = "too few losses (12) to tell images from timesteps: it takes 250; train longer"
    assert said in lines
    assert not any("hardest" in line or "chance" in line for line in lines)
    page = (tmp_path / "few.html").read_text("utf-8")
    assert f"No ratio says anything yet: {said}." in page
    assert 'class="clear"' not in page


def test_images_with_few_losses_are_not_judged(tmp_path, capsys):
    file = put_few(tmp_path / "few.csv", 10, 26)
    add_to_table(file, [ImageLoss(9, "0/0/new.png", 5, 30.0, 30.0)] * 4)
    lines = report(file, capsys=capsys)
    assert lines[-1] == "1 image with fewer than 5 losses: not judged"
    assert not any(line.endswith("new.png") for line in lines)


def test_the_figure_says_what_it_draws(tmp_path):
    few, enough = (read_table(put_few(tmp_path / f"{count}.csv", 12, count)) for count in (1, 30))
    for table, legends in ((few, 0), (enough, 1)):
        usual = fine_bins(table)
        found = replace(difficulties(table, usual), error=np.full(12, 9.0))
        left, right = draw_losses(table, usual, found, 5).axes
        assert (left.get_legend() is not None) == (len(left.lines) == 1) == bool(legends)
        bars = [segment for bar in right.collections for segment in bar.get_segments()]
        assert bool(bars) == bool(legends)
        assert all(segment[:, 0].min() == pytest.approx(0) for segment in bars)
        assert ["too few losses (12)" in text.get_text() for text in right.texts] == [True] * (1 - legends)


def test_the_picture_and_the_page(file, tmp_path, capsys):
    picture, page = tmp_path / "p.PNG", tmp_path / "p.html"
    assert report(file, "--output", picture, capsys=capsys)[-1] == f"Wrote {picture}"
    assert picture.read_bytes().startswith(b"\x89PNG")
    report(file, "--output", page, capsys=capsys)
    text = page.read_text("utf-8")
    assert "data:image/png;base64,iVBOR" in text
    assert text.count("<tr") == 1 + 40
    assert text.count('<tr class="clear">') == 2
    assert (
        text.index("$a_b$ \\frac{1} &amp; &lt;b&gt;.png") < text.index("0/0/5.png") < text.index("猫\\x1b[31m\\n.png")
    )


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("page.pdf", "page.pdf': must end in .png or .html"),
        ("page", "page': must end in .png or .html"),
        ("none/page.png", "page.png' cannot be written: No such file"),
    ],
)
def test_outputs_that_cannot_be(file, tmp_path, output, message, capsys):
    assert run_image_losses_command("", [str(file), "--output", str(tmp_path / output)]) == 1
    assert message in capsys.readouterr().err


def test_the_number_of_images_must_be_one(file, capsys):
    for number in ("0", "-1", "many"):
        with pytest.raises(SystemExit):
            run_image_losses_command("", [str(file), f"--images={number}"])
        assert f"'{number}' must be a whole number, 1 or above" in capsys.readouterr().err


def test_the_tool(file, tmp_path):
    """Also where the terminal cannot show every letter."""
    for path, code in ((file, 0), (tmp_path / "none.csv", 1)):
        result = subprocess.run(
            [sys.executable, TOOL, path], capture_output=True, text=True, check=False, env={"PYTHONIOENCODING": "ascii"}
        )
        assert (result.returncode, "Traceback" in result.stderr) == (code, False)
    assert result.stderr == f"Error: '{path}' cannot be read: No such file or directory\n"
