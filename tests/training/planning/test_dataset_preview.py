"""The pages of --debug_dataset: what they show is what is trained on."""

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFont

from library.dataset.batches.batch_preparation import BatchPreparer
from library.dataset.images.picture_files import FilePictures
from library.models.family import SD1
from library.options.dataset_settings import SubsetSettings
from library.training.batch_schedule import BatchSchedule
from library.training.planning import preview_sheets, shown_pictures, text_layout
from library.training.planning.dataset_preview import MOST_PICTURES, preview_page, write_preview
from library.training.planning.preview_sheets import draw_sheets
from library.training.step_counts import count_steps
from tests.training.planning.planned_data import dataset_of, record

SEED = 9
COUNTS = count_steps(8, 1, 1, 100, None)


def pictures_in(folder: Path, number: int, mode: str = "RGB") -> list[Path]:
    paths = []
    for index in range(number):
        shape = (96, 96, len(mode))
        pixels = np.random.default_rng(index).integers(0, 256, shape, dtype=np.uint8)
        paths.append(folder / f"bild {index} é.png")
        Image.fromarray(pixels, mode).save(paths[-1])
    return paths


def schedule_of(folder: Path, captions=None, mode="RGB", number=4, changes=None, **rules) -> BatchSchedule:
    records = []
    for index, path in enumerate(pictures_in(folder, number, mode)):
        made = record(path.name, (96, 96), (64, 64), 2, caption=(captions or ["red, blue, green"] * number)[index])
        records.append(made.__class__(**{**made.__dict__, "path": path, **(changes or {})}))
    return BatchSchedule((dataset_of(*records, subsets=(SubsetSettings(**rules),)),), SEED, COUNTS, 1)


def shown_of(schedule, most=MOST_PICTURES):
    return list(shown_pictures.shown_pictures(schedule, FilePictures(), most))


@pytest.mark.parametrize(
    "rules",
    [
        {},
        {"flip_aug": True},
        {"random_crop": True, "flip_aug": True},
        {"color_aug": True},
        {"resize_interpolation": "nearest"},
    ],
    ids=str,
)
def test_pictures_and_captions_are_those_of_training(tmp_path, rules):
    schedule = schedule_of(tmp_path, shuffle_caption=True, caption_dropout_rate=0.3, **rules)
    preparer = BatchPreparer(
        datasets=schedule.datasets,
        seed=SEED,
        layout=SD1.latents,
        tokenize=lambda captions: None,
        prior_loss_weight=1.0,
        pictures=FilePictures(),
        max_train_steps=COUNTS.max_train_steps,
    )
    trained = [preparer.prepare(batch) for batch in schedule.of_epoch(0, 0)]
    shown = shown_of(schedule)
    assert len(shown) == len(trained) == 8
    for picture, batch in zip(shown, trained, strict=True):
        assert np.array_equal(np.asarray(picture.pixels), batch.pixels[0].permute(1, 2, 0).numpy())
        assert picture.caption == batch.captions[0]
        assert picture.bucket == (64, 64)
    assert len({picture.caption for picture in shown}) > 2
    mirrored = {"mirrored" in picture.remarks for picture in shown}
    assert mirrored == ({True, False} if "flip_aug" in rules else {False})


def test_what_does_not_count_is_dimmed(tmp_path):
    schedule = schedule_of(tmp_path, mode="RGBA", number=1, changes={"alpha_mask": True})
    plain = schedule_of(tmp_path, mode="RGBA", number=1)
    (masked, _), (shown, _) = shown_of(schedule), shown_of(plain)
    assert "masked" in masked.remarks and "masked" not in shown.remarks
    assert np.asarray(masked.pixels).mean() < 0.8 * np.asarray(shown.pixels).mean()


