"""Whole runs of a tiny model."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.training.command import as_words, least_arguments, train
from tests.training.running import assert_same_weights, logged, metadata_of, run

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def arguments(tiny_model, train_data_dir, tmp_path):
    return least_arguments(tiny_model, train_data_dir, tmp_path / "out put ü")


def test_a_run_leaves_a_network_with_its_metadata(arguments):
    file = run(arguments, network_dim=4, network_alpha=2, cache_latents=True, training_comment="héllo \udcff")
    weights = load_file(file)
    assert {name.split("_")[1] for name in weights} == {"unet", "te"}
    assert weights["lora_te_text_model_encoder_layers_0_mlp_fc1.lora_down.weight"].shape[0] == 4
    assert {value.item() for name, value in weights.items() if name.endswith(".alpha")} == {2.0}
    still = {name for name, value in weights.items() if name.endswith("lora_up.weight") and not value.any()}
    # 64 pixels are a single token in the middle block, which attends to nothing but itself: no gradient, or what
    # rounding leaves of it
    middle = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_"
    assert still <= {f"{middle}{layer}.lora_up.weight" for layer in "qk"}
    metadata = metadata_of(file)
    assert metadata["ss_network_dim"] == "4"
    assert metadata["ss_steps"] == "4"
    assert metadata["ss_num_train_images"] == "15"
    assert metadata["ss_training_comment"] == "héllo \\udcff"
    assert metadata["ss_sd_model_hash"] == "IsADirectory"
    assert metadata["modelspec.architecture"] == "stable-diffusion-v1/lora"
    assert json.loads(metadata["ss_tag_frequency"])["3_sks cat"]["outdoors"] == 5
    assert len(metadata["sshs_model_hash"]) == 64
    assert [path.name for path in file.parent.iterdir()] == ["tiny.safetensors"]


EXPECTED_LOSSES = [1.147752, 0.814848, 0.928803, 1.077061, 1.082450, 1.039489]


def test_losses_are_those_of_the_day_this_was_written(arguments, tmp_path):
    """A refactoring must leave these alone; a change of numerics must be meant and said in its commit."""
    run(
        arguments, max_train_steps=6, train_batch_size=2, min_snr_gamma=5, noise_offset=0.1, shuffle_caption=True,
        keep_tokens=1, network_dropout=0.1, lr_scheduler="cosine", logging_dir=tmp_path / "logs", cache_latents=True,
        enable_bucket=True, min_bucket_reso=64, max_bucket_reso=128, flip_aug=True, gradient_accumulation_steps=2,
    )  # fmt: skip
    assert logged(tmp_path / "logs", "loss/current") == pytest.approx(EXPECTED_LOSSES, rel=5e-4)


def test_logs(arguments, tmp_path):
    run(
        arguments, logging_dir=tmp_path / "logs", log_prefix="x-", unet_lr=1e-3, text_encoder_lr=2e-3,
        lr_scheduler="linear", log_config=True,
    )  # fmt: skip
    (folder,) = (tmp_path / "logs").iterdir()
    assert folder.name.startswith("x-20")
    assert logged(tmp_path / "logs", "lr/unet") == pytest.approx([1e-3, 7.5e-4, 5e-4, 2.5e-4])
    assert logged(tmp_path / "logs", "lr/textencoder") == pytest.approx([2e-3, 1.5e-3, 1e-3, 5e-4])
    losses = logged(tmp_path / "logs", "loss/current")
    assert len(losses) == 4
    assert logged(tmp_path / "logs", "loss/average")[-1] == pytest.approx(sum(losses) / 4)
    assert logged(tmp_path / "logs", "loss/epoch_average") == pytest.approx([sum(losses) / 4])


def test_the_same_command_gives_the_same_weights(arguments, tmp_path):
    options = {"shuffle_caption": True, "flip_aug": True, "network_dropout": 0.2}
    first = run(arguments, **options)
    second = run(arguments, output_dir=tmp_path / "again", **options)
    assert_same_weights(first, second)
    other = load_file(run(arguments, output_dir=tmp_path / "other", seed=43, **options))
    assert any(not torch.equal(value, other[name]) for name, value in load_file(first).items())


def test_workers_change_nothing(arguments, tmp_path):
    options = {
        "train_batch_size": 2, "flip_aug": True, "noise_offset": 0.1, "noise_offset_random_strength": True,
        "multires_noise_iterations": 4, "ip_noise_gamma": 0.1, "ip_noise_gamma_random_strength": True,
        "timestep_sampling": "cosine", "stratified_timesteps": True,
    }  # fmt: skip
    first = run(arguments, **options)
    second = run(arguments, output_dir=tmp_path / "workers", max_data_loader_n_workers=2, **options)
    assert_same_weights(first, second)


def test_previews_and_saves_change_nothing(arguments, tmp_path):
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a cat --w 64 --h 64 --s 2\n# comment\na dog --n cat --w 64 --h 128 --s 2 --d 5 --ss euler_a\n")
    first = run(arguments, network_dropout=0.2)
    second = run(
        arguments, network_dropout=0.2, output_dir=tmp_path / "previews", sample_prompts=prompts, sample_at_first=True,
        sample_every_n_steps=2, save_every_n_steps=2,
    )  # fmt: skip
    assert_same_weights(first, second)
    names = sorted(path.name for path in (second.parent / "sample").iterdir())
    assert [name[:14] for name in names] == [f"tiny_{step:06d}_{n:02d}" for step in (0, 2, 4) for n in (0, 1)]
    assert [name.endswith("_5.png") for name in names] == [False, True] * 3


def test_saves_in_between(arguments):
    file = run(arguments, save_every_n_steps=3, max_train_epochs=2, train_batch_size=4, save_every_n_epochs=1)
    names = sorted(path.name for path in file.parent.iterdir())
    assert names == [
        "tiny-000001.safetensors",
        "tiny-step00000003.safetensors",
        "tiny-step00000006.safetensors",
        "tiny.safetensors",
    ]
    counters = [
        (metadata_of(file.parent / name)["ss_steps"], metadata_of(file.parent / name)["ss_epoch"]) for name in names
    ]
    assert counters == [("4", "1"), ("3", "0"), ("6", "1"), ("8", "2")]


@pytest.mark.parametrize(
    ("switch", "part"), [("network_train_unet_only", "unet"), ("network_train_text_encoder_only", "te")]
)
def test_one_part_only(arguments, switch, part):
    weights = load_file(run(arguments, **{switch: True}))
    assert {name.split("_")[1] for name in weights} == {part}


def test_a_part_with_a_rate_of_zero_is_left_out(arguments):
    weights = load_file(run(arguments, text_encoder_lr=0))
    assert len(weights) == 3 * 192
    assert all(name.startswith("lora_unet_") for name in weights)
    assert any(value.abs().max() > 0 for name, value in weights.items() if "lora_up" in name)


def test_gradient_checkpointing_gives_the_same_weights(arguments, tmp_path):
    first = run(arguments, network_dropout=0.2)
    second = run(arguments, network_dropout=0.2, output_dir=tmp_path / "checkpointing", gradient_checkpointing=True)
    assert_same_weights(first, second, tolerance=1e-5)


def test_bf16(arguments, tmp_path):
    _, rounded = (
        run(
            arguments, cache_latents=True, mixed_precision=name, output_dir=tmp_path / name, logging_dir=tmp_path / name
        )
        for name in ("no", "bf16")
    )
    assert {value.dtype for value in load_file(rounded).values()} == {torch.float32}
    losses, rounded_losses = logged(tmp_path / "no", "loss/current"), logged(tmp_path / "bf16", "loss/current")
    assert rounded_losses == pytest.approx(losses, rel=0.03)
    assert rounded_losses != losses


@pytest.mark.parametrize(
    ("precision", "dtype"), [("fp16", torch.float16), ("bf16", torch.bfloat16), ("float", torch.float32)]
)
def test_save_precision(arguments, precision, dtype):
    weights = load_file(run(arguments, max_train_steps=1, save_precision=precision))
    assert {value.dtype for name, value in weights.items() if not name.endswith(".alpha")} == {dtype}
    assert {value.dtype for name, value in weights.items() if name.endswith(".alpha")} == {torch.float32}


@pytest.mark.parametrize("extension", ["ckpt", "pt"])
def test_pickled_formats(arguments, extension):
    file = run(arguments, max_train_steps=1, save_model_as=extension).with_suffix(f".{extension}")
    assert len(torch.load(file, weights_only=True)) > 100


def test_no_metadata(arguments):
    metadata = metadata_of(run(arguments, max_train_steps=1, no_metadata=True))
    fields = {name for name in metadata if name.startswith("ss_")}
    assert fields == {"ss_v2", "ss_base_model_version", "ss_network_module", "ss_network_dim", "ss_network_alpha"}


def test_regularisation_images(arguments, tmp_path):
    reg = tmp_path / "reg"
    (reg / "1_cat").mkdir(parents=True)
    images = Path(arguments["--train_data_dir"]) / "3_sks cat"
    for number in range(3):
        (reg / "1_cat" / f"{number}.png").write_bytes((images / f"image {number}.png").read_bytes())
    full, light = (
        run(
            arguments, reg_data_dir=reg, output_dir=tmp_path / str(weight), prior_loss_weight=weight, max_train_steps=30
        )
        for weight in (1.0, 0.0)
    )
    metadata = metadata_of(full)
    assert (metadata["ss_num_train_images"], metadata["ss_num_reg_images"]) == ("15", "3")
    assert metadata["ss_num_batches_per_epoch"] == "30"
    others = load_file(light)
    assert any(not torch.equal(value, others[name]) for name, value in load_file(full).items())


def test_a_configuration_file_does_the_same_as_the_command_line(arguments, tmp_path):
    first = run(arguments, shuffle_caption=True, train_batch_size=2)
    file = tmp_path / "run.toml"
    words = as_words({**arguments, "--shuffle_caption": None, "--train_batch_size": "2"})
    assert train(*words, "--config_file", tmp_path / "run", "--output_config") == 0
    assert 'network_module = "networks.lora"' in file.read_text(encoding="utf-8")
    assert train("--config_file", file, "--output_dir", tmp_path / "from file") == 0
    assert_same_weights(first, tmp_path / "from file" / "tiny.safetensors")


def test_a_dataset_file(arguments, tmp_path):
    images = Path(arguments["--train_data_dir"]) / "3_sks cat"
    config = tmp_path / "dataset.toml"
    config.write_text(
        f"""
        [general]
        caption_extension = ".txt"
        [[datasets]]
        resolution = 64
        batch_size = 2
        [[datasets.subsets]]
        image_dir = {json.dumps(str(images))}
        num_repeats = 2
        [[datasets]]
        resolution = [128, 64]
        [[datasets.subsets]]
        image_dir = {json.dumps(str(images))}
        class_tokens = "cat"
        """,
        encoding="utf-8",
    )
    del arguments["--train_data_dir"], arguments["--resolution"]
    metadata = metadata_of(run(arguments, dataset_config=config))
    datasets = json.loads(metadata["ss_datasets"])
    assert [(entry["resolution"], entry["num_train_images"]) for entry in datasets] == [([64, 64], 10), ([128, 64], 5)]
    assert metadata["ss_num_batches_per_epoch"] == "10"


def start(arguments, *launcher: str, **environment: str) -> subprocess.Popen:
    command = [sys.executable, *launcher, "train_network.py", *as_words(arguments)]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, **environment},
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=heed_interrupts if os.name == "posix" else None,
    )


def heed_interrupts() -> None:
    """Tests may run in the background of a shell, whose processes ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.mark.parametrize(
    ("number", "code", "said"), [(signal.SIGINT, 130, "Interrupted"), (signal.SIGTERM, 143, "Ended by SIGTERM")]
)
def test_interrupting_leaves_complete_files_only(arguments, number, code, said):
    process = start({**arguments, "--save_every_n_steps": "1", "--max_train_steps": "100000"})
    output_dir = Path(arguments["--output_dir"])
    deadline = time.monotonic() + 120
    while not list(output_dir.glob("tiny-step00000003.safetensors")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == code
    assert "Traceback" not in errors
    last = max(output_dir.glob("tiny-step*.safetensors"))
    assert f"{said} at step " in errors
    assert f" of 100000; the last network saved is '{last}' of step {int(last.stem[-8:])}" in errors
    files = list(output_dir.iterdir())
    assert len(files) >= 3
    for file in files:
        assert file.suffix == ".safetensors"
        assert len(load_file(file)) > 100


def distance(first: Path, second: Path) -> float:
    """Norm of the difference of all trained weights, relative to what was learned."""
    weights, others = load_file(first), load_file(second)
    ups = [name for name in weights if name.endswith("lora_up.weight")]  # these start at zero
    difference = sum((weights[name] - others[name]).square().sum() for name in ups)
    return float((difference / sum(weights[name].square().sum() for name in ups)).sqrt())


def test_two_processes_do_what_one_does_with_two_accumulated_batches(arguments, tmp_path):
    """The same batches form each step, so that only the order of additions differs.

    The large epsilon keeps AdamW from blowing up such differences where a gradient is next to nothing.
    """
    arguments |= {"--network_dropout": "0.2", "--max_train_steps": "3", "--optimizer_args": "eps=1.0"}
    arguments |= {"--flip_aug": None, "--color_aug": None, "--shuffle_caption": None}
    single = run(arguments, gradient_accumulation_steps=2)
    other_seed = run(arguments, gradient_accumulation_steps=2, seed=43, output_dir=tmp_path / "other")
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
    shared = {"--output_dir": str(tmp_path / "two"), "--max_data_loader_n_workers": "1"}
    process = start({**arguments, **shared}, *launcher, ACCELERATE_USE_CPU="true")
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    assert "15 batches / 2 processes = 8 steps per epoch" in errors
    assert distance(single, tmp_path / "two" / "tiny.safetensors") < 0.01
    assert distance(single, other_seed) > 0.5
