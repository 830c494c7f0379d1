"""--fix: what it changes, that it changes nothing else, and that it can be taken back."""

import errno
import json
import os
from pathlib import Path

import pytest
from PIL import Image

from library.errors import UserError
from library.linting.backup import carry_out, restore
from library.linting.fixes import Refusal, Rename, Rewrite, plan_fixes
from tests.linting.linted import check, codes, picture


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.fixture
def faulty(dogs) -> Path:
    (dogs / "dog 00.txt").write_bytes("\ufeffsks dog, Größe, grün, schön".encode("utf-16-be"))
    (dogs / "dog 01.txt").write_bytes("\ufeffsks dog, brown fur".encode())
    (dogs / "dog 02.txt").write_bytes("sks dog, 猫\r\nsecond line".encode("utf-16"))
    (dogs / "dog 03.txt").write_text("sks dog, brown fur,, Brown_fur, outdoors,", encoding="utf-8")
    Image.fromarray(picture(50)).save(dogs / "photo.png", "JPEG")
    (dogs / "photo.txt").write_text("sks dog, outdoors", encoding="utf-8")
    (dogs / "Thumbs.db").write_bytes(b"x")
    return dogs


def fix(folder: Path, backup: Path) -> list[Refusal]:
    planned = plan_fixes(check(folder))
    carry_out([one for one in planned if not isinstance(one, Refusal)], backup)
    return [one for one in planned if isinstance(one, Refusal)]


def test_what_is_fixed(faulty, tmp_path):
    before = contents(faulty)
    assert fix(faulty, tmp_path / "backup") == []
    after = contents(faulty)
    assert after["dog 00.txt"].decode() == "sks dog, Größe, grün, schön"
    assert after["dog 01.txt"] == b"sks dog, brown fur"
    assert after["dog 02.txt"].decode() == "sks dog, 猫\nsecond line"
    assert after["dog 03.txt"] == b"sks dog, brown fur, outdoors"
    assert after["photo.jpg"] == before["photo.png"]
    assert "photo.png" not in after
    assert "Thumbs.db" not in after
    changed = {"dog 00.txt", "dog 01.txt", "dog 02.txt", "dog 03.txt"}
    assert {name: content for name, content in after.items() if name not in changed | {"photo.jpg"}} == {
        name: content for name, content in before.items() if name not in changed | {"photo.png", "Thumbs.db"}
    }
    left = codes(check(faulty))
    assert not left & {
        "caption.encoding", "caption.byte_order_mark", "tag.repeated", "tag.stray_separator", "image.mislabelled",
        "folder.junk", "caption.missing", "caption.orphan",
    }  # fmt: skip
    assert plan_fixes(check(faulty)) == []


def test_what_was_fixed_can_be_taken_back(faulty, tmp_path):
    before = contents(faulty)
    fix(faulty, tmp_path / "backup")
    restored = restore(tmp_path / "backup")
    assert (len(restored.files), restored.gone) == (6, {})
    assert contents(faulty) == before
    assert restore(tmp_path / "backup").gone == {}  # once more does no harm
    assert contents(faulty) == before


def test_a_fix_that_was_interrupted_can_be_taken_back(faulty, tmp_path, monkeypatch):
    before = contents(faulty)
    done = []

    def fail_at_third(path, text):
        done.append(path)
        if len(done) == 3:
            raise OSError(28, "No space left on device")
        path.write_text(text, encoding="utf-8")

    monkeypatch.setattr("library.linting.backup.write_text_atomically", _first_real(fail_at_third))
    with pytest.raises(UserError, match=r"dog 02.*No space left.*--restore"):
        fix(faulty, tmp_path / "backup")
    assert contents(faulty) != before
    restore(tmp_path / "backup")
    assert contents(faulty) == before


def _first_real(later):
    """The listing is written as usual."""
    from library.atomic_files import write_text_atomically

    return lambda path, text: (write_text_atomically if path.suffix == ".json" else later)(path, text)


