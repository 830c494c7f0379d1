"""Models looked at without loading them: what they are, and whether that is what the options say."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from library.errors import UserError
from library.models.checkpoints.identification import Identity, ModelKind
from library.models.family import SD1, SD2, SDXL
from library.models.inspection import check_identity, check_vae, inspect_model, inspect_vae
from library.models.model_source import ModelSource, SourceKind, find_model, find_vae
from tests.models.tiny_families import original_weights_of, save_tiny_folder, tiny_vae_of

FIRST, SECOND = "text encoder 1 (CLIP ViT-L)", "text encoder 2 (OpenCLIP ViT-bigG)"


def inspect(path: Path) -> Identity:
    source = find_model(str(path))
    assert isinstance(source, ModelSource), source
    return inspect_model(source, "option")


def refusal(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        inspect(path)
    (problem,) = caught.value.problems
    assert "\n" not in problem
    return problem


# ---- files


VAE_SHAPES = {"encoder.conv_in.weight": (8, 3, 3, 3), "decoder.conv_in.weight": (8, 4, 3, 3)}


@pytest.fixture
def weights():
    """Of an SD 1.x model in one file: as much of it as tells what it is."""
    return {
        "model.diffusion_model.input_blocks.0.0.weight": torch.ones(8, 4, 3, 3),
        "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight": torch.ones(300, 32),
        **{f"first_stage_model.{name}": torch.ones(shape) for name, shape in VAE_SHAPES.items()},
    }


@pytest.mark.parametrize("extension", [".safetensors", ".ckpt"])
def test_a_file(tmp_path, weights, extension):
    path = tmp_path / f"model{extension}"
    if extension == ".ckpt":
        torch.save({"state_dict": {**weights, "v_pred": torch.ones(0)}}, path)
    else:
        save_file(weights, path, {"modelspec.prediction_type": "v"})
    identity = inspect(path)
    assert (identity.kind, identity.missing, identity.prediction_type) == (ModelKind.SD1, (), "v")


def test_a_damaged_file(tmp_path, weights):
    path = tmp_path / "model.safetensors"
    save_file(weights, path)
    path.write_bytes(path.read_bytes()[:-1])
    assert refusal(path).startswith(f"--option '{path}': the file is cut short")


def test_a_hub_id_has_to_be_fetched_first():
    for inspect_source in (inspect_model, inspect_vae):
        with pytest.raises(ValueError, match="owner/model has not been fetched"):
            inspect_source(ModelSource(SourceKind.HUB, "owner/model"), "option")


# ---- folders


CONFIGURATIONS = {
    "unet/config.json": {"_class_name": "UNet2DConditionModel", "in_channels": 4, "cross_attention_dim": 32},
    "vae/config.json": {"_class_name": "AutoencoderKL"},
    "text_encoder/config.json": {"hidden_size": 32, "hidden_act": "quick_gelu"},
    "tokenizer/tokenizer.json": {},
    "scheduler/scheduler_config.json": {"prediction_type": "epsilon"},
}
WEIGHTS = (
    "unet/diffusion_pytorch_model.safetensors", "vae/diffusion_pytorch_model.safetensors",
    "text_encoder/model.safetensors",
)  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    """A diffusers folder that has as much of a small SD 1.x model as tells what it is."""
    place = tmp_path / "Mein Modell"
    for name, configuration in CONFIGURATIONS.items():
        (place / name).parent.mkdir(parents=True)
        (place / name).write_text(json.dumps(configuration))
    for name in WEIGHTS:
        save_file({name: torch.ones(shape) for name, shape in VAE_SHAPES.items()}, place / name)
    return place


def change(path: Path, **entries) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **entries}))


def test_a_whole_folder(folder):
    assert inspect(folder) == Identity(ModelKind.SD1, (), "epsilon", "its file scheduler/scheduler_config.json")


def as_sdxl(folder: Path) -> None:
    change(folder / "unet" / "config.json", addition_embed_type="text_time")
    for component in ("text_encoder", "tokenizer"):
        shutil.copytree(folder / component, folder / f"{component}_2")


def test_a_whole_sdxl_folder(folder):
    as_sdxl(folder)
    identity = inspect(folder)
    assert (identity.kind, identity.missing) == (ModelKind.SDXL, ())


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ({"cross_attention_dim": 768}, ModelKind.SD1),
        ({"cross_attention_dim": 1024}, ModelKind.SD2),
        ({"cross_attention_dim": 1024, "class_embed_type": "projection"}, ModelKind.UNCLIP),
        ({"cross_attention_dim": 2048, "addition_embed_type": "text_time"}, ModelKind.SDXL),
        ({"cross_attention_dim": 1280, "addition_embed_type": "text_time"}, ModelKind.REFINER),
        ({"in_channels": 9}, ModelKind.INPAINTING),
        ({"in_channels": 8}, ModelKind.INSTRUCTION),
        ({"in_channels": [4]}, ModelKind.SD1),
        ({"cross_attention_dim": [32, 32]}, ModelKind.SD1),
        ({"_class_name": "UNetSpatioTemporalConditionModel", "in_channels": 8}, ModelKind.VIDEO),
    ],
)
def test_kinds_by_the_unet(folder, entries, expected):
    change(folder / "unet" / "config.json", **entries)
    assert inspect(folder).kind is expected


@pytest.mark.parametrize(
    ("entries", "expected"),
    [({}, ModelKind.SD1), ({"hidden_size": 1024}, ModelKind.SD2), ({"hidden_act": "gelu"}, ModelKind.SD2)],
)
def test_kinds_by_the_text_encoder(folder, entries, expected):
    change(folder / "text_encoder" / "config.json", **entries)
    assert inspect(folder).kind is expected


@pytest.mark.parametrize("component", ["text_encoder_2", "tokenizer_2"])
def test_kinds_by_the_second_text_encoder(folder, component):
    (folder / component).mkdir()
    assert inspect(folder) == Identity(
        ModelKind.SDXL, (SECOND, "tokenizer 2"), "epsilon", "its file scheduler/scheduler_config.json"
    )


PARTS = {
    "unet": "U-Net",
    "text_encoder": FIRST,
    "text_encoder_2": SECOND,
    "tokenizer": "tokenizer",
    "tokenizer_2": "tokenizer 2",
    "vae": "VAE",
}


@pytest.mark.parametrize("component", PARTS)
def test_parts_that_are_missing(folder, component):
    as_sdxl(folder)
    names = (
        ("tokenizer.json",)
        if "tokenizer" in component
        else ("model.safetensors", "diffusion_pytorch_model.safetensors")
    )
    for name in names:
        (folder / component / name).unlink(missing_ok=True)
    assert inspect(folder).missing == (PARTS[component],)
    if component != "unet":
        shutil.rmtree(folder / component)
        assert inspect(folder).missing == (PARTS[component],)


@pytest.mark.parametrize(
    ("entries", "prediction_type", "zero_terminal_snr"),
    [
        ({"prediction_type": "v_prediction"}, "v", False),
        ({"prediction_type": "v_prediction", "rescale_betas_zero_snr": True}, "v", True),
        ({"prediction_type": "epsilon", "rescale_betas_zero_snr": False}, "epsilon", False),
        ({"prediction_type": "sample"}, None, False),
        ({"prediction_type": None}, None, False),
    ],
)
def test_schedulers(folder, entries, prediction_type, zero_terminal_snr):
    change(folder / "scheduler" / "scheduler_config.json", **entries)
    identity = inspect(folder)
    assert (identity.prediction_type, identity.zero_terminal_snr) == (prediction_type, zero_terminal_snr)


def test_no_scheduler(folder):
    shutil.rmtree(folder / "scheduler")
    assert inspect(folder) == Identity(ModelKind.SD1)


@pytest.mark.parametrize("name", [name for name in CONFIGURATIONS if "config" in name])
@pytest.mark.parametrize("content", ["", "{", "[1]", "<!DOCTYPE html>", "[" * 100_000, None])
def test_broken_configurations(folder, name, content):
    path = folder / name
    if content is not None:
        path.write_text(content)
        assert refusal(folder).startswith(f"--option '{path}' is broken (")
    else:
        path.unlink()
        if "scheduler" in name:
            assert inspect(folder).prediction_type is None
        else:
            assert refusal(folder) == f"--option '{path}' cannot be read: No such file or directory"


@pytest.mark.parametrize("name", WEIGHTS)
def test_damaged_weights(folder, name):
    path = folder / name
    content = path.read_bytes()
    path.write_bytes(content[:-100])
    assert refusal(folder).startswith(f"--option '{path}': the file is cut short: {len(content) - 100:,} bytes")
    path.write_text("version https://git-lfs.github.com/spec/v1\n" * 9)
    assert refusal(folder).startswith(f"--option '{path}': the file is a pointer of git-lfs")


@pytest.mark.parametrize("name", ["diffusion_pytorch_model.fp16.safetensors", "diffusion_pytorch_model.bin"])
def test_other_names_of_weights(folder, name):
    """Damage shows that these files are really looked into."""
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    if name.endswith(".bin"):
        torch.save({"conv_in.weight": torch.ones(1)}, path.with_name(name))
        path.unlink()
    else:
        path.rename(path.with_name(name))
    assert inspect(folder).missing == ()
    path.with_name(name).write_bytes(b"")
    assert refusal(folder) == f"--option '{path.with_name(name)}': the file is empty; download it again"


@pytest.mark.parametrize(
    "index_name",
    ["diffusion_pytorch_model.safetensors.index.json", "diffusion_pytorch_model.safetensors.index.fp16.json"],
)
def test_shards(folder, index_name):
    unet = folder / "unet"
    (unet / "diffusion_pytorch_model.safetensors").unlink()
    shards = [f"diffusion_pytorch_model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    for shard in shards:
        save_file({shard: torch.ones(2)}, unet / shard)
    index = unet / index_name
    index.write_text(json.dumps({"weight_map": {"a": shards[0], "b": shards[1], "c": shards[0]}}))
    assert inspect(folder).missing == ()
    (unet / shards[1]).unlink()
    assert refusal(folder) == f"--option '{unet / shards[1]}': No such file or directory"
    for broken in ("{", "{}", '{"weight_map": 3}', '{"weight_map": {"a": 3}}'):
        index.write_text(broken)
        assert refusal(folder) == f"--option '{index}' cannot be read; download it again"


# ---- VAEs


def vae_file(path: Path, latent_channels=4, prefix="", without=None) -> Path:
    shapes = {**VAE_SHAPES, "decoder.conv_in.weight": (8, latent_channels, 3, 3)}
    save_file({prefix + name: torch.ones(shape) for name, shape in shapes.items() if name != without}, path)
    return path


def vae_refusal(path: Path) -> str:
    source = find_vae(str(path))
    assert isinstance(source, ModelSource), source
    with pytest.raises(UserError) as caught:
        inspect_vae(source, "vae")
    (problem,) = caught.value.problems
    assert problem.startswith(f"--vae '{source.place}")
    return problem.removeprefix(f"--vae '{source.place}").removeprefix("' ")


def accept_vae(path: Path) -> None:
    source = find_vae(str(path))
    assert isinstance(source, ModelSource), source
    assert inspect_vae(source, "vae") is None


def test_vaes(tmp_path, folder, weights):
    accept_vae(vae_file(tmp_path / "original.safetensors"))
    accept_vae(vae_file(tmp_path / "prefixed.safetensors", prefix="first_stage_model."))
    save_file(weights, tmp_path / "whole model.safetensors")
    accept_vae(tmp_path / "whole model.safetensors")
    torch.save({"state_dict": weights}, tmp_path / "pickled.pt")
    accept_vae(tmp_path / "pickled.pt")
    accept_vae(folder)
    accept_vae(folder / "vae")


def test_files_without_a_vae(tmp_path, weights):
    bare = {name: tensor for name, tensor in weights.items() if not name.startswith("first_stage_model.")}
    save_file(bare, tmp_path / "model.safetensors")
    assert vae_refusal(tmp_path / "model.safetensors") == "holds no VAE: it looks like an SD 1.x model"
    save_file({"lora_unet_x.lora_up.weight": torch.ones(1)}, tmp_path / "lora.safetensors")
    expected = "holds no VAE: it looks like a LoRA or similar network, not a base model"
    assert vae_refusal(tmp_path / "lora.safetensors") == expected


def test_vaes_that_do_not_fit(tmp_path):
    path = tmp_path / "vae.safetensors"
    expected = "is the VAE of another kind of model: its latents have 16 channels, not 4"
    assert vae_refusal(vae_file(path, latent_channels=16)) == expected
    for half in ("encoder.conv_in.weight", "decoder.conv_in.weight"):
        problem = vae_refusal(vae_file(path, without=half))
        assert problem == f"is no whole VAE of Stable Diffusion's form: it lacks {half}"


def test_vae_folders_that_do_not_fit(folder):
    vae = folder / "vae"
    assert vae_refusal(folder / "unet") == (
        "holds no VAE: its config.json is that of UNet2DConditionModel, not of AutoencoderKL"
    )
    (vae / "diffusion_pytorch_model.safetensors").write_bytes(b"")
    assert "/diffusion_pytorch_model.safetensors': the file is empty" in vae_refusal(folder)
    (vae / "diffusion_pytorch_model.safetensors").unlink()
    assert vae_refusal(folder) == "has no file of weights"
    (vae / "config.json").write_text("{")
    assert vae_refusal(folder).startswith("/config.json' is broken (")


# ---- what the options say


def check(identity, script=(SD1, SD2), v2=False, v=False, snr=False, given=(), has_separate_vae=False):
    return check_identity(
        identity,
        "PLACE",
        families=script,
        v2=v2,
        v_parameterization=v,
        zero_terminal_snr=snr,
        given=frozenset(given),
        has_separate_vae=has_separate_vae,
    )


START = "--pretrained_model_name_or_path 'PLACE' "
SD1_MODEL, SDXL_MODEL = Identity(ModelKind.SD1), Identity(ModelKind.SDXL)
SD2_MODEL = Identity(ModelKind.SD2, (), "epsilon", "EVIDENCE")
V_MODEL = Identity(ModelKind.SDXL, (), "v", "EVIDENCE")
NOISE_MODEL = Identity(ModelKind.SDXL, (), "epsilon", "EVIDENCE")
SNR_MODEL = Identity(ModelKind.SDXL, (), "v", "EVIDENCE", True, "MARKER")
XL = {"script": (SDXL,)}
WRITTEN = {"given": ("v_parameterization",)}


@pytest.mark.parametrize(
    ("identity", "options"),
    [
        (SD1_MODEL, {}),
        (SD2_MODEL, {"v2": True}),
        (SDXL_MODEL, XL),
        (V_MODEL, {**XL, "v": True}),
        (NOISE_MODEL, XL),
        (SNR_MODEL, {**XL, "v": True, "snr": True}),
        (Identity(ModelKind.SD1, ("VAE",)), {"has_separate_vae": True}),
    ],
)
def test_models_that_fit(identity, options):
    assert check(identity, **options) == ([], [])


PROBLEMS = {
    "SDXL in SD script": (SDXL_MODEL, {}, "looks like an SDXL model; train it with sdxl_train_network.py"),
    "SD1 in SDXL script": (SD1_MODEL, XL, "looks like an SD 1.x model; train it with train_network.py"),
    "SD2 in SDXL script": (SD2_MODEL, XL, "looks like an SD 2.x model; train it with train_network.py --v2"),
    "SD2 without v2": (SD2_MODEL, {}, "looks like an SD 2.x model; add --v2"),
    "SD1 with v2": (SD1_MODEL, {"v2": True}, "looks like an SD 1.x model; leave out --v2"),
    "v": (V_MODEL, XL,
          "predicts v, as EVIDENCE says; add --v_parameterization, "
          "or --no_v_parameterization to train it to predict noise instead"),
    "noise": (NOISE_MODEL, {**XL, "v": True},
              "predicts noise, not v, as EVIDENCE says; leave out --v_parameterization, "
              "or, if that is wrong, correct it there"),
    "zero terminal SNR": (SNR_MODEL, {**XL, "v": True},
                          "was trained with zero terminal SNR, as MARKER says; add --zero_terminal_snr, "
                          "or --no_zero_terminal_snr to train without it"),
    "no VAE": (Identity(ModelKind.SD1, ("VAE",)), {},
               "is incomplete: it looks like an SD 1.x model without VAE; name one with --vae"),
    "no text encoders": (Identity(ModelKind.SDXL, (FIRST, SECOND, "VAE")), {**XL, "has_separate_vae": True},
                         f"is incomplete: it looks like an SDXL model without {FIRST} and {SECOND}; "
                         "give a model that has all parts"),
    "LoRA": (Identity(ModelKind.NETWORK), {},
             "looks like a LoRA or similar network, not a base model; "
             "give the model that it was trained on"),
    "VAE": (Identity(ModelKind.VAE), {}, "looks like a VAE alone; give it as --vae, and the whole model here"),
    "ControlNet": (Identity(ModelKind.CONTROLNET), {},
                   "looks like a ControlNet, not a base model; give the whole base model"),
    "unknown": (Identity(ModelKind.UNKNOWN), {},
                "looks like no Stable Diffusion model that is known here; "
                "models that can be trained here: SD 1.x, SD 2.x, SDXL"),
    "of another family": (Identity(ModelKind.FLUX), {},
                          "looks like a Flux model; models that can be trained here: SD 1.x, SD 2.x, SDXL"),
}  # fmt: skip


@pytest.mark.parametrize("case", PROBLEMS)
def test_models_that_do_not_fit(case):
    identity, options, expected = PROBLEMS[case]
    assert check(identity, **options) == ([START + expected], [])


WARNINGS = {
    "v": (V_MODEL, {**XL, **WRITTEN}, "predicts v, as EVIDENCE says, but is trained to predict noise instead"),
    "zero terminal SNR": (SNR_MODEL, {**XL, "v": True, "given": ("zero_terminal_snr",)},
                          "was trained with zero terminal SNR, as MARKER says, but the run goes on without it"),
    "SD1 that predicts v": (SD1_MODEL, {"v": True, **WRITTEN},
                            "does not say what it predicts, and is trained to predict v, as --v_parameterization asks; "
                            "most models that look like an SD 1.x model predict noise"),
    "SDXL that predicts v": (SDXL_MODEL, {**XL, "v": True, "snr": True, **WRITTEN},
                             "does not say what it predicts, and is trained to predict v, as --v_parameterization "
                             "asks; most models that look like an SDXL model predict noise"),
    "SD2 of unknown kind": (Identity(ModelKind.SD2), {"v2": True},
                            "does not say whether it predicts noise or v; it is trained to predict noise. Models for "
                            "768 pixels mostly predict v: for these, add --v_parameterization, else "
                            "--no_v_parameterization"),
}  # fmt: skip


@pytest.mark.parametrize("case", WARNINGS)
def test_models_that_are_used_otherwise_on_purpose(case):
    identity, options, expected = WARNINGS[case]
    assert check(identity, **options) == ([], [START + expected])


def test_all_problems_are_told_at_once():
    identity = Identity(ModelKind.SD2, ("text encoder",), "v", "EVIDENCE", True, "MARKER")
    problems, warnings = check(identity, given=("zero_terminal_snr",))
    assert (len(problems), len(warnings)) == (3, 1)
    assert all(text.startswith(START) for text in problems + warnings)


@pytest.mark.parametrize("kind", ModelKind)
@pytest.mark.parametrize("script", [(SD1, SD2), (SDXL,)])
def test_one_kind_fits_or_is_refused(kind, script):
    v2 = kind is ModelKind.SD2
    problems, _ = check(Identity(kind), script=script, v2=v2)
    fitting = {(SD1, SD2): {ModelKind.SD1, ModelKind.SD2}, (SDXL,): {ModelKind.SDXL}}[script]
    assert bool(problems) == (kind not in fitting)


@pytest.mark.parametrize("kind", ["folder", "whole model"])
def test_a_vae_of_another_family_is_known_where_it_says_so(tmp_path, kind):
    if kind == "folder":
        save_tiny_folder(SD1, tmp_path)
        place = ModelSource(SourceKind.FOLDER, str(tmp_path / "vae"))
    else:
        place = ModelSource(SourceKind.FILE, str(tmp_path / "model.safetensors"))
        save_file({name: value.contiguous() for name, value in original_weights_of(SD1).items()}, place.place)
    assert check_vae(place, "vae", SD1) is None
    assert check_vae(place, "vae", SD2) is None
    assert check_vae(place, "vae", SDXL) == (
        f"--vae '{place.place}' is no VAE of SDXL: its latents are scaled by 0.18215, not by 0.13025"
        + ("; if it is one, correct scaling_factor in its config.json" if kind == "folder" else "")
    )


def test_a_bare_vae_does_not_say_whose_it_is(tmp_path):
    path = tmp_path / "vae.safetensors"
    save_file({name: value.contiguous() for name, value in tiny_vae_of(SD1).state_dict().items()}, path)
    assert check_vae(ModelSource(SourceKind.FILE, str(path)), "vae", SDXL) is None
