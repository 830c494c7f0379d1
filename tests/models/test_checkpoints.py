"""Base models from single files and folders: the right weights, or one message that says what is wrong."""

import pickle
import sys
import types
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import init_empty_weights
from diffusers import AutoencoderKL
from diffusers.loaders.single_file_utils import (
    convert_ldm_clip_checkpoint,
    convert_ldm_unet_checkpoint,
    convert_ldm_vae_checkpoint,
)
from safetensors.torch import save_file

from library.errors import UserError
from library.models.adapter_loading import load_model
from library.models.checkpoints import original_layout, single_file, weights_file
from library.models.checkpoints.identification import UNET_PREFIX, VAE_PREFIX, ModelKind
from library.models.checkpoints.weights_file import WeightsFile
from library.models.family import SD1
from library.models.model_parts import ModelPrecision, ModelRequest
from library.models.model_source import ModelSource, SourceKind
from library.unet_names import unet_modules
from tests.models.full_size import empty_sd15_unet
from tests.models.loaded import FULL, OPTION, assert_weights, check_and_load, load, parts_of
from tests.models.tiny import (
    below,
    original_layout_weights,
    original_unet_name,
    original_vae_name,
    tiny_text_encoder,
    tiny_tokenizer,
    tiny_unet,
    tiny_vae,
)

VOCABULARY = 300
ATTENTION_LEVELS = (True, True, True, False)
TEXT_LEVEL = "cond_stage_model.transformer.text_model."


@pytest.fixture(scope="module")
def models():
    return {"unet": tiny_unet(), "vae": tiny_vae(), "text_encoder": tiny_text_encoder(VOCABULARY)}


@pytest.fixture(scope="module")
def weights(models):
    return original_layout_weights(**models)


@pytest.fixture(autouse=True)
def small_tokenizer(monkeypatch):
    """Building the real one takes a fifth of a second and changes nothing here."""
    monkeypatch.setattr(single_file, "standard_clip_tokenizer", tiny_tokenizer)


# ---- the renaming, with diffusers' own conversion as the judge


def test_unet_names_are_those_that_diffusers_gives(models, weights):
    theirs = convert_ldm_unet_checkpoint(weights, dict(models["unet"].config))
    unet = below(UNET_PREFIX, weights)
    ours, unknown = original_layout.rename(unet, unet_modules(ATTENTION_LEVELS))
    assert unknown == []
    assert len(ours) == len(unet) == 684
    assert ours.keys() == theirs.keys() == models["unet"].state_dict().keys()
    for name, value in models["unet"].state_dict().items():
        assert torch.equal(ours[name], value), name
        assert torch.equal(theirs[name], value), name


def test_vae_names_are_those_that_diffusers_gives(models, weights):
    theirs = convert_ldm_vae_checkpoint(weights, dict(models["vae"].config))
    vae = below(VAE_PREFIX, weights)
    renamed, unknown = original_layout.rename(vae, original_layout.vae_modules(levels=4, encoder_layers=1))
    ours = original_layout.flatten_attention_convolutions(renamed)
    assert unknown == []
    assert len(ours) == len(vae) == 180
    assert ours.keys() == theirs.keys() == models["vae"].state_dict().keys()
    assert sum(1 for name, value in ours.items() if value.shape != renamed[name].shape) == 8
    for name, value in models["vae"].state_dict().items():
        assert torch.equal(ours[name], value), name
        assert torch.equal(theirs[name], value), name


def test_text_encoder_names_are_those_that_diffusers_gives(models, weights):
    theirs = convert_ldm_clip_checkpoint(weights)
    expected = models["text_encoder"].state_dict()
    assert theirs.keys() == {f"text_model.{name.removeprefix('text_model.')}" for name in expected}
    assert len(theirs) == 36


