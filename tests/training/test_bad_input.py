"""Whatever is wrong: one clear message, exit code 1, no traceback, nothing left behind."""

import re
from pathlib import Path

import pytest
from PIL import Image

from tests.training.command import as_words, least_arguments, train


@pytest.fixture
def arguments(tiny_model, train_data_dir, tmp_path):
    return least_arguments(tiny_model, train_data_dir, tmp_path / "out put")


def images_of(arguments) -> Path:
    return Path(arguments["--train_data_dir"]) / "3_sks cat"


def refuse(capsys, arguments, *messages: str) -> None:
    """The command fails with all these messages, and creates nothing."""
    output_dir = Path(arguments["--output_dir"])
    existed = output_dir.exists()
    assert train(*as_words(arguments)) == 1
    shown = capsys.readouterr().err
    assert "Traceback" not in shown
    for message in messages:
        assert message in shown
    assert output_dir.exists() == existed


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("gone.safetensors", "there is no such file or folder"),
        ("folder/gone", "'folder/gone'"),
        ("{folder}", "it has no sub-folder 'unet'"),
        ("{text}", "a file of an unknown kind"),
        ("{broken}", "not a safetensors file"),
        ("{pickle}", "damaged or not a checkpoint"),
    ],
)
def test_models_that_cannot_be_used(capsys, arguments, tmp_path, model, message):
    places = {name: tmp_path / name for name in ("folder", "text", "broken", "pickle")}
    places["folder"].mkdir()
    places["text"] = places["text"].with_suffix(".md")
    places["broken"] = places["broken"].with_suffix(".safetensors")
    places["pickle"] = places["pickle"].with_suffix(".ckpt")
    for name in ("text", "broken", "pickle"):
        places[name].write_text("this is not a model")
    arguments["--pretrained_model_name_or_path"] = model.format(**places)
    refuse(capsys, arguments, "--pretrained_model_name_or_path", message)


def test_missing_dataset_folder(capsys, arguments, tmp_path):
    arguments["--train_data_dir"] = str(tmp_path / "gone")
    refuse(capsys, arguments, "--train_data_dir", "gone", "No such file or directory")


def test_dataset_folder_without_named_folders(capsys, arguments, tmp_path):
    (tmp_path / "flat").mkdir()
    Image.new("RGB", (64, 64)).save(tmp_path / "flat" / "a.png")
    arguments["--train_data_dir"] = str(tmp_path / "flat")
    refuse(capsys, arguments, "--train_data_dir", "REPEATS_CLASS", "10_sks dog")


def test_a_dataset_without_any_usable_subset(capsys, arguments, tmp_path):
    (tmp_path / "data.toml").write_text("[[datasets]]\nresolution = 64\n[[datasets.subsets]]\n", encoding="utf-8")
    del arguments["--train_data_dir"]
    arguments |= {"--dataset_config": str(tmp_path / "data.toml"), "--cache_latents_to_disk": None}
    refuse(capsys, arguments, "dataset 1, subset 1: image_dir is missing")


def test_no_images(capsys, arguments):
    for path in images_of(arguments).iterdir():
        path.unlink()
    refuse(capsys, arguments, "holds no images", "3_sks cat")


ERROR = {"--unreadable_images": "error"}


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n"])
def test_unreadable_image(capsys, arguments, content):
    (images_of(arguments) / "image 3.png").write_bytes(content)
    refuse(capsys, {**arguments, **ERROR}, "image 3.png", "replace or remove it")


def test_truncated_image(capsys, arguments):
    path = images_of(arguments) / "image 3.png"
    path.write_bytes(path.read_bytes()[:-200])
    refuse(capsys, {**arguments, **ERROR}, "image 3.png", "cut short", "replace or remove it")


@pytest.mark.parametrize("policy", ["error", "stop"])
def test_image_that_is_damaged_inside(capsys, arguments, policy):
    """Only decoding finds this; with cached latents that happens before anything is written."""
    damage(images_of(arguments) / "image 3.png")
    changes = {"--cache_latents": None, "--unreadable_images": policy}
    refuse(capsys, {**arguments, **changes}, "image 3.png", "replace or remove it")


