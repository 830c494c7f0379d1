"""What is said about duplicates, sizes, captions, tags, masks and folders."""

import os
import shutil

import numpy as np
import pytest
from PIL import Image

from tests.linting.conftest import put
from tests.linting.linted import check, codes, found, picture


def test_nothing_is_wrong_with_a_good_dataset(dogs):
    report = check(dogs.parent, "--resolution", "64")
    assert report.findings == ()
    assert (report.trigger.word, report.trigger.is_guessed) == ("sks dog", True)
    assert len(report.facts) == len(report.inventory.captions()) == 12


@pytest.mark.parametrize("names_folder_itself", [True, False])
def test_a_folder_of_images_and_a_folder_of_such_folders(dogs, names_folder_itself):
    (dogs / "dog 01.txt").unlink()
    report = check(dogs if names_folder_itself else dogs.parent)
    assert found(report, "caption.missing") == {"dog 01.png": "trained as 'sks dog'"}


# ---- duplicates


def test_copies(dogs):
    shutil.copy(dogs / "dog 01.png", dogs / "copy.png")
    (dogs / "copy.txt").write_text("sks dog, indoors", encoding="utf-8")
    Image.fromarray(picture(2)).resize((60, 40)).save(dogs / "dog 02 small.jpg", quality=60)
    (dogs / "dog 02 small.txt").write_text("sks dog, brown fur, outdoors", encoding="utf-8")
    Image.fromarray(picture(3)[:, ::-1].copy()).save(dogs / "dog 03 mirrored.png")
    report = check(dogs)
    assert found(report, "duplicate.exact") == {"copy.png, dog 01.png": "with different captions"}
    assert found(report, "duplicate.near") == {"dog 02 small.jpg, dog 02.png": ""}
    assert found(report, "duplicate.mirrored") == {"dog 03 mirrored.png, dog 03.png": ""}


def test_leaks(dogs, tmp_path):
    regularisation = tmp_path / "reg" / "1_dog"
    regularisation.mkdir(parents=True)
    put(regularisation, "other.png", 90, "a dog")
    shutil.copy(dogs / "dog 04.png", regularisation / "leak.png")
    for number in range(12):
        Image.fromarray(picture(number)).resize((70, 50)).save(dogs / f"again {number:02d}.png")
    report = check(
        "--train_data_dir", dogs.parent, "--reg_data_dir", regularisation.parent, "--resolution", "64",
        "--validation_split", "0.3", "--seed", "1",
    )  # fmt: skip
    leaks = found(report, "leak.validation")
    held_out = {image.path.name for image in report.inventory.images if image.role == "validation"}
    assert len(held_out) == 7
    half_held_out = {name[-6:-4] for name in held_out if {f"dog {name[-6:]}", f"again {name[-6:]}"} - held_out}
    assert half_held_out
    assert {names[-6:-4] for names in leaks} == half_held_out
    assert all(message.partition(": ")[0].endswith(", for validation") for message in leaks.values())
    [(names, message)] = found(report, "leak.regularisation").items()
    assert "leak.png" in names
    assert message.startswith("the same file, for regularisation: leak.png") or "leak.png" in message


# ---- sizes


def test_sizes(dogs):
    Image.fromarray(picture(50, 20, 20)).save(dogs / "small.png")
    Image.fromarray(picture(51, 600, 60)).save(dogs / "long.png")
    arguments = ("--resolution", "64", "--enable_bucket", "--min_bucket_reso", "64", "--max_bucket_reso", "64")
    report = check(dogs, *arguments)
    assert found(report, "size.enlarged") == {"small.png": "20x20 is enlarged 3.2 times to fill 64x64"}
    assert found(report, "size.cropped") == {"long.png": "600x60 loses 90% of its area for 64x64"}
    assert found(report, "size.extreme_ratio") == {"long.png": "600x60, 10 to 1"}
    report = check(dogs, "--resolution", "128", "--enable_bucket", "--bucket_no_upscale")
    assert found(report, "size.too_small") == {"small.png": "20x20", "long.png": "600x60"}
    assert not {code for code in codes(check(dogs)) if code.startswith("size.")} - {"size.extreme_ratio"}


# ---- captions


