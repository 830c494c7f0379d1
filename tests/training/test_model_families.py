"""Whole runs of tiny SD 2.x and SDXL models, with every option that belongs to the base model."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from library.models.family import SD1, SD2, SDXL, ModelFamily, predicting_velocity
from tests.models.tiny_families import original_weights_of, save_tiny_folder, tiny_vae_of
from tests.training.command import as_words, least_arguments, train_sdxl
from tests.training.running import assert_same_weights, have_different_weights, logged, metadata_of, run, run_sdxl

ROOT = Path(__file__).resolve().parents[2]
REAL_VOCABULARY = 49408


@pytest.fixture(scope="session")
def model_folders(tmp_path_factory) -> dict[str, Path]:
    folders = {}
    for family in (SD1, SD2, SDXL, predicting_velocity(SD2)):
        name = f"{family.name} {family.prediction_type}"
        folders[name] = tmp_path_factory.mktemp(name)
        save_tiny_folder(family, folders[name])
    return folders


@pytest.fixture(scope="session")
def sdxl_file(tmp_path_factory) -> Path:
    weights = original_weights_of(SDXL, REAL_VOCABULARY)
    path = tmp_path_factory.mktemp("files") / "tiny sdxl ü.safetensors"
    save_file({name: value.contiguous() for name, value in weights.items()}, path)
    return path


@pytest.fixture
def sdxl(model_folders, train_data_dir, tmp_path):
    return least_arguments(model_folders["SDXL epsilon"], train_data_dir, tmp_path / "out")


@pytest.fixture
def sd2(model_folders, train_data_dir, tmp_path):
    return {**least_arguments(model_folders["SD 2.x v"], train_data_dir, tmp_path / "out"), "--v2": None}


@pytest.fixture
def sd1(model_folders, train_data_dir, tmp_path):
    return least_arguments(model_folders["SD 1.x epsilon"], train_data_dir, tmp_path / "out")


# ---- files and their metadata


def test_sdxl_from_a_single_file(sdxl, sdxl_file):
    file = run_sdxl(sdxl, pretrained_model_name_or_path=sdxl_file, enable_bucket=True, min_bucket_reso=64)
    weights = load_file(file)
    assert {name.split("_")[1] for name in weights} == {"unet", "te1", "te2"}
    assert "lora_unet_input_blocks_4_1_proj_in.lora_down.weight" in weights
    assert "lora_te2_text_model_encoder_layers_1_mlp_fc1.alpha" in weights
    metadata = metadata_of(file)
    assert metadata["ss_base_model_version"] == "sdxl_base_v1-0"
    assert metadata["ss_v2"] == "False"
    assert metadata["ss_sd_model_name"] == "tiny sdxl ü.safetensors"
    assert len(metadata["ss_new_sd_model_hash"]) == 64
    assert metadata["modelspec.architecture"] == "stable-diffusion-xl-v1-base/lora"
    assert metadata["modelspec.prediction_type"] == "epsilon"


def test_the_layers_that_learn_nothing_are_known(sdxl):
    """SDXL takes the penultimate layer of both encoders: the last layer of the first learns nothing, that of the
    second only by way of the pooled text."""
    weights = load_file(run_sdxl(sdxl, train_batch_size=2))
    still = {name.split(".")[0] for name, value in weights.items() if "lora_up" in name and not value.any()}
    assert {name for name in still if name.startswith("lora_te")} == {
        f"lora_te1_text_model_encoder_layers_1_{layer}"
        for layer in ("mlp_fc1", "mlp_fc2", *(f"self_attn_{part}_proj" for part in ("k", "out", "q", "v")))
    }


def test_sd2(sd2, model_folders, tmp_path):
    velocity = run(sd2, v_parameterization=True)
    metadata = metadata_of(velocity)
    assert (metadata["ss_v2"], metadata["ss_base_model_version"]) == ("True", "sd_v2_v")
    assert metadata["modelspec.architecture"] == "stable-diffusion-v2-768-v/lora"
    assert metadata["modelspec.prediction_type"] == "v"
    projection = load_file(velocity)["lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight"]
    assert projection.ndim == 4
    noise = run(sd2, pretrained_model_name_or_path=model_folders["SD 2.x epsilon"], output_dir=tmp_path / "noise")
    assert metadata_of(noise)["ss_base_model_version"] == "sd_v2"
    assert metadata_of(noise)["modelspec.architecture"] == "stable-diffusion-v2-512/lora"
    assert have_different_weights(velocity, noise)


def test_a_rate_for_each_text_encoder(sdxl, tmp_path):
    file = run_sdxl(sdxl, text_encoder_lr=[0, 1e-3], unet_lr=1e-2, logging_dir=tmp_path / "logs")
    changed = {name.split("_")[1] for name, value in load_file(file).items() if "lora_up" in name and value.any()}
    assert changed == {"unet", "te2"}
    assert logged(tmp_path / "logs", "lr/textencoder2") == pytest.approx([1e-3] * 4)
    assert logged(tmp_path / "logs", "lr/unet") == pytest.approx([1e-2] * 4)


def test_sizes_of_pictures_matter(sdxl, train_data_dir, tmp_path):
    """The same pictures, as they are and enlarged: trained on alike, but SDXL is told what they were."""
    first = run_sdxl(sdxl, logging_dir=tmp_path / "first")
    for path in train_data_dir.rglob("*.png"):
        with Image.open(path) as picture:
            picture.resize((picture.width * 2, picture.height * 2), Image.Resampling.NEAREST).save(path)
    second = run_sdxl(sdxl, output_dir=tmp_path / "second", logging_dir=tmp_path / "second")
    assert have_different_weights(first, second)


# ---- other ways to the same weights


@pytest.mark.parametrize(
    "options",
    [
        {"disable_mmap_load_safetensors": True},
        {"lowram": True},
        {"highvram": True},
        {"sdpa": True},
    ],
    ids=str,
)
def test_options_that_only_change_the_way(sdxl, sdxl_file, tmp_path, options):
    sdxl["--pretrained_model_name_or_path"] = str(sdxl_file)
    first = run_sdxl(sdxl, max_train_steps=2, cache_latents=True)
    second = run_sdxl(sdxl, max_train_steps=2, cache_latents=True, output_dir=tmp_path / "other", **options)
    assert_same_weights(first, second)


@pytest.mark.parametrize(
    "options",
    [
        {"mem_eff_attn": True},
        {"gradient_checkpointing": True},
        {"gradient_checkpointing": True, "cpu_offload_checkpointing": True},
        {"torch_compile": True, "dynamo_backend": "eager"},
    ],
    ids=str,
)
def test_memory_and_speed_leave_the_result_alone(sdxl, tmp_path, options):
    common = {"max_train_steps": 3, "network_dropout": 0.2, "optimizer_args": "eps=1.0"}
    first = run_sdxl(sdxl, **common)
    second = run_sdxl(sdxl, output_dir=tmp_path / "other", **common, **options)
    assert_same_weights(first, second, tolerance=1e-6)


@pytest.mark.parametrize("options", [{"fp8_base": True}, {"fp8_base_unet": True}], ids=str)
def test_eight_bits_cost_little(sdxl, tmp_path, options):
    common = {"mixed_precision": "bf16", "no_half_vae": True}
    run_sdxl(sdxl, logging_dir=tmp_path / "full", **common)
    run_sdxl(sdxl, output_dir=tmp_path / "o", logging_dir=tmp_path / "eight", **common, **options)
    full, eight = (logged(tmp_path / name, "loss/current") for name in ("full", "eight"))
    assert eight == pytest.approx(full, rel=0.05)
    assert eight != full


def test_full_bf16(sdxl):
    file = run_sdxl(sdxl, mixed_precision="bf16", full_bf16=True, network_dim=4, network_alpha=0.3)
    weights = load_file(file)
    ups = [value for name, value in weights.items() if "lora_up" in name]
    assert all(torch.equal(value, value.bfloat16().float()) for value in ups)
    assert {value.item() for name, value in weights.items() if name.endswith("alpha")} == {torch.tensor(0.3).item()}


def test_another_vae(sdxl, tmp_path):
    """Under the names of diffusers and in the model's own layout."""
    vae = tiny_vae_of(SDXL)
    own = run_sdxl(sdxl)
    vae.save_pretrained(tmp_path / "same vae")
    same = run_sdxl(sdxl, vae=tmp_path / "same vae", output_dir=tmp_path / "same")
    assert_same_weights(own, same)
    changed = {name: value * 1.1 for name, value in vae.state_dict().items()}
    save_file(changed, tmp_path / "vae.safetensors")
    other = run_sdxl(sdxl, vae=tmp_path / "vae.safetensors", output_dir=tmp_path / "other")
    assert have_different_weights(own, other)
    assert metadata_of(other)["ss_vae_name"] == "vae.safetensors"
    assert len(metadata_of(other)["ss_new_vae_hash"]) == 64
    assert "ss_vae_name" not in metadata_of(own)