def test_full_size_names():
    """Layers that the tiny model does not have: more channel changes in the U-Net, more layers in the VAE."""
    unet = empty_sd15_unet()
    names = {original_unet_name(name): value for name, value in unet.state_dict().items()}
    ours, unknown = original_layout.rename(names, unet_modules(ATTENTION_LEVELS))
    assert unknown == []
    assert len(names) == 686
    assert ours.keys() == unet.state_dict().keys()
    prefixed = {f"model.diffusion_model.{name}": value for name, value in names.items()}
    assert convert_ldm_unet_checkpoint(prefixed, dict(unet.config)).keys() == ours.keys()
    # as they are in files that everyone has
    assert {
        "time_embed.0.weight",
        "input_blocks.3.0.op.weight",
        "input_blocks.4.0.skip_connection.weight",
        "middle_block.1.transformer_blocks.0.attn2.to_k.weight",
        "output_blocks.2.1.conv.weight",
        "output_blocks.5.2.conv.weight",
        "output_blocks.11.1.proj_out.bias",
        "out.2.weight",
    } <= names.keys()

    with init_empty_weights():
        vae = AutoencoderKL(
            block_out_channels=(128, 256, 512, 512),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=2,
            latent_channels=4,
        )
    names = {original_vae_name(name): value for name, value in vae.state_dict().items()}
    ours, unknown = original_layout.rename(names, original_layout.vae_modules(levels=4, encoder_layers=2))
    assert unknown == []
    assert len(names) == 248
    assert ours.keys() == vae.state_dict().keys()
    prefixed = {f"first_stage_model.{name}": value for name, value in names.items()}
    assert convert_ldm_vae_checkpoint(prefixed, dict(vae.config)).keys() == ours.keys()
    assert {
        "encoder.down.1.block.0.nin_shortcut.weight",
        "decoder.up.3.upsample.conv.weight",
        "decoder.mid.attn_1.q.weight",
        "decoder.norm_out.bias",
    } <= names.keys()


def test_names_that_belong_nowhere_are_told():
    tensor = torch.ones(1)
    renamed, unknown = original_layout.rename(
        {"time_embed.0.weight": tensor, "time_embed.1.weight": tensor, "control.weight": tensor, "x": tensor},
        unet_modules(ATTENTION_LEVELS),
    )
    assert list(renamed) == ["time_embedding.linear_1.weight"]
    assert unknown == ["time_embed.1.weight", "control.weight", "x"]


# ---- single files


def with_ema_and_constants(weights):
    """What original files hold besides the weights. The averaged weights differ, so that a mix-up shows."""
    unet = {name: value for name, value in weights.items() if name.startswith("model.diffusion_model.")}
    averages = {f"model_ema.{name[len('model.') :].replace('.', '')}": value + 1 for name, value in unet.items()}
    assert len(averages) == 684
    constants = {
        "model_ema.decay": torch.tensor(0.9999),
        "model_ema.num_updates": torch.tensor(7, dtype=torch.int32),
        "betas": torch.ones(1000),
        "sqrt_alphas_cumprod": torch.ones(1000),
        "first_stage_model.loss.discriminator.main.0.weight": torch.ones(2, 2),
        "cond_stage_model.transformer.text_projection.weight": torch.ones(2, 2),
        f"{TEXT_LEVEL}embeddings.position_ids": torch.arange(77)[None],
    }
    return {**averages, **weights, **constants}


def without_text_model_level(weights):
    return {name.replace(TEXT_LEVEL, "cond_stage_model.transformer."): value for name, value in weights.items()}


def as_they_are(weights):
    return weights


def save(weights, path):
    if path.suffix == ".safetensors":
        save_file({name: value.contiguous() for name, value in weights.items()}, path)
    else:
        torch.save(weights, path)
    return path


@pytest.mark.parametrize("variant", [as_they_are, with_ema_and_constants, without_text_model_level])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("extension", [".safetensors", ".ckpt"])
@pytest.mark.parametrize("use_mmap", [True, False], ids=["mapped", "at once"])
def test_a_single_file_gives_the_weights_it_was_made_of(tmp_path, models, weights, use_mmap, extension, dtype, variant):
    content = {name: value.to(dtype) if value.is_floating_point() else value for name, value in weights.items()}
    path = save(variant(content), tmp_path / f"Modell für mich{extension}")
    assert_weights(load(path, use_mmap=use_mmap), models, dtype)


def test_a_single_file_computes_what_the_model_computes(tmp_path, models, weights):
    """Numbers of heads, activations and the like are in no file; a wrong guess would leave the weights right."""
    loaded = parts_of(load(save(weights, tmp_path / "model.safetensors")))
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(0, VOCABULARY, (2, 77), generator=generator)
    pixels = torch.randn(1, 3, 64, 64, generator=generator)
    latents = torch.randn(2, 4, 8, 8, generator=generator)
    with torch.no_grad():
        results = [
            (
                one["text_encoder"](ids).last_hidden_state,
                one["unet"](latents, torch.tensor([10, 900]), one["text_encoder"](ids).last_hidden_state).sample,
                one["vae"].encode(pixels).latent_dist.parameters,
                one["vae"].decode(latents).sample,
            )
            for one in (loaded, models)
        ]
    for ours, expected in zip(*results, strict=True):
        assert expected.std() > 0.01
        torch.testing.assert_close(ours, expected, rtol=0, atol=1e-6)
    assert loaded["vae"].config.scaling_factor == 0.18215