def test_what_was_edited_after_the_fix_is_not_overwritten(faulty, tmp_path):
    fix(faulty, tmp_path / "backup")
    (faulty / "dog 01.txt").write_text("my own words", encoding="utf-8")
    Image.fromarray(picture(51)).save(faulty / "photo.png")
    after = contents(faulty)
    with pytest.raises(UserError) as error:
        restore(tmp_path / "backup")
    assert ["dog 01.txt" in problem for problem in error.value.problems] == [True, False]
    assert "photo.png" in error.value.problems[1]
    assert contents(faulty) == after


def test_what_is_gone_is_named_and_the_rest_restored(faulty, tmp_path):
    before = contents(faulty)
    fix(faulty, tmp_path / "backup")
    (faulty / "photo.jpg").unlink()
    (faulty / "dog 01.txt").unlink()
    restored = restore(tmp_path / "backup")
    assert restored.gone == {faulty / "photo.png": faulty / "photo.jpg"}
    assert len(restored.files) == 5
    del before["photo.png"]
    assert contents(faulty) == before


def test_guessed_encodings_are_only_saved_when_they_are_named(dogs):
    (dogs / "dog 00.txt").write_bytes("sks chien,, forêt".encode("cp1252"))
    (dogs / "dog 01.txt").write_bytes("собака".encode("cp1251"))
    (dogs / "dog 02.txt").write_bytes("sks dog, “leash”".encode("cp1252"))
    (dogs / "dog 03.txt").write_bytes("\ufeffsks dog".encode())
    report = check(dogs)
    *guessed, certain = plan_fixes(report)
    assert isinstance(certain, Rewrite)
    assert all(isinstance(one, Refusal) for one in guessed)
    assert guessed[0].reason == "its encoding is a guess; if 'sks chien,, forêt' is right, add --encoding cp1252"
    *named, certain = plan_fixes(report, "cp1252")
    assert isinstance(certain, Rewrite)
    assert [one.text for one in named] == ["sks chien,, forêt", "ñîáàêà", "sks dog, “leash”"]
    assert named[0].reasons == ("cp1252 -> UTF-8: sks chien,, forêt",)
    refused = {one.path.name: one.reason for one in plan_fixes(report, "utf-8") if isinstance(one, Refusal)}
    assert refused == dict.fromkeys(["dog 00.txt", "dog 01.txt", "dog 02.txt"], "it is not in utf-8")


def test_no_file_is_overwritten_by_a_renamed_one(faulty, tmp_path):
    Image.fromarray(picture(52)).save(faulty / "photo.jpg")
    Image.fromarray(picture(53)).save(faulty / "two.png", "JPEG")
    Image.fromarray(picture(54)).save(faulty / "two.webp", "JPEG")
    before = contents(faulty)
    refused = fix(faulty, tmp_path / "backup")
    assert {one.path.name: one.reason for one in refused} == {
        "photo.png": "there is a photo.jpg already",
        "two.webp": "there is a two.jpg already",
    }
    after = contents(faulty)
    assert all(after[name] == before[name] for name in ("photo.png", "photo.jpg", "two.webp"))
    assert after["two.jpg"] == before["two.png"]


def test_images_of_metadata_files_keep_their_names(faulty, tmp_path):
    listing = tmp_path / "meta.json"
    listing.write_text(json.dumps({"photo.png": {"caption": "x"}}), encoding="utf-8")
    planned = plan_fixes(check("--in_json", listing, "--train_data_dir", faulty, "--resolution", "64"))
    assert [type(one) for one in planned if one.path.name == "photo.png"] == [Refusal]
    assert not any(isinstance(one, Rename) for one in planned)


@pytest.mark.parametrize(
    ("caption", "option"),
    [
        ("a, a ||| b, b", ("--keep_tokens_separator", "|||")),
        ("a, {x|a, b}, b", ("--enable_wildcard",)),
        ("a; a, a", ("--secondary_separator", ";")),
        ("a, a\nb, b", ("--enable_wildcard",)),
        ("a (b, a (b", ()),
    ],
)
def test_captions_whose_tags_may_be_repeated_with_reason(dogs, caption, option):
    (dogs / "dog 00.txt").write_text(caption, encoding="utf-8")
    texts = [one.text for one in plan_fixes(check(dogs, *option)) if isinstance(one, Rewrite)]
    assert texts == ([] if option else ["a (b"])