# ---- text


@pytest.mark.parametrize("options", [{"clip_skip": 2}, {"max_token_length": 150}], ids=str)
def test_text_options_change_the_result(sd1, train_data_dir, tmp_path, options):
    for path in train_data_dir.rglob("*.txt"):
        path.write_text("a (sks:1.3) cat, " + "tag, " * 30, encoding="utf-8")
    first = run(sd1)
    assert have_different_weights(first, run(sd1, output_dir=tmp_path / "other", **options))


def test_weighted_captions(sd1, train_data_dir, tmp_path):
    def captioned(text: str, name: str, **options) -> Path:
        for path in train_data_dir.rglob("*.txt"):
            path.write_text(text, encoding="utf-8")
        return run(sd1, output_dir=tmp_path / name, **options)

    plain = captioned("a sks cat", "plain")
    assert_same_weights(plain, captioned("a (sks:1.0) cat", "one", weighted_captions=True))
    assert have_different_weights(plain, captioned("a (sks:1.5) cat", "more", weighted_captions=True))


def test_captions_that_are_cut_are_counted(sd1, train_data_dir, capsys):
    next(train_data_dir.rglob("*.txt")).write_text("tag, " * 200, encoding="utf-8")
    run(sd1, max_train_steps=1)
    assert capsys.readouterr().err.count("longer than 75 tokens, of which the end is not used: 1 of 5 captions") == 1