@pytest.mark.parametrize(
    "precision",
    [
        ModelPrecision(torch.float16, torch.float16),
        ModelPrecision(torch.bfloat16, torch.float32),
        ModelPrecision(torch.float32, torch.bfloat16),
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_precision(tmp_path, tiny_model, weights, precision, kind):
    if kind == "folder":
        expected = parts_of(load(tiny_model))
        adapter = load(tiny_model, precision)
        assert_weights(adapter, expected, precision=precision)
    else:
        adapter = load(save(weights, tmp_path / "model.safetensors"), precision)
    for part, model in parts_of(adapter).items():
        dtype = precision.vae if part == "vae" else precision.weights
        assert {value.dtype for value in model.parameters()} == {dtype}


def test_the_file_may_go_once_it_is_loaded(tmp_path, models, weights):
    """Weights are copied out of the memory-mapped file: a file that is written over must not change them."""
    for extension in (".safetensors", ".ckpt"):
        path = save(weights, tmp_path / f"model{extension}")
        adapter = load(path)
        path.write_bytes(b"\0" * path.stat().st_size)
        assert_weights(adapter, models)


# ---- reading tensors

CPU = torch.device("cpu")


@pytest.mark.parametrize("run_bytes", [1, 200, 2**20])
@pytest.mark.parametrize("use_mmap", [True, False], ids=["mapped", "at once"])
@pytest.mark.parametrize("form", ["x.safetensors", "zip.ckpt", "legacy.ckpt"])
def test_tensors_arrive_in_the_order_and_precision_asked_for(tmp_path, monkeypatch, form, use_mmap, run_bytes):
    """However many times the file is mapped on the way."""
    monkeypatch.setattr(weights_file, "RUN_BYTES", run_bytes)
    content = {
        "c": torch.arange(40.0).view(8, 5) / 7,
        "a": torch.arange(30).half(),
        "d": torch.tensor([3, 5], dtype=torch.int32),
        "b": torch.tensor(0.1, dtype=torch.float64),
        "unread": torch.ones(9),
    }
    path = tmp_path / form
    if form == "x.safetensors":
        save_file(content, path)
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form == "zip.ckpt")
    file = WeightsFile(path, "option", use_mmap)
    assert file.shapes == {name: tuple(tensor.shape) for name, tensor in content.items()}
    first, second = file.read(["d", "a"], torch.bfloat16, CPU), file.read(["c", "b"], torch.float32, CPU)
    assert (list(first), list(second)) == (["d", "a"], ["c", "b"])
    assert (first["d"].dtype, first["a"].dtype) == (torch.int32, torch.bfloat16), "whole numbers keep their type"
    for name, tensor in (first | second).items():
        assert torch.equal(tensor, content[name].to(tensor.dtype)), name
    assert file.read([], torch.float32, CPU) == {}


# ---- pickles


@pytest.fixture
def lightning_checkpoint(monkeypatch, weights):
    """A checkpoint with objects of a package that is gone by the time it is read."""
    package, module = types.ModuleType("pytorch_lightning"), types.ModuleType("pytorch_lightning.callbacks")
    module.ModelCheckpoint = type("ModelCheckpoint", (), {"__module__": module.__name__})
    module.LoopState = type("LoopState", (dict,), {"__module__": module.__name__})
    callback, loops = module.ModelCheckpoint(), module.LoopState(done=3)
    callback.best = 0.5
    content = {
        "epoch": 7,
        "pytorch-lightning_version": "1.4.2",
        "callbacks": {module.ModelCheckpoint: {"best_model_score": np.float64(0.25), "callback": callback}},
        "loops": loops,
        "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(3)}}, "history": np.arange(4)}],
        "hyper_parameters": types.SimpleNamespace(learning_rate=1e-4, path=Path("x")),
        "state_dict": OrderedDict(weights),
    }
    content["state_dict"]["global_step"] = np.int64(12)
    content["state_dict"]._metadata = OrderedDict(version=1)

    def write(path: Path, zipped: bool) -> Path:
        with monkeypatch.context() as present:
            present.setitem(sys.modules, "pytorch_lightning", package)
            present.setitem(sys.modules, "pytorch_lightning.callbacks", module)
            torch.save(content, path, _use_new_zipfile_serialization=zipped)
        return path

    return write


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("use_mmap", [True, False], ids=["mapped", "at once"])
def test_lightning_checkpoints_load_without_lightning(tmp_path, lightning_checkpoint, models, zipped, use_mmap):
    path = lightning_checkpoint(tmp_path / "last ép.ckpt", zipped)
    assert "pytorch_lightning" not in sys.modules
    assert_weights(load(path, use_mmap=use_mmap), models)


# ---- files that are no model, or not a whole one


def without(*names):
    return lambda weights: {name: value for name, value in weights.items() if not name.endswith(names)}


def without_prefix(prefix):
    return lambda weights: {name: value for name, value in weights.items() if not name.startswith(prefix)}


def only(prefix, then=""):
    return lambda weights: {
        then + name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)
    }