def test_other_separators_are_kept(dogs):
    (dogs / "dog 00.txt").write_text("a, b; a, b;c;;", encoding="utf-8")
    [rewrite] = plan_fixes(check(dogs, "--caption_separator", ";"))
    assert rewrite.text == "a, b; c"


def test_unused_lines_are_kept(dogs):
    (dogs / "dog 00.txt").write_text("a, a\nb, b\n", encoding="utf-8")
    [rewrite] = plan_fixes(check(dogs))
    assert rewrite.text == "a\nb, b\n"


def test_a_backup_that_cannot_be_written_prevents_every_change(faulty, tmp_path):
    before = contents(faulty)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UserError, match=r"nothing was changed.*--backup_dir"):
        fix(faulty, tmp_path / "file" / "backup")
    assert contents(faulty) == before


def test_read_only_folders(faulty, monkeypatch):
    """Without real permissions, which do not hold for an administrator."""

    def refuse(self, *arguments, **options):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self))

    before = contents(faulty)
    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(UserError, match="Permission denied"):
        fix(faulty, faulty / ".lint_backup" / "now")
    assert contents(faulty) == before


@pytest.mark.parametrize(
    "listing", [None, "no json", '{"version": 2, "changes": []}', '{"version": 1, "changes": [{}]}']
)
def test_folders_that_are_no_backup(tmp_path, listing):
    if listing is not None:
        (tmp_path / "changes.json").write_text(listing, encoding="utf-8")
    with pytest.raises(UserError, match=r"holds no changes\.json"):
        restore(tmp_path)


def test_captions_that_are_links_are_left_alone(dogs, tmp_path):
    shared = dogs.parent / "shared.txt"
    shared.write_bytes("\ufeffsks dog, fur".encode())
    (dogs / "dog 00.txt").unlink()
    (dogs / "dog 00.txt").symlink_to(shared)
    [refusal] = fix(dogs, tmp_path / "backup")
    assert (refusal.path.name, refusal.reason) == ("dog 00.txt", "it is a link to another file")
    assert (dogs / "dog 00.txt").is_symlink()


def test_a_link_to_nowhere_is_not_overwritten(dogs, tmp_path):
    Image.fromarray(picture(50)).save(dogs / "photo.png", "JPEG")
    (dogs / "photo.jpg").symlink_to("nowhere.jpg")
    assert [refusal.path.name for refusal in fix(dogs, tmp_path / "backup")] == ["photo.png"]
    assert (dogs / "photo.jpg").is_symlink()


def test_a_folder_with_two_names_is_fixed_once(faulty, tmp_path):
    (faulty.parent / "5_sks dog").symlink_to(faulty)
    before = contents(faulty)
    assert len([one for one in plan_fixes(check(faulty.parent)) if isinstance(one, Rename)]) == 1
    fix(faulty.parent, tmp_path / "backup")
    restore(tmp_path / "backup")
    assert contents(faulty) == before


@pytest.mark.skipif(os.name == "nt", reason="Windows has other permissions")
def test_permissions_stay(faulty, tmp_path):
    (faulty / "dog 00.txt").chmod(0o600)
    fix(faulty, tmp_path / "backup")
    assert (faulty / "dog 00.txt").stat().st_mode & 0o777 == 0o600
    restore(tmp_path / "backup")
    assert (faulty / "dog 00.txt").stat().st_mode & 0o777 == 0o600


def test_names_of_any_length(dogs, tmp_path):
    name = "n" * 251
    Image.fromarray(picture(50)).save(dogs / f"{name}.png")
    (dogs / f"{name}.txt").write_bytes("\ufeffsks dog, fur".encode())
    assert fix(dogs, tmp_path / "backup") == []
    assert (dogs / f"{name}.txt").read_bytes() == b"sks dog, fur"
    restore(tmp_path / "backup")
    assert (dogs / f"{name}.txt").read_bytes() == "\ufeffsks dog, fur".encode()
