"""tools/plan.py and --debug_dataset, as a user meets them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from library.errors import format_problems
from library.models.family import SDXL
from library.training import command
from library.training.planning.command import run_plan_command
from tests.dataset.images.odd_images import make_odd_images
from tests.models.tiny_families import save_tiny_folder
from tests.training.command import as_words, least_arguments, train

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def arguments(tiny_model, train_data_dir, tmp_path):
    return least_arguments(tiny_model, train_data_dir, tmp_path / "out put")


def plan(arguments, *before: str) -> int:
    return run_plan_command([*before, *as_words(arguments)])


def test_the_whole_text(capsys, arguments, train_data_dir, tmp_path):
    arguments |= {
        "--enable_bucket": None, "--min_bucket_reso": "64", "--max_bucket_reso": "128", "--train_batch_size": "2",
        "--gradient_accumulation_steps": "2", "--save_every_n_steps": "2", "--cache_latents_to_disk": None,
        "--cache_dir": str(tmp_path / "caches"), "--lr_scheduler": "cosine", "--lr_warmup_steps": "1",
    }  # fmt: skip
    del arguments["--max_data_loader_n_workers"]
    (train_data_dir / "3_sks cat" / "image 5.png").write_bytes(b"no image")
    (train_data_dir / "3_sks cat" / "image 5.txt").write_text("sks cat")
    assert plan(arguments, "accelerate", "launch", "--multi_gpu", "--num_processes", "2", "train_network.py") == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    text, warnings = shown.out.split("\n1 warning\n")
    lines = [line for line in text.splitlines() if not line.startswith("  free there")]
    folder = train_data_dir / "3_sks cat"
    width = len(str(folder))
    examples = [line for line in lines if line.startswith("  image ")]
    assert len(examples) == 5
    assert [line for line in lines if line not in examples] == [
        "What this run would do",
        f"  model: {arguments['--pretrained_model_name_or_path']} (SD 1.x, predicts noise)",
        "  seed: 42",
        "  images: 5 to train on, 1 left out (why: see below; all names: tools/plan.py --json FILE)",
        "",
        "Dataset 1: resolution 64x64 pixels, batch size 2",
        f"     {'folder'.ljust(width)}  images  repeats  per epoch  uses of each in the run",
        f"  1  {folder}       5        3         15  6",
        "",
        "  bucket  images  per epoch  batches  last batch  cropped away",
        "   64x64       5         15        8           1  22.0% on average, at most 50.0%: image 1.png",
        "",
        "Captions of 5 images",
        f"  most frequent tags in training: sks cat (5), outdoors (5), {', '.join(f'tag {n} (1)' for n in range(5))}",
        "",
        "Length",
        "  8 batches / 2 processes = 4 / 2 accumulated = 2 steps per epoch; 4 steps in 2 epochs",
        "",
        "Learning rate",
        "  AdamW; cosine: 1 step of warm-up, then down to 0",
        "                        step 1  step 2  step 3  step 4  highest  then lowest",
        "  U-Net, text encoders       0    0.01  0.0075  0.0025     0.01       0.0025",
        "",
        f"Saved in {arguments['--output_dir']}: 3 files of about 382 KiB",
        "  tiny-step00000002.safetensors  step 2",
        "  tiny-step00000004.safetensors  step 4",
        "  tiny.safetensors               step 4",
        "",
        "Caches",
        next(line for line in lines if line.startswith(f"  latents: 2.5 KiB in {tmp_path / 'caches'} (free there: ")),
    ]
    assert warnings.startswith("  1. unusable, and so left out: 1 of 6 images in ")
    assert "image 5.png" in warnings
    assert warnings.endswith("\n\nThis run can start.\n")
    assert not Path(arguments["--output_dir"]).exists()


def test_single_things_read_as_such(capsys, arguments, train_data_dir, tmp_path):
    images = train_data_dir / "3_sks cat"
    for path in images.glob("image [!0].*"):
        path.unlink()
    (tmp_path / "masks").mkdir()
    Image.open(images / "image 0.png").convert("L").save(tmp_path / "masks" / "image 0.png")
    (tmp_path / "prompts.txt").write_text("a cat")
    arguments |= {
        "--masked_loss": None, "--conditioning_data_dir": str(tmp_path / "masks"), "--max_train_steps": "3",
        "--sample_prompts": str(tmp_path / "prompts.txt"), "--sample_every_n_steps": "2",
        "--save_every_n_steps": "1", "--save_last_n_steps": "1",
    }  # fmt: skip
    assert plan(arguments, "train_network.py") == 0
    shown = capsys.readouterr().out
    for line in (
        "3 batches = 3 steps per epoch; 3 steps in 1 epoch\n",
        "  1 file\n",
        "Captions of 1 image\n",
        "  1 preview, 1 each time: at step 2\n",
        ": 4 files of about 382 KiB; kept: 3\n",
    ):
        assert line in shown


@pytest.mark.parametrize("wrong", [{"--network_dim": "-1", "--train_data_dir": "gone"}, {"--optimizer_type": "AdamV"}])
def test_problems_are_those_of_training(capsys, arguments, wrong):
    assert train(*as_words({**arguments, **wrong})) == 1
    of_training = capsys.readouterr().err
    assert plan({**arguments, **wrong}, "train_network.py") == 1
    shown = capsys.readouterr()
    assert shown.err == of_training != ""
    assert shown.out.splitlines()[-1] == f"This run cannot start: {len(wrong)} problem{'s' * (len(wrong) > 1)}."
    assert ("Captions of 5 images" in shown.out) == ("--train_data_dir" not in wrong)


def test_without_a_model_the_images_are_shown_all_the_same(capsys, arguments):
    assert plan({**arguments, "--pretrained_model_name_or_path": "gone.safetensors"}) == 1
    shown = capsys.readouterr()
    assert "  model: cannot be used (see the problems)\n" in shown.out
    assert "15 batches = 15 steps per epoch; 4 steps in 1 epoch\n" in shown.out
    assert "  the last epoch ends after 4 of its 15 steps\n" in shown.out
    assert "gone.safetensors" in shown.err


def test_nothing_given(capsys):
    assert run_plan_command([]) == 1
    shown = capsys.readouterr()
    assert "--train_data_dir or --dataset_config is missing" in shown.err
    assert "This run cannot start: 5 problems." in shown.out


def test_another_script(capsys):
    assert run_plan_command(["flux_train_network.py", "--seed", "1"]) == 1
    assert "no script of this suite" in capsys.readouterr().err


def test_the_model_file_says_which_script_it_belongs_to(capsys, arguments, tmp_path):
    save_tiny_folder(SDXL, tmp_path / "xl")
    arguments |= {"--pretrained_model_name_or_path": str(tmp_path / "xl")}
    assert plan(arguments) == 0
    assert "(SDXL, predicts noise)" in capsys.readouterr().out
    assert plan(arguments, "train_network.py") == 1
    assert "train it with sdxl_train_network.py" in capsys.readouterr().err


def test_an_accumulation_alone_and_several_datasets(capsys, arguments, train_data_dir, tmp_path):
    subset = f"image_dir = {str(train_data_dir / '3_sks cat')!r}\ncaption_extension = '.txt'\n"
    file = tmp_path / "daten ü.toml"
    file.write_text("".join(f"[[datasets]]\nresolution = {size}\n[[datasets.subsets]]\n{subset}" for size in (64, 128)))
    del arguments["--train_data_dir"]
    arguments |= {"--dataset_config": str(file), "--gradient_accumulation_steps": "4"}
    assert plan(arguments) == 0
    shown = capsys.readouterr().out
    assert "  5 + 5 = 10 batches / 4 accumulated = 3 steps per epoch; 4 steps in 2 epochs\n" in shown
    assert "Dataset 2: resolution 128x128 pixels, batch size 1\n" in shown


def test_a_single_batch(capsys, arguments):
    assert plan({**arguments, "--train_batch_size": "64"}) == 0
    assert "  1 batch = 1 step per epoch; 4 steps in 4 epochs\n" in capsys.readouterr().out


def test_a_dataset_without_resolution_does_not_hide_the_others(capsys, arguments, train_data_dir, tmp_path):
    subset = f"[[datasets.subsets]]\nimage_dir = {str(train_data_dir / '3_sks cat')!r}\ncaption_extension = '.txt'\n"
    (tmp_path / "d.toml").write_text(f"[[datasets]]\n{subset}[[datasets]]\nresolution = 64\n{subset}")
    del arguments["--train_data_dir"], arguments["--resolution"]
    assert plan({**arguments, "--dataset_config": str(tmp_path / "d.toml")}) == 1
    shown = capsys.readouterr()
    assert "resolution is missing" in shown.err
    assert "Dataset 1: resolution 64x64 pixels" in shown.out


def test_bad_files(capsys, arguments, train_data_dir, tmp_path):
    """Text says how many and why, JSON names every one."""
    folder = train_data_dir / "3_sks cat"
    kinds = make_odd_images(folder)
    assert plan(arguments, "--json", str(tmp_path / "plan é.json")) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    written = json.loads((tmp_path / "plan é.json").read_text())
    bad = {kind.name for kind in kinds if kind.outcome == "unreadable"}
    assert len(bad) >= 15
    assert {Path(one["path"]).name for one in written["skipped"]} == bad
    assert all(one["reason"] for one in written["skipped"])
    assert f"{len(bad)} left out (why: see below" in shown.out
    assert f"Wrote {tmp_path / 'plan é.json'}" in shown.out


def test_json_holds_every_number(capsys, arguments, tmp_path):
    assert plan(arguments, "--json", str(tmp_path / "plan.json")) == 0
    written = json.loads((tmp_path / "plan.json").read_text())
    assert written["model"]["family"] == "SD 1.x"
    (dataset,) = written["datasets"]
    assert dataset["subsets"][0]["uses"] == 15
    assert [bucket["images"] for bucket in dataset["buckets"]] == [5]
    assert written["training"]["counts"]["steps_per_epoch"] == 15
    assert written["training"]["captions"]["tags"][0] == ["sks cat", 5]
    assert written["training"]["output"]["files"] == [{"name": "tiny.safetensors", "step": 4, "removed_at": None}]
    assert (written["warnings"], written["problems"], written["skipped"]) == ([], [], [])


def test_rates_of_parts(capsys, arguments, tmp_path):
    arguments |= {"--unet_lr": "1e-3", "--text_encoder_lr": "1e-4", "--lr_scheduler": "linear"}
    assert plan(arguments, "--json", str(tmp_path / "plan.json")) == 0
    shown = capsys.readouterr().out
    assert "  U-Net           0.001  0.00075  0.0005  0.00025    0.001      0.00025\n" in shown
    assert "  text encoders  0.0001  7.5e-05   5e-05  2.5e-05   0.0001      2.5e-05\n" in shown
    figures = json.loads((tmp_path / "plan.json").read_text())["training"]["learning_rate"]
    assert (figures["optimizer"], figures["schedule"]) == ("AdamW", "linear: evenly down to 0")
    assert figures["steps"] == [1, 2, 3, 4]
    assert [curve["parts"] for curve in figures["curves"]] == [["U-Net"], ["text encoders"]]
    assert figures["curves"][0]["rates"] == pytest.approx([1e-3, 7.5e-4, 5e-4, 2.5e-4])
    assert figures["curves"][1]["last"] == pytest.approx(2.5e-5)


@pytest.mark.parametrize(
    "schedule",
    [
        {"--lr_scheduler": "rex"},
        {"--lr_scheduler_type": "StepLR", "--lr_scheduler_args": "step_size=2"},
        {"--optimizer_type": "Adafactor"},
    ],
)
def test_the_schedule_is_drawn(capsys, arguments, tmp_path, schedule):
    file = tmp_path / "rates.png"
    assert plan(arguments | schedule, "--draw_schedule", str(file)) == 0
    assert f"Wrote {file}\n" in capsys.readouterr().out
    assert Image.open(file).size == (960, 420)


def test_a_drawing_that_cannot_be_written(capsys, arguments, tmp_path):
    assert plan(arguments, "--draw_schedule", str(tmp_path / "gone" / "rates.png")) == 1
    shown = capsys.readouterr()
    assert "--draw_schedule" in shown.err and "cannot be written" in shown.err
    assert shown.out.endswith("This run can start.\n")


@pytest.mark.parametrize(
    ("schedule", "problem"),
    [
        ({"--lr_scheduler_type": "NoSuchLR"}, "--lr_scheduler_type NoSuchLR: torch.optim.lr_scheduler has no such"),
        ({"--lr_scheduler": "polynomial", "--learning_rate": "1e-8"}, "--lr_scheduler polynomial falls to"),
        ({"--lr_scheduler": "piecewise_constant"}, "--lr_scheduler piecewise_constant needs --lr_scheduler_args"),
    ],
)
def test_a_schedule_that_cannot_be(capsys, arguments, tmp_path, schedule, problem):
    """Training says the same, before it loads anything."""
    assert train(*as_words(arguments | schedule)) == 1
    of_training = capsys.readouterr().err
    assert f"Error: {problem}" in of_training
    assert plan(arguments | schedule, "--draw_schedule", str(tmp_path / "rates.png")) == 1
    shown = capsys.readouterr()
    assert shown.err == of_training[of_training.index("Error: ") :]
    assert "Learning rate" not in shown.out
    assert "This run cannot start: 1 problem." in shown.out


def test_rates_that_only_the_network_decides(capsys, arguments, tmp_path):
    arguments |= {"--lr_scheduler_type": "OneCycleLR"}
    words = ["--lr_scheduler_args", "max_lr=[1e-3,1e-4,1e-5]", "total_steps=4", "--draw_schedule"]
    assert run_plan_command([*as_words(arguments), *words, str(tmp_path / "rates.png")]) == 1
    shown = capsys.readouterr()
    assert "  how the rates change depends on the groups of the network" in shown.out
    assert shown.err.startswith("Error: --draw_schedule: how the rates change depends")


def test_json_that_cannot_be_written(capsys, arguments, tmp_path):
    assert plan(arguments, "--json", str(tmp_path / "gone" / "plan.json")) == 1
    shown = capsys.readouterr()
    assert "--json" in shown.err and "cannot be written" in shown.err
    assert "Captions of 5 images" in shown.out


def test_neither_torch_nor_a_gpu_is_needed(arguments):
    program = (
        "import sys\n"
        "from library.training.planning.command import run_plan_command\n"
        f"assert run_plan_command({as_words({**arguments, '--debug_dataset': None})!r}) == 0\n"
        "print([name for name in ('torch', 'diffusers', 'transformers', 'accelerate') if name in sys.modules])\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    finished = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.splitlines()[-1] == "[]"


def test_the_tool_runs_from_anywhere(arguments, tmp_path):
    words = [sys.executable, str(ROOT / "tools" / "plan.py"), "train_network.py", *as_words(arguments)]
    finished = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    assert (finished.returncode, finished.stderr) == (0, "")
    assert finished.stdout.endswith("This run can start.\n")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no broken pipes")
def test_the_rest_is_written_where_nobody_reads_any_more(arguments, tmp_path):
    words = [
        sys.executable,
        str(ROOT / "tools" / "plan.py"),
        "--json",
        str(tmp_path / "plan.json"),
        *as_words(arguments),
    ]
    reading, writing = os.pipe()
    os.close(reading)
    try:
        finished = subprocess.run([*words, "--debug_dataset"], stdout=writing, stderr=subprocess.PIPE, text=True)
    finally:
        os.close(writing)
    assert (finished.returncode, finished.stderr) == (0, "")
    assert (tmp_path / "plan.json").is_file()
    assert (Path(arguments["--output_dir"]) / "dataset_preview" / "index.html").is_file()


def test_debug_dataset_shows_the_plan_and_does_not_train(capsys, arguments):
    assert train(*as_words({**arguments, "--debug_dataset": None})) == 0
    shown = capsys.readouterr().out
    output = Path(arguments["--output_dir"])
    pages = output / "dataset_preview"
    assert shown.startswith("What this run would do\n")
    assert str(pages / "index.html") in shown
    assert shown.endswith("This run can start.\n")
    assert [path.name for path in output.iterdir()] == ["dataset_preview"]
    assert sorted(path.name for path in pages.iterdir()) == ["index.html", "sheet_01.png"]
    assert Image.open(pages / "sheet_01.png").size[0] > 256


def test_debug_dataset_with_problems(capsys, arguments):
    arguments |= {"--debug_dataset": None, "--network_dim": "-1", "--pretrained_model_name_or_path": "gone.ckpt"}
    assert train(*as_words(arguments)) == 1
    shown = capsys.readouterr()
    assert "2 problems were found:" in shown.err
    assert "This run cannot start: 2 problems." in shown.out
    assert (Path(arguments["--output_dir"]) / "dataset_preview" / "index.html").is_file()


def test_a_launch_line_that_may_start_fewer_processes(capsys, arguments):
    assert plan(arguments, "accelerate", "launch", "--num_processes", "2", "train_network.py") == 0
    shown = capsys.readouterr().out
    assert "\n1 warning\n  1. accelerate launch --num_processes 2: this starts 2 processes only where" in shown


def test_debug_dataset_in_another_process_does_nothing(capsys, arguments, monkeypatch):
    monkeypatch.setattr(command, "is_main_process", lambda: False)
    assert train(*as_words({**arguments, "--debug_dataset": None})) == 0
    assert capsys.readouterr().out == ""
    assert not Path(arguments["--output_dir"]).exists()


def test_debug_dataset_counts_the_processes_that_were_started(capsys, arguments, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert train(*as_words({**arguments, "--debug_dataset": None})) == 0
    assert "15 batches / 2 processes = 8 steps per epoch" in capsys.readouterr().out


def test_a_preview_that_cannot_be_written(capsys, arguments):
    output = Path(arguments["--output_dir"])
    output.mkdir()
    (output / "dataset_preview").write_text("a file")
    assert train(*as_words({**arguments, "--debug_dataset": None})) == 1
    shown = capsys.readouterr()
    assert shown.err.startswith(format_problems([f"--debug_dataset: '{output / 'dataset_preview'}' cannot be written"]))
    assert "Captions of 5 images" in shown.out