def reshaped(name, shape):
    return lambda weights: {**weights, name: torch.ones(shape)}


def added(*names, shape=(1,)):
    return lambda weights: {**weights, **{name: torch.ones(shape) for name in names}}


ATTENTION = "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"
NOT_A_MODEL = {
    "LoRA": (lambda _: {"lora_unet_mid_block_attentions_0_proj_in.lora_down.weight": torch.ones(4, 8, 1, 1)},
             "looks like a LoRA or similar network, not a base model"),
    "PEFT LoRA": (lambda _: {"unet.mid_block.attentions.0.proj_in.lora_A.weight": torch.ones(4, 8)},
                  "looks like a LoRA or similar network, not a base model"),
    "LoRA of a text encoder": (lambda _: {"text_model.encoder.layers.0.mlp.fc1.lora_A.weight": torch.ones(4, 8)},
                               "looks like a LoRA or similar network, not a base model"),
    "VAE": (only("first_stage_model."), "looks like a VAE alone"),
    "VAE with prefix": (only("first_stage_model.", "first_stage_model."), "looks like a VAE alone"),
    "SDXL": (added("conditioner.embedders.0.transformer.text_model.embeddings.token_embedding.weight"),
             "looks like an SDXL model"),
    "SDXL U-Net": (added("model.diffusion_model.label_emb.0.0.weight"), "looks like an SDXL model"),
    "SD2": (added("cond_stage_model.model.token_embedding.weight"), "looks like an SD 2.x model"),
    "SD2 U-Net": (reshaped(ATTENTION, (32, 1024)), "looks like an SD 2.x model"),
    "U-Net of a folder": (lambda _: {"conv_in.weight": torch.ones(1), "down_blocks.0.x.weight": torch.ones(1)},
                          "looks like a U-Net alone"),
    "embedding": (lambda _: {"emb_params": torch.ones(1, 8)},
                  "looks like a textual inversion embedding, not a base model"),
    "something else": (lambda _: {"x": torch.ones(1, 8)}, "looks like no Stable Diffusion model that is known here"),
    "no VAE": (without_prefix("first_stage_model."),
               "is incomplete: it looks like an SD 1.x model without VAE; name one with --vae"),
    "no text encoder": (without_prefix("cond_stage_model."),
                        "is incomplete: it looks like an SD 1.x model without text encoder; give a model that has"),
    "no U-Net": (without_prefix("model."), "is incomplete: it looks like an SD 1.x model without U-Net; give a model"),
    "no time embedding": (without("time_embed.0.weight", "time_embed.0.bias"),
                          "2 tensors are missing, time_embedding.linear_1.weight among them"),
    "no first layer": (without("model.input_blocks.0.0.weight", "l.input_blocks.0.0.weight"),
                       "input_blocks.0.0.weight is missing"),
    "no norm": (without("input_blocks.1.1.norm.weight"),
                "1 tensors are missing, down_blocks.0.attentions.0.norm.weight among them"),
    "no attention": (without("input_blocks.1.1.transformer_blocks.0.norm1.weight"),
                     "the layers of 129 tensors cannot be told"),
    "no VAE level": (without("encoder.down.3.block.0.conv1.weight"), "the layers of 25 tensors cannot be told"),
    "no text layer": (without("encoder.layers.1.mlp.fc1.weight"), "the layers of 15 tensors cannot be told"),
    "another shape": (reshaped("first_stage_model.decoder.conv_out.bias", (7,)),
                      "size mismatch for decoder.conv_out.bias"),
    "no matrix": (reshaped("model.diffusion_model.input_blocks.0.0.weight", (7,)), "is incomplete"),
    "inpainting": (reshaped("model.diffusion_model.input_blocks.0.0.weight", (32, 9, 3, 3)),
                   "looks like an inpainting model, whose U-Net takes 9 channels instead of 4"),
    "another text encoder": (lambda weights: {**weights, **widened_context(weights)},
                             "its U-Net takes 48 text features but its text encoders give 32"),
}  # fmt: skip