def test_an_image_that_turns_out_unreadable_is_named(tmp_path):
    schedule = schedule_of(tmp_path, number=2)
    (tmp_path / "bild 0 é.png").write_bytes(b"gone")
    remarks = {picture.image: picture.remarks for picture in shown_of(schedule)}
    assert remarks[str(tmp_path / "bild 1 é.png")] == ()
    assert remarks[str(tmp_path / "bild 0 é.png")][0].startswith("unreadable: ")


def test_numbers_and_remarks(tmp_path):
    schedule = schedule_of(tmp_path, changes={"is_reg": True})
    shown = shown_of(schedule, most=3)
    assert [(picture.batch, picture.step) for picture in shown] == [(1, 1), (2, 2), (3, 3)]
    assert all(picture.remarks == ("regularisation",) for picture in shown)


def test_large_pictures_are_made_smaller(tmp_path):
    path = tmp_path / "a.png"
    Image.new("RGB", (1024, 512)).save(path)
    made = record("a.png", (1024, 512), (1024, 512))
    dataset = dataset_of(made.__class__(**{**made.__dict__, "path": path}))
    (shown,) = shown_of(BatchSchedule((dataset,), SEED, COUNTS, 1))
    assert shown.pixels.size == (256, 128)
    assert shown.bucket == (1024, 512)


def test_the_page_needs_no_other_file_and_shows_any_text(tmp_path):
    captions = ["東京 <b>&amp;</b> 🙂", "", "x" * 500, "a\ud800b"]
    page = preview_page(shown_of(schedule_of(tmp_path, captions=captions)))
    assert "東京 &lt;b&gt;&amp;amp;&lt;/b&gt; 🙂" in page
    assert "<em>(empty caption)</em>" in page
    assert "a\\ud800b" in page
    assert "bild 0 é.png" in page
    assert re.findall(r"<h2>(.*?)</h2>", page)[:2] == ["Batch 1, step 1: 64x64", "Batch 2, step 2: 64x64"]
    images = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', page)
    assert len(images) == page.count("<img ") == 8
    assert Image.open(io.BytesIO(base64.b64decode(images[0]))).size == (64, 64)


def test_sheets(tmp_path, monkeypatch):
    monkeypatch.setattr(preview_sheets, "COLUMNS", 2)
    monkeypatch.setattr(preview_sheets, "ROWS", 2)
    shown = shown_of(schedule_of(tmp_path, captions=["東京", "", "x y " * 100, "z"]), most=7)
    sheets = list(draw_sheets(shown))
    assert [sheet.width for sheet in sheets] == [2 * 264 + 8] * 2
    corner = sheets[0].crop((8, 8, 72, 72))
    assert np.array_equal(np.asarray(corner), np.asarray(shown[0].pixels))


def test_letters_that_the_font_lacks_are_escaped():
    font = ImageFont.load_default(preview_sheets.FONT_SIZE)
    missing = bytes(font.getmask("東"))
    drawn = text_layout.drawable("Größe, cat's 東!")
    assert drawn == "Gr\\xf6\\xdfe, cat's \\u6771!"
    assert all(bytes(font.getmask(letter)) != missing for letter in drawn)


def test_files_of_an_earlier_preview_are_replaced(tmp_path):
    schedule = schedule_of(tmp_path)
    folder = tmp_path / "aus" / "dataset_preview"
    folder.mkdir(parents=True)
    for name in ("sheet_01.png", "sheet_07.png", "mine.png", "index.html"):
        (folder / name).write_text("old")
    lines = write_preview(schedule, FilePictures(), tmp_path / "aus")
    assert sorted(path.name for path in folder.iterdir()) == ["index.html", "mine.png", "sheet_01.png"]
    assert (folder / "mine.png").read_text() == "old"
    assert Image.open(folder / "sheet_01.png").format == "PNG"
    assert lines == [
        "What would be trained on first, 8 pictures of 8 batches:",
        f"  {folder / 'index.html'}",
        f"  {folder / 'sheet_01.png'}",
    ]
