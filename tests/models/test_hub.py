"""Models from a hub, with the hub's client replaced."""

import errno
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError, RepositoryNotFoundError

from library.errors import UserError
from library.models.hub import fetch_model

FILES = (
    "unet/config.json", "unet/diffusion_pytorch_model.safetensors", "vae/config.json",
    "vae/diffusion_pytorch_model.bin", "text_encoder/config.json", "text_encoder/model.safetensors",
    "tokenizer/vocab.json",
)  # fmt: skip


def put(folder: Path, files=FILES) -> Path:
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def http_error(kind):
    return kind("refused", response=SimpleNamespace(headers={}, request=None))


class FakeHub:
    """Has what lies in `here`; answers and downloads as it is told."""

    def __init__(self, here: Path | None, downloaded: Path | Exception, answer: Exception | None = None):
        self.here, self.downloaded, self.answer = here, downloaded, answer
        self.asked = False

    def model_info(self, hub_id, timeout):
        self.asked = True
        if self.answer is not None:
            raise self.answer

    def snapshot_download(self, hub_id, allow_patterns, local_files_only=False):
        if local_files_only and self.here is None:
            raise LocalEntryNotFoundError("nothing here")
        result = self.here if local_files_only else self.downloaded
        if isinstance(result, Exception):
            raise result
        return str(result)


@pytest.fixture
def fetch(monkeypatch):
    def fetch_from(hub: FakeHub) -> Path:
        monkeypatch.setattr(huggingface_hub, "HfApi", lambda: hub)
        monkeypatch.setattr(huggingface_hub, "snapshot_download", hub.snapshot_download)
        return fetch_model("owner/model", "pretrained_model_name_or_path")

    return fetch_from


def test_a_complete_local_copy_asks_nobody(fetch, tmp_path):
    hub = FakeHub(put(tmp_path), AssertionError())
    assert fetch(hub) == tmp_path
    assert not hub.asked


@pytest.mark.parametrize("missing", FILES)
def test_an_interrupted_download_is_gone_on_with(fetch, tmp_path, missing):
    here = put(tmp_path / "here", [name for name in FILES if name != missing])
    hub = FakeHub(here, tmp_path / "downloaded")
    assert fetch(hub) == tmp_path / "downloaded"
    assert hub.asked


def test_nothing_here_is_downloaded(fetch, tmp_path):
    assert fetch(FakeHub(None, tmp_path)) == tmp_path


@pytest.mark.parametrize(
    ("here", "answer", "downloaded", "message"),
    [
        (False, http_error(RepositoryNotFoundError), None, "no such model on the hub"),
        (False, http_error(GatedRepoError), None, "asks for consent; give it at https://huggingface.co/owner/model"),
        (False, TimeoutError(), None, r"not on this computer, and the hub cannot be reached \(TimeoutError"),
        (True, TimeoutError(), None, r"only in part on this computer, and the hub cannot be reached"),
        (False, None, http_error(GatedRepoError), "asks for consent"),
        (False, None, OSError(errno.ENOSPC, "No space left", "/c/x"), "cannot be stored in '/c/x': No space left"),
        (False, None, RuntimeError("slow"), "the download failed; start again.*RuntimeError: slow"),
        (False, None, ConnectionResetError(errno.ECONNRESET, "reset"), "the download failed"),
    ],
)
def test_each_failure_has_its_words(fetch, tmp_path, here, answer, downloaded, message):
    hub = FakeHub(put(tmp_path, FILES[:1]) if here else None, downloaded or tmp_path, answer)
    with pytest.raises(UserError, match=rf"--pretrained_model_name_or_path 'owner/model'.*{message}"):
        fetch(hub)