# ---- previews


@pytest.mark.parametrize("sampler", ["ddim", "euler_a"])
def test_previews_of_a_model_with_zero_terminal_snr(sdxl, model_folders, tmp_path, sampler):
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a (cat:1.2) --w 64 --h 72 --s 3 --d 1\na dog --n cat --w 64 --h 64 --s 2 --l 1\n")
    without = run_sdxl(sdxl, no_v_parameterization=True)
    options = {"v_parameterization": True, "zero_terminal_snr": True}
    configuration = Path(sdxl["--pretrained_model_name_or_path"]) / "scheduler" / "scheduler_config.json"
    before = configuration.read_text()
    configuration.write_text(
        json.dumps({**json.loads(before), "prediction_type": "v_prediction", "rescale_betas_zero_snr": True})
    )
    try:
        first = run_sdxl(sdxl, output_dir=tmp_path / "first", **options)
        second = run_sdxl(
            sdxl, output_dir=tmp_path / "second", sample_prompts=prompts, sample_at_first=True, sample_sampler=sampler,
            **options,
        )  # fmt: skip
    finally:
        configuration.write_text(before)
    assert_same_weights(first, second)
    assert have_different_weights(without, first)
    assert metadata_of(first)["modelspec.prediction_type"] == "v"
    assert len(list((tmp_path / "second" / "sample").iterdir())) == 2


# ---- captions encoded before training

RANDOM_CAPTIONS = {
    "shuffle_caption": True, "caption_dropout_rate": 0.2, "caption_tag_dropout_rate": 0.3, "enable_wildcard": True,
    "token_warmup_step": 0.6,
}  # fmt: skip


def with_wildcards(train_data_dir: Path) -> None:
    for path in train_data_dir.rglob("*.txt"):
        path.write_text("sks {cat|big cat|dog}, outdoors, blue sky\n{red|green|blue} sks, {a|b}, indoors\n")


def losses(arguments, tmp_path, name: str, runs, **options) -> list[float]:
    runs(arguments, output_dir=tmp_path / name, logging_dir=tmp_path / name, max_train_epochs=2, **options)
    return logged(tmp_path / name, "loss/current")


@pytest.mark.parametrize("family", [SD1, SDXL], ids=lambda family: family.name)
@pytest.mark.parametrize("place", ["cache_text_encoder_outputs", "cache_text_encoder_outputs_to_disk"])
def test_encoded_beforehand_captions_give_the_same_losses(
    sd1, sdxl, train_data_dir, tmp_path, family: ModelFamily, place
):
    """Captions are encoded in batches of another size than training's, whose sums are rounded differently: hence the
    tolerance. With batches of one size the bits are the same (tests/caching/test_text_encoder_outputs.py)."""
    with_wildcards(train_data_dir)
    arguments, runs = (sd1, run) if family == SD1 else (sdxl, run_sdxl)
    options = {**RANDOM_CAPTIONS, "network_train_unet_only": True, "train_batch_size": 2, "max_token_length": 150}
    direct = losses(arguments, tmp_path, "direct", runs, **options)
    cached = losses(arguments, tmp_path, "cached", runs, cache_dir=tmp_path / "cache", **options, **{place: True})
    assert len(direct) == 2 * 8
    assert cached == pytest.approx(direct, abs=1e-5)