def test_caption_files(dogs):
    texts = {
        "00": "",
        "01": "\nsks dog below an empty line",
        "02": "sks dog, outdoors\nsomething else",
        "03": " ".join(["sks dog"] * 20),
    }
    for number, text in texts.items():
        (dogs / f"dog {number}.txt").write_text(text, encoding="utf-8")
    (dogs / "dog 04.txt").write_bytes("sks dog, Größe, grün, schön".encode("cp1252"))
    (dogs / "dog 05.txt").write_bytes("\ufeffsks dog".encode())
    (dogs / "dog 06.txt").write_bytes("sks dog".encode("utf-16"))
    (dogs / "dog 07.txt").write_bytes(bytes(range(40)))
    (dogs / "dog 08.txt").rename(dogs / "dog 08.tags")
    (dogs / "dog 09.caption").write_text("sks dog", encoding="utf-8")
    (dogs / "gone.txt").write_text("sks dog", encoding="utf-8")
    (dogs / "README.txt").write_text("about this folder", encoding="utf-8")
    report = check(dogs, max_tokens=30)
    assert set(found(report, "caption.empty")) == {"dog 00.txt", "dog 01.txt"}
    assert "below" in found(report, "caption.empty")["dog 01.txt"]
    assert found(report, "caption.unused_lines") == {"dog 02.txt": "not used: something else"}
    assert found(report, "caption.too_long") == {"dog 03.txt": "40 tokens, of which 30 are used"}
    assert set(found(report, "caption.encoding")) == {"dog 04.txt", "dog 06.txt"}
    assert "Größe, grün, schön" in found(report, "caption.encoding")["dog 04.txt"]
    assert list(found(report, "caption.byte_order_mark")) == ["dog 05.txt"]
    assert list(found(report, "caption.unreadable")) == ["dog 07.txt"]
    assert list(found(report, "caption.other_extension")) == ["dog 08.png"]
    assert list(found(report, "caption.two_files")) == ["dog 09.caption, dog 09.txt"]
    assert list(found(report, "caption.orphan")) == ["gone.txt"]
    assert "caption.missing" not in codes(report)


def test_regularisation_images_need_no_captions(dogs, tmp_path):
    for name, seeds in (("1_dog", (60, 61)), ("1_cat", (62, 63))):
        folder = tmp_path / "reg" / name
        folder.mkdir(parents=True)
        for seed in seeds:
            Image.fromarray(picture(seed)).save(folder / f"{seed}.png")
    report = check("--train_data_dir", dogs.parent, "--reg_data_dir", tmp_path / "reg", "--resolution", "64")
    assert found(report, "caption.class_words") == {
        "1_cat": "2 images, trained as 'cat'",
        "1_dog": "2 images, trained as 'dog'",
    }
    assert codes(report) == {"caption.class_words"}


def test_captions_of_metadata_files(dogs, tmp_path):
    listing = tmp_path / "meta.json"
    listing.write_text('{"dog 00.png": {"tags": "sks dog, a, a"}, "dog 01.png": {}}', encoding="utf-8")
    report = check("--in_json", listing, "--train_data_dir", dogs, "--resolution", "64")
    assert len(report.facts) == 2
    assert found(report, "tag.repeated") == {"dog 00.png": "'a'"}
    assert list(found(report, "caption.empty")) == ["dog 01.png"]
    assert "caption.orphan" not in codes(report)


def test_trigger_word(dogs, tmp_path):
    (dogs / "dog 01.txt").write_text("dog, brown fur", encoding="utf-8")
    (dogs / "dog 02.txt").write_text("photo of a SKS_dog", encoding="utf-8")
    regularisation = tmp_path / "reg" / "1_dog"
    regularisation.mkdir(parents=True)
    for number in range(4):
        put(regularisation, f"r{number}.png", 60 + number, "sks dog, grass" if number == 0 else "a dog")
    arguments = ("--train_data_dir", dogs.parent, "--reg_data_dir", regularisation.parent, "--resolution", "64")
    report = check(*arguments)
    assert report.trigger.word == "sks dog"
    assert list(found(report, "trigger.missing")) == ["dog 01.txt"]
    assert list(found(report, "trigger.in_regularisation")) == ["r0.txt"]
    assert len(found(check(*arguments, trigger="brown fur"), "trigger.missing")) == 1
    assert "trigger.missing" not in codes(check(*arguments, "--caption_prefix", "sks dog,"))
    assert check(*arguments, trigger="dogs").findings  # a part of a word is not the word
    assert len(found(check(*arguments, trigger="dogs"), "trigger.missing")) == 12


def test_a_word_of_most_regularisation_captions_is_not_guessed(dogs, tmp_path):
    regularisation = tmp_path / "reg" / "1_sks dog"
    regularisation.mkdir(parents=True)
    put(regularisation, "r.png", 60, "sks dog, brown fur")
    report = check("--train_data_dir", dogs.parent, "--reg_data_dir", regularisation.parent, "--resolution", "64")
    assert report.trigger is None