@pytest.mark.parametrize("changes", [{}, {"--unreadable_images": "stop"}])
def test_unreadable_images_do_not_prevent_the_training(capsys, arguments, changes):
    (images_of(arguments) / "image 2.png").write_bytes(b"")
    (images_of(arguments) / "image 3.png").write_bytes(b"<html>")
    assert train(*as_words({**arguments, **changes})) == 0
    shown = capsys.readouterr().err
    assert "2 of 5 images" in shown
    assert "the file is empty: image 2.png" in shown
    assert "it is a web page, not an image: image 3.png" in shown
    assert "Traceback" not in shown


@pytest.mark.parametrize(
    ("changes", "said"), [({}, "it counts nothing"), ({"--cache_latents": None}, "since encoding failed")]
)
def test_damage_that_shows_while_training_does_not_end_it(capsys, arguments, changes, said):
    damage(images_of(arguments) / "image 3.png")
    assert train(*as_words({**arguments, **changes, "--max_train_steps": "15"})) == 0
    shown = capsys.readouterr().err
    assert re.search(f"{said}: .*image 3.png'?: the file is cut short or damaged", shown)
    assert "Traceback" not in shown


def damage(path: Path) -> None:
    """So that the header and the end are sound."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def test_caption_that_is_no_text(capsys, arguments):
    (images_of(arguments) / "image 1.txt").write_bytes((images_of(arguments) / "image 1.png").read_bytes())
    refuse(capsys, arguments, "image 1.txt", "it is not text")


def test_missing_captions(capsys, arguments):
    images_of(arguments).rename(images_of(arguments).with_name("3"))  # no class words
    arguments["--caption_extension"] = ".caption"
    message = "without a caption: 5 of 5 training images, which is more than a tenth"
    refuse(capsys, arguments, message, "--caption_extension .txt uses .txt files", "--allow_missing_captions")
    assert train(*as_words({**arguments, "--allow_missing_captions": None})) == 0
    assert "; trained with an empty caption" in capsys.readouterr().err


def test_output_folder_that_cannot_be_written(capsys, arguments, tmp_path):
    (tmp_path / "file").write_text("")
    arguments["--output_dir"] = str(tmp_path / "file" / "out")
    refuse(capsys, arguments, "--output_dir", "is a file, not a folder")


def test_unknown_option(capsys, arguments):
    refuse(capsys, {**arguments, "--lerning_rate": "1"}, "--lerning_rate", "Did you mean --learning_rate?")


@pytest.mark.parametrize("resolution", ["63", "32,64", "0", "-64", "512,512,512", "abc"])
def test_resolution(capsys, arguments, resolution):
    refuse(capsys, {**arguments, "--resolution": resolution}, "--resolution")


@pytest.mark.parametrize("resolution", ["100", "64,100"])
def test_resolution_that_is_no_multiple_of_a_latent_cell(capsys, arguments, resolution):
    refuse(capsys, {**arguments, "--resolution": resolution}, "multiples of 8 pixels; nearest: ")


@pytest.mark.parametrize(
    ("option", "value"),
    [("--network_dim", "-4"), ("--network_dim", "0"), ("--network_alpha", "-1"), ("--network_dropout", "1.5")],
)
def test_network_values(capsys, arguments, option, value):
    refuse(capsys, {**arguments, option: value}, f"{option} {value}: must be ")


def test_all_images_smaller_than_a_bucket_step(capsys, arguments):
    for path in images_of(arguments).glob("*.png"):
        Image.new("RGB", (63, 40)).save(path)
    buckets = {"--enable_bucket": None, "--bucket_no_upscale": None}
    refuse(capsys, {**arguments, **buckets}, "no image is left to train", "--bucket_no_upscale")


def test_bucket_steps_that_the_model_cannot_use(capsys, arguments):
    buckets = {"--enable_bucket": None, "--min_bucket_reso": "64", "--bucket_reso_steps": "32"}
    refuse(capsys, {**arguments, **buckets}, "bucket_reso_steps 32: SD 1.x needs a multiple of 64 pixels")


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--network_module", "networks.lorra", "Did you mean networks.lora?"),
        ("--network_module", "json", "it is no network module, since it lacks create_network"),
        ("--network_args", "conv_dim=x", "conv_dim=x: must be a whole number"),
        ("--network_args", "droput=0.1", "Did you mean dropout?"),
        ("--optimizer_type", "AdamV", "Did you mean Adam?"),
        ("--optimizer_args", "wd=1", "AdamW has no such argument"),
        ("--mixed_precision", "fp16", "needs a GPU"),
        ("--sample_prompts", "gone.txt", "--sample_prompts 'gone.txt': No such file"),
        ("--metadata_thumbnail", "gone.png", "there is no such file"),
        ("--text_encoder_lr", "0", "nothing would be trained"),
    ],
)
def test_other_values(capsys, arguments, option, value, message):
    if option == "--text_encoder_lr":
        arguments |= {"--unet_lr": "0"}
    refuse(capsys, {**arguments, option: value}, option if "nothing" not in message else "", message)


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--network_module", "networks.lorra", "Did you mean networks.lora?"),
        ("--network_module", "no_such_package.kohya", "there is no such module"),
        ("--network_args", "conv_dim=x", "conv_dim=x: must be a whole number"),
        ("--learning_rate", "0", "nothing would be trained"),
    ],
)
def test_networks_are_checked_together_with_the_rest(capsys, arguments, option, value, message):
    refuse(capsys, {**arguments, option: value, "--seed": "abc"}, message, "--seed abc")


def test_a_folder_where_the_final_file_belongs(capsys, arguments):
    (Path(arguments["--output_dir"]) / "tiny.safetensors").mkdir(parents=True)
    refuse(capsys, arguments, "--output_name", "tiny.safetensors' is a folder")


def test_two_rates_for_one_text_encoder(capsys, arguments):
    words = [*as_words(arguments), "--text_encoder_lr", "1e-4", "2e-4"]
    assert train(*words) == 1
    assert "2 rates were given, but SD 1.x has 1 text encoder" in capsys.readouterr().err


def test_bad_prompts_are_found_before_training(capsys, arguments, tmp_path):
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a cat --w 64\na dog --ss pndm\n")
    options = {"--sample_prompts": str(prompts), "--sample_at_first": None}
    refuse(capsys, {**arguments, **options}, "prompt 2: the sampler 'pndm' is not available in this version yet")
    prompts.write_text("a cat --w wide\n")
    refuse(capsys, {**arguments, **options}, "line 1: --w wide: must be a number")


def test_everything_wrong_is_reported_at_once(capsys, arguments, tmp_path):
    arguments |= {
        "--pretrained_model_name_or_path": "gone.safetensors",
        "--train_data_dir": str(tmp_path / "gone"),
        "--network_dim": "-1",
        "--optimizer_type": "AdamV",
        "--adaptive_noise_scale": "1",
        "--network_args": "conv_dim=x",
        "--shufle_caption": None,
    }
    refuse(
        capsys, arguments, "7 problems were found", "gone.safetensors", "--train_data_dir", "--network_dim -1",
        "--optimizer_type AdamV", "--adaptive_noise_scale", "Did you mean --shuffle_caption?", "conv_dim=x",
    )  # fmt: skip


def test_nothing_given(capsys):
    assert train() == 1
    shown = capsys.readouterr().err
    for option in ("pretrained_model_name_or_path", "output_dir", "network_module", "train_data_dir", "resolution"):
        assert f"--{option}" in shown


def test_a_loss_that_is_not_a_number_stops_the_run(capsys, arguments):
    arguments |= {"--learning_rate": "1e30", "--max_grad_norm": "0", "--max_train_steps": "20"}
    assert train(*as_words(arguments)) == 1
    assert "training has diverged" in capsys.readouterr().err
    assert not list(Path(arguments["--output_dir"]).glob("*.safetensors"))


def test_output_config_never_overwrites(capsys, arguments, tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text("seed = 1\n")
    words = [*as_words(arguments), "--config_file", str(file), "--output_config"]
    assert train(*words) == 1
    assert "exists already" in capsys.readouterr().err
    assert file.read_text() == "seed = 1\n"