def test_a_cache_on_disk_is_used_again(sdxl, tmp_path):
    options = {
        **RANDOM_CAPTIONS, "network_train_unet_only": True, "cache_text_encoder_outputs_to_disk": True,
        "cache_dir": tmp_path / "cache",
    }  # fmt: skip
    first = run_sdxl(sdxl, **options)
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.safetensors")}
    second = run_sdxl(sdxl, output_dir=tmp_path / "second", **options)
    assert_same_weights(first, second)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.safetensors")} == files
    assert len(files) == 1
    run_sdxl(sdxl, output_dir=tmp_path / "third", max_token_length=150, **options)
    assert len({path.parent for path in (tmp_path / "cache").rglob("*.safetensors")}) == 2


def test_a_budget_limits_the_variants(sdxl, capsys):
    kib_per_caption = (77 * (32 + 64) + 64) * 4 / 1024
    run_sdxl(
        sdxl, shuffle_caption=True, network_train_unet_only=True, cache_text_encoder_outputs=True,
        max_train_epochs=4, text_encoder_cache_budget=11 * kib_per_caption / 2**20,
    )  # fmt: skip
    shown = capsys.readouterr().err
    assert "holds 11" in shown
    assert "each image uses 2 caption variants in turn" in shown


def test_processes_that_do_not_know_of_each_other(sdxl, capsys, monkeypatch):
    """Each would train everything and write the same file."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert train_sdxl(*as_words(sdxl)) == 1
    assert "2 processes were started, but each sees 1" in capsys.readouterr().err


@pytest.mark.parametrize("place", ["cache_text_encoder_outputs", "cache_text_encoder_outputs_to_disk"])
def test_two_processes_share_the_work(sdxl, tmp_path, place):
    """As one process with two accumulated batches. The large epsilon keeps AdamW from blowing up rounding."""
    options = {
        "shuffle_caption": True, "network_train_unet_only": True, "optimizer_args": "eps=1.0", "max_train_steps": 3,
        place: True,
    }  # fmt: skip
    single = run_sdxl(sdxl, gradient_accumulation_steps=2, cache_dir=tmp_path / "one", **options)
    both = {f"--{name}": None if value is True else str(value) for name, value in options.items()}
    places = {"--output_dir": str(tmp_path / "two"), "--cache_dir": str(tmp_path / "cache")}
    words = as_words({**sdxl, **both, **places})
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "sdxl_train_network.py"]
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    finished = subprocess.run(
        [sys.executable, *launcher, *words], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240
    )
    assert finished.returncode == 0, finished.stderr
    assert_same_weights(single, tmp_path / "two" / "tiny.safetensors", tolerance=1e-5)
    assert len(list((tmp_path / "cache").rglob("*.safetensors"))) == (2 if place.endswith("disk") else 0)


# ---- a command line of a published guide, as far as its options exist


def test_a_guides_command(sdxl, tmp_path):
    prompts = tmp_path / "PROMPTS.txt"
    prompts.write_text(
        "# a comment line\nscore_9, looking at viewer, detailed (background:1.2) "
        "--n low quality, worst quality, blurry --w 64 --h 96 --d 1 --l 6.0 --s 4\n"
    )
    command = shlex.split(
        "--lowram --resolution=128,128 --enable_bucket --min_bucket_reso=64 --max_bucket_reso=128 --network_alpha=4 "
        "--save_model_as=safetensors --network_module=networks.lora --network_dropout=0 --lr_scheduler=cosine "
        "--learning_rate=0.0001 --unet_lr=0.0001 --text_encoder_lr=0.0001 --network_dim=8 --output_name=tiny "
        "--no_half_vae --save_every_n_epochs=50 --mixed_precision=bf16 --save_precision=fp16 --caption_extension=.txt "
        "--cache_latents --optimizer_type=AdamW --max_grad_norm=1 --keep_tokens=1 --max_data_loader_n_workers=8 "
        "--bucket_reso_steps=32 --log_prefix=xl-lora --gradient_accumulation_steps=2 --gradient_checkpointing "
        "--train_batch_size=8 --dataset_repeats=0 --max_train_steps=4 --shuffle_caption --sdpa "
        "--sample_sampler=euler_a --sample_every_n_steps=2 --log_with=tensorboard"
    )
    model = f"--pretrained_model_name_or_path={sdxl['--pretrained_model_name_or_path']}/"
    places = [
        model, f"--train_data_dir={sdxl['--train_data_dir']}", f"--output_dir={tmp_path / 'OUT'}",
        f"--logging_dir={tmp_path / 'OUT' / 'logs'}", f"--sample_prompts={prompts}",
    ]  # fmt: skip
    assert train_sdxl(*command, *places) == 0
    weights = load_file(tmp_path / "OUT" / "tiny.safetensors")
    assert {value.dtype for name, value in weights.items() if "lora" in name.split(".")[1]} == {torch.float16}
    assert len(list((tmp_path / "OUT" / "sample").iterdir())) == 2
    assert len(logged(tmp_path / "OUT" / "logs", "loss/current")) == 4