def test_tags(dogs):
    texts = {
        "00": "sks dog, brown fur, Brown_Fur, outdoors",
        "01": ", sks dog,, outdoors,",
        "02": "sks dog, hat (red, outdoors",
        "03": "sks dog, outdors, :), hat (red)",
        "04": "sks dog, brown_fur",
        "05": "a \\(b\\), sks dog, [c], {d}",
    }
    for number, text in texts.items():
        (dogs / f"dog {number}.txt").write_text(text, encoding="utf-8")
    report = check(dogs)
    assert found(report, "tag.repeated") == {"dog 00.txt": "'brown fur'"}
    assert found(report, "tag.stray_separator") == {"dog 01.txt": "3 times ','"}
    assert list(found(report, "tag.brackets")) == ["dog 02.txt"]
    similar = found(report, "tag.similar")
    assert similar["dog 00.txt, dog 04.txt"] == "'brown fur' (7), 'brown_fur' (2): the same thing?"
    assert similar["dog 03.txt"] == "'outdoors' (9), 'outdors' (1): a slip of the pen?"
    assert len(similar) == 2


# ---- masks and folders


def test_masks(dogs):
    masks = dogs.parent / "masks"
    masks.mkdir()
    for number in range(12):
        values = np.full((64, 96), 255 if number == 1 else 0, np.uint8)
        values[:32] += np.uint8(number not in (1, 2))
        Image.fromarray(values[: 32 if number == 3 else 64]).save(masks / f"dog {number:02d}.png")
    (masks / "dog 04.png").write_bytes(b"")
    (masks / "dog 05.png").unlink()
    Image.fromarray(values).save(masks / "other.png")
    config = dogs.parent / "data.toml"
    config.write_text(
        f"[[datasets]]\nresolution = 64\n[[datasets.subsets]]\nimage_dir = '{dogs.as_posix()}'\n"
        f"conditioning_data_dir = '{masks.as_posix()}'\n",
        encoding="utf-8",
    )
    report = check("--dataset_config", config, "--masked_loss")
    assert list(found(report, "mask.white")) == ["dog 01.png, dog 01.png"]
    assert list(found(report, "mask.black")) == ["dog 02.png, dog 02.png"]
    assert found(report, "mask.size") == {"dog 03.png, dog 03.png": "96x32, the image 96x64"}
    assert list(found(report, "mask.unreadable")) == ["dog 04.png, dog 04.png"]
    assert list(found(report, "mask.missing")) == ["dog 05.png"]
    assert list(found(report, "mask.extra")) == ["other.png"]
    assert "folder.unused" not in codes(report)


def test_masks_in_the_alpha_channel(dogs):
    for name, alpha in (("opaque", 255), ("nothing", 0), ("half", 128)):
        Image.fromarray(np.dstack([picture(70), np.full((64, 96), alpha, np.uint8)])).save(dogs / f"{name}.png")
    report = check(dogs, "--alpha_mask")
    assert list(found(report, "mask.black")) == ["nothing.png"]
    white = found(report, "mask.white")
    assert "opaque.png" in white
    assert "half.png" not in white
    assert len(white) == 13


def test_folders(dogs):
    (dogs / "inner").mkdir()
    put(dogs / "inner", "forgotten.png", 80)
    put(dogs.parent, "beside.png", 81)
    (dogs / "Thumbs.db").write_bytes(b"x")
    report = check(dogs.parent)
    assert found(report, "folder.unused") == {
        "inner": "1 image, such as forgotten.png",
        "Schöne Hunde": "1 image, such as beside.png",
    }
    assert list(found(report, "folder.junk")) == ["Thumbs.db"]
    assert "folder.unused" not in codes(check(dogs, "--recursive"))


def test_links_that_lead_round_in_circles(dogs):
    (dogs / "itself").symlink_to(dogs, target_is_directory=True)
    (dogs / "up").symlink_to(dogs.parent, target_is_directory=True)
    assert codes(check(dogs)) == set()
    assert codes(check(dogs.parent)) == set()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes among files")
def test_pipes(dogs):
    masks = dogs.parent / "masks"
    masks.mkdir()
    for number in range(12):
        Image.fromarray(picture(number)).save(masks / f"dog {number:02d}.png")
    for pipe in (dogs / "pipe.png", dogs / "pipe.txt", masks / "pipe.png", masks / "dog 01.png"):
        pipe.unlink(missing_ok=True)
        os.mkfifo(pipe)
    config = dogs.parent / "data.toml"
    config.write_text(
        f"[[datasets]]\nresolution = 64\n[[datasets.subsets]]\nimage_dir = '{dogs.as_posix()}'\n"
        f"conditioning_data_dir = '{masks.as_posix()}'\n",
        encoding="utf-8",
    )
    report = check("--dataset_config", config, "--masked_loss")
    assert found(report, "image.unreadable") == {"pipe.png": "it is no regular file"}
    assert found(report, "mask.unreadable")["dog 01.png, dog 01.png"] == "it is no regular file"


def test_a_run_that_would_be_refused_says_so(tmp_path):
    (tmp_path / "1_x").mkdir()
    [message] = found(check(tmp_path), "run.refused").values()
    assert "holds no images" in message
