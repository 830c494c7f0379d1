"""The command as a user types it."""

import functools
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from library.linting import command
from library.linting.command import run_lint_command
from library.linting.kinds import Severity, all_kinds
from library.models.clip_tokenizer import standard_clip_tokenizer
from tests.linting.linted import picture

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module", autouse=True)
def one_tokenizer_for_all():
    """Making it takes longer than anything else here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, "standard_clip_tokenizer", functools.cache(standard_clip_tokenizer))
        yield


def run(*arguments: str | Path) -> int:
    return run_lint_command("", [str(argument) for argument in arguments])


def test_the_tool(dogs):
    (dogs / "dog 00.png").write_bytes(b"")
    tool = ROOT / "tools" / "lint_dataset.py"
    result = subprocess.run([sys.executable, tool, dogs], capture_output=True, text=True, check=False, encoding="utf-8")
    assert (result.returncode, result.stderr) == (1, "")
    assert "image.empty (1)" in result.stdout
    assert f"Checked 12 images (12 for training) and 12 captions in {dogs}" in result.stdout
    assert "1 error, 0 warnings, 0 remarks" in result.stdout


def test_a_single_image(dogs, capsys):
    for path in dogs.iterdir():
        if path.stem != "dog 00":
            path.unlink()
    assert run(dogs) == 0
    assert f"Checked 1 image (1 for training) and 1 caption in {dogs}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("fault", "code", "strict_code"),
    [(None, 0, 0), ("broken", 1, 1), ("uncaptioned", 0, 1), ("turned", 0, 0)],
)
def test_exit_codes(dogs, capsys, fault, code, strict_code):
    if fault == "broken":
        (dogs / "dog 00.png").write_bytes(b"no image")
    if fault == "uncaptioned":
        (dogs / "dog 00.txt").unlink()
    if fault == "turned":
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.fromarray(picture(0)).save(dogs / "dog 00.png", exif=exif)
    assert run(dogs) == code
    assert run(dogs, "--strict") == strict_code
    assert ("Nothing is wrong." in capsys.readouterr().out) == (fault is None)


def test_examples(dogs, capsys):
    for number in range(9):
        (dogs / f"dog {number:02d}.txt").unlink()
    run(dogs, "--examples", "2")
    shown = capsys.readouterr().out
    assert shown.count("trained as 'sks dog'") == 2
    assert "and 7 more (--examples 0 shows all)" in shown
    run(dogs, "--examples", "0")
    assert capsys.readouterr().out.count("trained as 'sks dog'") == 9


@pytest.mark.parametrize("number", ["-1", "x", "1.5"])
def test_examples_that_are_no_number(dogs, capsys, number):
    with pytest.raises(SystemExit):
        run(dogs, "--examples", number)
    assert f"'{number}' must be a whole number" in capsys.readouterr().err


def test_what_a_fix_would_do_is_not_offered_again(dogs, capsys):
    (dogs / "dog 00.txt").write_bytes("\ufeffsks dog".encode())
    run(dogs)
    assert capsys.readouterr().out.endswith("1 file can be put right with --fix; --dry_run shows how\n")
    run(dogs, "--dry_run")
    shown = capsys.readouterr().out
    assert "1 file would be changed" in shown
    assert shown.endswith("0 errors, 0 warnings, 1 remark\n")


def test_without_captions_nothing_is_said_about_the_trigger_word(dogs, capsys):
    for caption in dogs.glob("*.txt"):
        caption.unlink()
    run(dogs)
    assert "Trigger word" not in capsys.readouterr().out


def test_json(dogs, tmp_path, capsys):
    Image.fromarray(picture(1)).resize((70, 50)).save(dogs / "dog 01 again.jpg")
    (dogs / "dog 00.txt").write_bytes("\ufeffsks dog".encode())
    assert run(dogs, "--json", tmp_path / "out.json", "--format", "json", "--fix", "--dry_run") == 0
    captured = capsys.readouterr()
    content = json.loads(captured.out)
    assert content == json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert "would be rewritten" in captured.err
    assert content["version"] == 1
    assert content["summary"] == {"images": 13, "captions": 12, "errors": 0, "warnings": 2, "infos": 1}
    assert content["trigger"] == {"word": "sks dog", "guessed": True}
    by_code = {finding["code"]: finding for finding in content["findings"]}
    assert by_code["duplicate.near"] == {
        "code": "duplicate.near",
        "severity": "warning",
        "files": [str(dogs / "dog 01 again.jpg"), str(dogs / "dog 01.png")],
        "message": "with different captions",
        "details": {"roles": [["training"], ["training"]]},
    }


def test_fix_and_restore(dogs, capsys):
    (dogs / "dog 00.txt").write_bytes("\ufeffsks dog".encode())
    assert run(dogs, "--dry_run") == 0
    assert (dogs / "dog 00.txt").read_bytes().startswith(b"\xef\xbb\xbf")
    assert not (dogs / ".lint_backup").exists()
    capsys.readouterr()
    assert run(dogs, "--fix") == 0
    shown = capsys.readouterr().out
    assert f"rewritten: {dogs / 'dog 00.txt'}: byte-order mark removed" in shown
    assert "Nothing is wrong." in shown
    assert (dogs / "dog 00.txt").read_bytes() == b"sks dog"
    [backup] = (dogs / ".lint_backup").iterdir()
    assert f"--restore '{backup}' takes it back" in shown
    assert run("--restore", backup) == 0
    assert (dogs / "dog 00.txt").read_bytes().startswith(b"\xef\xbb\xbf")
    mine = dogs.parent / "mine"
    mine.mkdir()
    assert run(dogs, "--fix", "--backup_dir", mine) == 0
    assert [path.name for path in mine.glob("*/*.json")] == ["changes.json"]


def test_restoring_what_is_gone(dogs, capsys):
    (dogs / "dog 00.png").unlink()
    Image.fromarray(picture(0)).save(dogs / "dog 00.png", "JPEG")
    (dogs / "dog 01.txt").write_bytes("\ufeffsks dog".encode())
    assert run(dogs, "--fix") == 0
    (dogs / "dog 00.jpg").unlink()
    [backup] = (dogs / ".lint_backup").iterdir()
    capsys.readouterr()
    assert run("--restore", backup) == 1
    captured = capsys.readouterr()
    assert captured.out == f"restored: {dogs / 'dog 01.txt'}\n"
    assert captured.err == (f"cannot be restored: {dogs / 'dog 00.png'}: it was renamed to dog 00.jpg, which is gone\n")


def test_saving_captions_of_an_encoding_that_the_user_names(dogs, capsys):
    content = "sks dog, forêt, été".encode("cp1252")
    (dogs / "dog 00.txt").write_bytes(content)
    assert run(dogs, "--fix") == 0
    shown = capsys.readouterr().out
    assert "left as it is" in shown
    assert "read as cp1252: sks dog, forêt, été" in shown
    assert (dogs / "dog 00.txt").read_bytes() == content
    assert run(dogs, "--fix", "--encoding", "Windows-1252") == 0
    assert "cp1252 -> UTF-8: sks dog, forêt, été" in capsys.readouterr().out
    assert (dogs / "dog 00.txt").read_text(encoding="utf-8") == "sks dog, forêt, été"


@pytest.mark.parametrize("encoding", ["klingon", "rot13", "base64"])
def test_encodings_that_there_are_not(dogs, capsys, encoding):
    with pytest.raises(SystemExit):
        run(dogs, "--fix", "--encoding", encoding)
    assert f"'{encoding}' is no encoding" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="names of files are Unicode there")
def test_a_contact_sheet_of_names_that_are_not_unicode(dogs, tmp_path):
    shutil.copy(dogs / "dog 01.png", dogs / os.fsdecode(b"\xff\xe9.png"))
    page = tmp_path / "page.html"
    assert run(dogs, "--contact_sheet", page, "--json", tmp_path / "page.json") == 0
    assert "\\udcff\\udce9.png" in page.read_text(encoding="utf-8")


def test_fixes_of_a_dataset_file_are_kept_beside_the_first_file(dogs, capsys):
    (dogs / "dog 00.txt").write_bytes("\ufeffsks dog".encode())
    config = dogs.parent / "data.toml"
    config.write_text(
        f"[[datasets]]\nresolution = 64\n[[datasets.subsets]]\nimage_dir = '{dogs.as_posix()}'\n", encoding="utf-8"
    )
    assert run("--dataset_config", config, "--fix", "--trigger", "sks") == 0
    assert "Trigger word: 'sks'\n" in capsys.readouterr().out
    assert len(list((dogs / ".lint_backup").iterdir())) == 1


def test_contact_sheet(dogs, tmp_path):
    shutil.copy(dogs / "dog 01.png", dogs / "<copy> & more.png")
    page = tmp_path / "page.html"
    assert run(dogs, "--contact_sheet", page) == 0
    content = page.read_text(encoding="utf-8")
    assert content.count("<section>") == 1
    assert content.count("data:image/jpeg;base64,/9j/") == 2
    assert "&lt;copy&gt; &amp; more.png" in content
    assert "<copy>" not in content


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "name a folder with images"),
        (("no such folder",), "there is no folder 'no such folder'"),
        (("{dogs}", "--resolution", "abc"), "--resolution abc"),
        (("{dogs}/dog 00.txt",), "is not a folder; a dataset file is named with --dataset_config"),
        (("{dogs}", "--encoding", "cp1252"), "add --fix, or --dry_run"),
        (("{dogs}", "--fixx"), "--fixx: there is no such option"),
        (("{dogs}", "--json", "{dogs}/no/such/out.json"), "--json"),
        (("--restore", "{dogs}"), "holds no changes.json"),
        (("--dataset_class", "my.Class", "--resolution", "64"), "--dataset_class"),
        (("--dataset_config", "none.toml"), "none.toml"),
    ],
)
def test_wrong_command_lines(dogs, capsys, arguments, message):
    code = run(*(argument.format(dogs=dogs) for argument in arguments))
    captured = capsys.readouterr()
    assert message in captured.err + captured.out
    assert code == (1 if "none.toml" in message else 2)
    assert "Traceback" not in captured.err


def test_the_folder_may_stand_anywhere(dogs, capsys):
    for arguments in ((dogs, "--resolution", "64"), ("--resolution", "64", dogs), ("--strict", "--flip_aug", dogs)):
        assert run(*arguments) == 0
        assert "Checked 12 images" in capsys.readouterr().out


def test_a_whole_training_command_is_understood(dogs, capsys):
    code = run(
        "--pretrained_model_name_or_path", "model.safetensors", "--train_data_dir", dogs.parent, "--output_dir", "out",
        "--resolution", "64", "--network_module", "networks.lora", "--learning_rate", "1e-4", "--cache_latents",
    )  # fmt: skip
    assert code == 0
    assert "Nothing is wrong." in capsys.readouterr().out
    assert not Path("out").exists()


def test_every_code_is_documented():
    text = (ROOT / "docs" / "linting.md").read_text(encoding="utf-8")
    documented = re.findall(r"^\| `([a-z_.]+)` \| (\w+) \|", text, re.MULTILINE)
    assert documented == [(kind.code, _word(kind.severity)) for kind in all_kinds()]
    assert len(documented) == 48


def _word(severity: Severity) -> str:
    return {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "remark"}[severity]
