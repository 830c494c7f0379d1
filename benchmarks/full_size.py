"""Trains a LoRA on random models of full size, each in a process of its own, and says what that took.

python benchmarks/full_size.py FOLDER sd15 sd21 sdxl

Needs Linux, disk space for the models (SD 1.5: 2.1 GB, SD 2.1: 2.6 GB, SDXL: 6.9 GB) and, in float32, main memory for
twice their size. See README.md beside this file.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy
from PIL import Image
from safetensors import safe_open

from benchmarks.full_size_models import FULL_SIZE, FullSizeModel, original_shapes, write_model
from benchmarks.lora_in_diffusers import place_in_diffusers
from benchmarks.process_memory import WatchedRun, watch

ROOT = Path(__file__).resolve().parents[1]

STEPS = 5
IMAGE_SIZES = ((256, 256), (256, 256), (320, 192), (320, 192))
"""width, height: two bucket shapes"""
LORA_NAME = "full_size"
GIGABYTE = 10**9
PRECISIONS = {"no": "float32", "bf16": "bfloat16"}
"""--mixed_precision -> torch's name"""

NAME_WIDTH = 42
"""characters"""

Row = tuple[str, str]
"""What was measured, and the figure with its unit."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "folder", type=Path, help="for models, images, LoRAs and logs; models that it has are used again"
    )
    parser.add_argument("models", nargs="+", choices=FULL_SIZE, help="models to go through, one after another")
    parser.add_argument("--mixed_precision", choices=PRECISIONS, default="no", help="as in the training scripts")
    options = parser.parse_args()
    images = options.folder / "images"
    make_images(images / "2_pattern")
    for name in options.models:
        model, file = FULL_SIZE[name], options.folder / f"{name}.safetensors"
        if not file.exists():
            print(f"writing {file}", flush=True)
            write_model(file, model)
        precision = PRECISIONS[options.mixed_precision]
        output = options.folder / f"{name}_{precision}"
        print(f"\n{model.title}, {precision}")
        print_rows(describe_file(model, file))
        print_rows(measure_loading(name, file, precision))
        print_rows(measure_training(model, file, images, output, options.mixed_precision))
        print_rows(try_in_diffusers(model, output / f"{LORA_NAME}.safetensors"))
    return 0


def make_images(folder: Path) -> None:
    """Coloured waves, with captions."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, (width, height) in enumerate(IMAGE_SIZES):
        y, x = numpy.mgrid[0:height, 0:width]
        waves = [numpy.sin((x * (1 + channel) + y * (1 + number)) / 20) for channel in range(3)]
        pixels = ((numpy.stack(waves, axis=-1) + 1) * 127.5).astype(numpy.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(f"waves, number {number}")


def describe_file(model: FullSizeModel, file: Path) -> list[Row]:
    shapes = original_shapes(model)
    return [("model file (float16)", f"{gigabytes(file.stat().st_size)} in {len(shapes)} tensors")]


def measure_loading(name: str, file: Path, precision: str) -> list[Row]:
    script = ROOT / "benchmarks" / "loading_memory.py"
    command = [sys.executable, str(script), name, str(file), precision]
    found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    beyond = found["highest"] - found["weights"]
    verdict = "within" if beyond <= GIGABYTE else "MORE THAN"
    return [
        ("loading alone", f"{found['seconds']:.1f} s"),
        ("  weights as loaded", gigabytes(found["weights"])),
        (
            "  highest memory beyond them",
            f"{gigabytes(beyond)} ({verdict} 1 GB)",
        ),
        ("  anonymous memory afterwards", gigabytes(found["anonymous_afterwards"])),
    ]


def measure_training(model: FullSizeModel, file: Path, images: Path, output: Path, mixed_precision: str) -> list[Row]:
    """
    Raises:
        SystemExit: the training failed.
    """
    output.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, str(ROOT / model.family.script), *model.options]
    command += training_options(file, images, output, mixed_precision)
    log = output / "training.log"
    run = watch(command, log, mark=rf"\| (\d+)/{STEPS} \[")
    if run.exit_code != 0:
        raise SystemExit(f"{model.title}: the training failed with exit code {run.exit_code}; see {log}")
    return describe_run(run)


def training_options(file: Path, images: Path, output: Path, mixed_precision: str) -> list[str]:
    values: dict[str, Any] = {
        "pretrained_model_name_or_path": file,
        "train_data_dir": images,
        "caption_extension": ".txt",
        "output_dir": output,
        "output_name": LORA_NAME,
        "resolution": 256,
        "bucket_reso_steps": 64,
        "min_bucket_reso": 128,
        "max_bucket_reso": 512,
        "network_module": "networks.lora",
        "network_dim": 4,
        "learning_rate": 1e-3,
        "max_train_steps": STEPS,
        "gradient_accumulation_steps": 2,
        "mixed_precision": mixed_precision,
        "seed": 1,
    }
    switches = ("enable_bucket", "cache_latents", "gradient_checkpointing")
    return [word for name, value in values.items() for word in (f"--{name}", str(value))] + [
        f"--{name}" for name in switches
    ]


def describe_run(run: WatchedRun) -> list[Row]:
    begun, last = run.seconds_until["0"], run.seconds_until.get(str(STEPS), run.seconds)
    return [
        (f"training of {STEPS} steps", f"{run.seconds:.1f} s"),
        ("  start-up until the first step begins", f"{begun:.1f} s"),
        ("  until the first step is done", f"{run.seconds_until.get('1', last):.1f} s"),
        ("  a step of two batches", f"{(last - begun) / STEPS:.1f} s"),
        ("  highest memory (VmHWM)", gigabytes(run.highest_resident)),
        ("  highest anonymous memory", gigabytes(run.highest_anonymous)),
        ("  highest anonymous memory of the start-up", gigabytes(run.anonymous_at_first_mark)),
    ]


def try_in_diffusers(model: FullSizeModel, lora: Path) -> list[Row]:
    with safe_open(lora, "pt") as file:
        buckets = json.loads(file.metadata()["ss_bucket_info"])["buckets"].values()
    placement = place_in_diffusers(lora, model)
    return [
        ("bucket shapes", ", ".join("x".join(map(str, bucket["resolution"])) for bucket in buckets)),
        ("layers that learned something", f"{placement.changed_layers} of {placement.layers}"),
        ("matrices that diffusers placed", f"{placement.in_model} of {placement.in_file}"),
        ("complaints of diffusers", "; ".join(placement.complaints) or "none"),
    ]


def gigabytes(number: int) -> str:
    return f"{number / GIGABYTE:.2f} GB"


def print_rows(rows: Sequence[Row]) -> None:
    for name, figure in rows:
        print(f"  {name:{NAME_WIDTH}}  {figure}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