def widened_context(weights):
    names = [name for name in weights if name.endswith(("attn2.to_k.weight", "attn2.to_v.weight"))]
    assert len(names) == 2 * 16
    return {name: torch.ones(weights[name].shape[0], 48) for name in names}


@pytest.mark.parametrize("case", NOT_A_MODEL)
def test_files_that_are_something_else(tmp_path, weights, case):
    change, expected = NOT_A_MODEL[case]
    content = change(weights)
    assert content.keys() != weights.keys() or any(content[name] is not weights[name] for name in content)
    path = save(content, tmp_path / f"größer als {case}.safetensors")
    assert_refused(path, expected)


def assert_refused(path, *expected):
    with pytest.raises(UserError) as caught:
        check_and_load(path)
    problem, *others = caught.value.problems
    for part in (f"{OPTION} '{path}'", *expected):
        assert part in problem
    for text in (problem, *others):
        assert text.startswith(f"{OPTION} '{path}'")
        assert "\n" not in text


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("empty.safetensors", b"", "the file is empty; download it again"),
        ("text.safetensors", b"This is what a login page says. " * 40, "damaged or not a safetensors file"),
        ("pickle.safetensors", pickle.dumps({"a": 1}), "damaged or not a safetensors file"),
        ("empty.ckpt", b"", "the file is empty; download it again"),
        ("text.CKPT", b"<!DOCTYPE html>", "the file is a web page"),
        ("zeros.pt", bytes(500), "damaged or not a checkpoint"),
        ("number.bin", pickle.dumps(3), "damaged or not a checkpoint"),
    ],
)
def test_files_that_are_nothing(tmp_path, name, content, expected):
    path = tmp_path / name
    path.write_bytes(content)
    assert_refused(path, expected)


@pytest.mark.parametrize("part", [0.001, 0.3, 0.999])
@pytest.mark.parametrize("extension", [".safetensors", ".ckpt"])
def test_files_that_are_cut_short(tmp_path, weights, extension, part):
    path = save(weights, tmp_path / f"half a download{extension}")
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * part)])
    assert_refused(path, "the file is cut short")
    source = ModelSource(SourceKind.FILE, str(path))
    with pytest.raises(UserError, match="the file is "):
        load_model(ModelRequest(source, SD1, FULL))


@pytest.mark.parametrize("content", [torch.ones(3), {"a": 1}, [torch.ones(1)], {"a": {"b": torch.ones(1)}}], ids=str)
def test_checkpoints_without_named_tensors(tmp_path, content):
    path = tmp_path / "x.ckpt"
    torch.save(content, path)
    assert_refused(path, "holds no named tensors")


def test_a_file_that_is_gone(tmp_path):
    path = tmp_path / "gone.ckpt"
    for extension in (".ckpt", ".safetensors"):
        source = ModelSource(SourceKind.FILE, str(path.with_suffix(extension)))
        with pytest.raises(UserError, match=f"{OPTION} '.*gone{extension}': .*No such file"):
            load_model(ModelRequest(source, SD1, FULL))


def test_damage_that_the_header_does_not_show(tmp_path):
    """A checkpoint that lacks the record of a tensor within an archive that is whole."""
    path = tmp_path / "x.ckpt"
    torch.save({"a": torch.full((1000,), 1.5)}, path)
    content = path.read_bytes()
    assert b"data/0" in content
    path.write_bytes(content.replace(b"data/0", b"data/9"))
    with pytest.raises(UserError, match=f"--option '{path}': the file is damaged or not a checkpoint"):
        WeightsFile(path, "option").read(["a"], torch.float32, CPU)


def test_the_kinds_that_people_mistake_for_models_are_refused_by_name():
    verdicts = {expected for _, expected in NOT_A_MODEL.values()}
    kinds = (
        ModelKind.NETWORK, ModelKind.VAE, ModelKind.SDXL, ModelKind.SD2, ModelKind.UNET, ModelKind.EMBEDDING,
        ModelKind.INPAINTING, ModelKind.UNKNOWN,
    )  # fmt: skip
    for kind in kinds:
        assert f"looks like {kind.value}" in verdicts
