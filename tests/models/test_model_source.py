"""What a user may name as the base model, or as its VAE."""

from pathlib import Path

import pytest

from library.models.model_source import MODEL_EXTENSIONS, ModelSource, SourceKind, find_model, find_vae

NAMES = ("model", "mit Leerzeichen und Ümläuten", "模型", "v1.5-pruned", "it's 100%")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("extension", [*sorted(MODEL_EXTENSIONS), ".SAFETENSORS", ".Ckpt"])
def test_files(tmp_path, name, extension):
    path = tmp_path / "Ordner für alles" / f"{name}{extension}"
    path.parent.mkdir()
    path.touch()
    assert find_model(str(path)) == ModelSource(SourceKind.FILE, str(path))


def test_known_extensions():
    assert {".safetensors", ".ckpt", ".pt", ".pth", ".bin"} == MODEL_EXTENSIONS


@pytest.mark.parametrize("name", NAMES)
def test_folders(tmp_path, name):
    folder = tmp_path / name
    (folder / "unet").mkdir(parents=True)
    assert find_model(str(folder)) == ModelSource(SourceKind.FOLDER, str(folder))
    assert find_model(f"{folder}/") == ModelSource(SourceKind.FOLDER, str(folder))


def test_a_folder_may_look_like_a_file(tmp_path):
    folder = tmp_path / "model.safetensors"
    (folder / "unet").mkdir(parents=True)
    assert find_model(str(folder)) == ModelSource(SourceKind.FOLDER, str(folder))


@pytest.mark.parametrize("content", [[], ["UNET"], ["model.safetensors"], ["unet.safetensors", "vae/x"]])
def test_folders_that_hold_no_model(tmp_path, content):
    folder = tmp_path / "Modelle"
    folder.mkdir()
    for name in content:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    message = find_model(str(folder))
    assert message == (
        f"--pretrained_model_name_or_path '{folder}' is a folder, but not a diffusers model: "
        "it has no sub-folder 'unet'"
    )


@pytest.mark.parametrize("name", ["model.zip", "model.txt", "model", "model.safetensors.part", "model.onnx"])
def test_files_of_unknown_kinds(tmp_path, name):
    path = tmp_path / name
    path.touch()
    message = find_model(str(path))
    assert isinstance(message, str)
    assert message.startswith(f"--pretrained_model_name_or_path '{path}' is a file of an unknown kind")
    assert ".safetensors" in message


@pytest.mark.parametrize("name", ["runwayml/stable-diffusion-v1-5", "a/b", "Owner_1/model.v2", "o-w/n_a-m.e"])
def test_hub_ids(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    assert find_model(name) == ModelSource(SourceKind.HUB, name)


def test_what_exists_comes_before_the_hub(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("owner/name/unet").mkdir(parents=True)
    assert find_model("owner/name") == ModelSource(SourceKind.FOLDER, str(Path("owner/name")))
    Path("owner/file.ckpt").touch()
    assert find_model("owner/file.ckpt") == ModelSource(SourceKind.FILE, str(Path("owner/file.ckpt")))


@pytest.mark.parametrize(
    "name",
    [
        "model.safetensors",
        "models/sd15.safetensors",
        "models/sd15.CKPT",
        "models/deeper/sd15",
        "models/with blank",
        "/models/sd15",
        "model",
        "./model",
        "../model",
        "model/..",
        "model/",
        "C:\\models\\sd15",
        "owner/name/",
        "https://example.com/model",
        "owner/a--b",
        "owner/a..b",
        "-owner/name",
        "owner/name.",
        "owner/name.git",
        "Modèle/été",
    ],
)
def test_missing_paths(tmp_path, monkeypatch, name):
    """A path that is none of the hub's must not become a question to the hub."""
    monkeypatch.chdir(tmp_path)
    assert find_model(name) == f"--pretrained_model_name_or_path '{name}': there is no such file or folder"


def test_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    (tmp_path / "model é.ckpt").touch()
    assert find_model("~/model é.ckpt") == ModelSource(SourceKind.FILE, str(tmp_path / "model é.ckpt"))


def test_links(tmp_path):
    (tmp_path / "real.safetensors").touch()
    link = tmp_path / "link.safetensors"
    link.symlink_to("real.safetensors")
    assert find_model(str(link)) == ModelSource(SourceKind.FILE, str(link))
    link.unlink()
    link.symlink_to("gone.safetensors")
    assert isinstance(find_model(str(link)), str)


# ---- VAEs


@pytest.mark.parametrize("extension", sorted(MODEL_EXTENSIONS))
def test_vae_files(tmp_path, extension):
    path = tmp_path / f"vae{extension}"
    path.touch()
    assert find_vae(str(path)) == ModelSource(SourceKind.FILE, str(path))


@pytest.mark.parametrize(
    ("files", "place"),
    [(["config.json"], "."), (["vae/config.json"], "vae"), (["config.json", "vae/config.json"], "vae")],
)
def test_vae_folders(tmp_path, files, place):
    folder = tmp_path / "Modell für mich"
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    assert find_vae(str(folder)) == ModelSource(SourceKind.FOLDER, str(folder / place))


@pytest.mark.parametrize("content", [[], ["vae.safetensors"], ["unet/config.json", "vae/x"]])
def test_folders_without_a_vae(tmp_path, content):
    for name in content:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert find_vae(str(tmp_path)) == (
        f"--vae '{tmp_path}' is a folder without a VAE: "
        "it has neither a file 'config.json' nor a file 'vae/config.json'"
    )


def test_other_vaes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_vae("stabilityai/sd-vae-ft-mse") == ModelSource(SourceKind.HUB, "stabilityai/sd-vae-ft-mse")
    assert find_vae("gone.vae.pt") == "--vae 'gone.vae.pt': there is no such file or folder"
    Path("vae.zip").touch()
    assert str(find_vae("vae.zip")).startswith("--vae 'vae.zip' is a file of an unknown kind")
