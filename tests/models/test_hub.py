"""Models from a hub, with the hub's client replaced."""

import errno
import json
import threading
from fnmatch import fnmatch
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError, RepositoryNotFoundError

from library.errors import UserError
from library.models import hub as hub_module
from library.models.hub import Hub

FILES = (
    "unet/config.json", "unet/diffusion_pytorch_model.safetensors", "vae/config.json",
    "vae/diffusion_pytorch_model.bin", "text_encoder/config.json", "text_encoder/model.safetensors",
    "tokenizer/vocab.json", "tokenizer/merges.txt",
)  # fmt: skip
SECOND_TEXT_ENCODER = (
    "text_encoder_2/config.json", "text_encoder_2/model.safetensors", "tokenizer_2/tokenizer.json",
)  # fmt: skip
MODEL = "owner/model"


def put(folder: Path, files=FILES) -> Path:
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def http_error(kind):
    return kind("refused", response=SimpleNamespace(headers={}, request=None))


class FakeHub:
    """Has what lies in `here`; answers and downloads as it is told."""

    def __init__(self, here: Path | None, downloaded: Path | Exception, answer: Exception | None = None, files=FILES):
        self.here, self.downloaded, self.answer, self.files = here, downloaded, answer, files
        self.asked: list[str] = []
        self.fetched: list[str] = []

    def model_info(self, hub_id, timeout):
        self.asked.append(hub_id)
        if self.answer is not None:
            raise self.answer
        return SimpleNamespace(siblings=[SimpleNamespace(rfilename=name) for name in self.files])

    def snapshot_download(self, hub_id, allow_patterns, local_files_only=False):
        if local_files_only and self.here is None:
            raise LocalEntryNotFoundError("nothing here")
        result = self.here if local_files_only else self.downloaded
        if isinstance(result, Exception):
            raise result
        if not local_files_only:
            self.fetched = [name for name in self.files if any(fnmatch(name, one) for one in allow_patterns)]
        return str(result)


@pytest.fixture
def use(monkeypatch):
    def use_client(client: FakeHub) -> Hub:
        monkeypatch.setattr(huggingface_hub, "HfApi", lambda: client)
        monkeypatch.setattr(huggingface_hub, "snapshot_download", client.snapshot_download)
        return Hub()

    return use_client


@pytest.fixture
def fetch(use):
    return lambda client: use(client).fetch_model(MODEL, "pretrained_model_name_or_path")


def test_a_complete_local_copy_asks_nobody(fetch, tmp_path):
    client = FakeHub(put(tmp_path), AssertionError())
    assert fetch(client) == tmp_path
    assert client.asked == []


@pytest.mark.parametrize("missing", FILES)
def test_an_interrupted_download_is_gone_on_with(fetch, tmp_path, missing):
    here = put(tmp_path / "here", [name for name in FILES if name != missing])
    client = FakeHub(here, tmp_path / "downloaded")
    assert fetch(client) == tmp_path / "downloaded"
    assert client.asked == [MODEL]


SDXL_INDEX = {
    "_class_name": "StableDiffusionXLPipeline",
    "text_encoder_2": ["transformers", "x"],
    "tokenizer_2": ["t", "x"],
}


@pytest.mark.parametrize("missing", [None, *SECOND_TEXT_ENCODER])
def test_what_has_to_be_here_follows_from_the_index(fetch, tmp_path, missing):
    here = put(tmp_path / "here", [name for name in (*FILES, *SECOND_TEXT_ENCODER) if name != missing])
    (here / "model_index.json").write_text(json.dumps(SDXL_INDEX))
    client = FakeHub(here, tmp_path / "downloaded")
    assert fetch(client) == (here if missing is None else tmp_path / "downloaded")


@pytest.mark.parametrize("index", [{"text_encoder_2": [None, None]}, {}, {"tokenizer_2": None}, [1]])
def test_what_the_index_does_without(fetch, tmp_path, index):
    here = put(tmp_path / "here")
    (here / "model_index.json").write_text(json.dumps(index))
    assert fetch(FakeHub(here, AssertionError())) == here


@pytest.mark.parametrize(
    ("weights", "is_complete"),
    [
        (["diffusion_pytorch_model.fp16.safetensors"], True),
        (["diffusion_pytorch_model.bin"], True),
        (["s-00001-of-00002", "s-00002-of-00002", "diffusion_pytorch_model.safetensors.index.json"], True),
        (["s-00001-of-00002", "diffusion_pytorch_model.safetensors.index.json"], False),
        (["diffusion_flax_model.msgpack"], False),
    ],
)
def test_forms_of_weights_that_are_here(fetch, tmp_path, weights, is_complete):
    here = put(tmp_path / "here", [name for name in FILES if "unet/diffusion" not in name])
    put(here, [f"unet/{name}" for name in weights])
    index = here / "unet" / weights[-1]
    if weights[-1].endswith(".json"):
        index.write_text(json.dumps({"weight_map": {"a": "s-00001-of-00002", "b": "s-00002-of-00002"}}))
    assert fetch(FakeHub(here, tmp_path / "downloaded")) == (here if is_complete else tmp_path / "downloaded")


def test_nothing_here_is_downloaded(fetch, tmp_path):
    assert fetch(FakeHub(None, tmp_path)) == tmp_path


UNWANTED = (
    "README.md", "model.safetensors", "v1-5-pruned.ckpt", "safety_checker/config.json",
    "safety_checker/model.safetensors",
    "unet/diffusion_pytorch_model.fp16.safetensors", "unet/diffusion_pytorch_model.bin", "unet/model.onnx",
    "vae/diffusion_pytorch_model.fp16.safetensors", "text_encoder/pytorch_model.bin", "text_encoder/flax_model.msgpack",
    "vae_1_0/config.json",
)  # fmt: skip
WANTED = (
    *FILES, *SECOND_TEXT_ENCODER, "model_index.json", "scheduler/scheduler_config.json",
    "tokenizer/special_tokens_map.json",
)  # fmt: skip


def test_what_is_needed_is_downloaded_and_nothing_else(fetch, tmp_path):
    client = FakeHub(None, tmp_path, files=(*UNWANTED, *WANTED))
    fetch(client)
    assert sorted(client.fetched) == sorted(WANTED)


SHARDS = [f"unet/diffusion_pytorch_model-0000{number}-of-00002.safetensors" for number in (1, 2)]
HALF_SHARDS = [f"unet/diffusion_pytorch_model.fp16-0000{number}-of-00002.safetensors" for number in (1, 2)]
INDEX = "unet/diffusion_pytorch_model.safetensors.index.json"
HALF_INDEX = "unet/diffusion_pytorch_model.safetensors.index.fp16.json"


@pytest.mark.parametrize(
    ("there", "fetched"),
    [
        (["unet/diffusion_pytorch_model.fp16.safetensors"], ["unet/diffusion_pytorch_model.fp16.safetensors"]),
        (["unet/diffusion_pytorch_model.fp16.safetensors", "unet/diffusion_pytorch_model.bin"],
         ["unet/diffusion_pytorch_model.bin"]),
        ([INDEX, *SHARDS, HALF_INDEX, *HALF_SHARDS], [INDEX, *SHARDS]),
        ([HALF_INDEX, *HALF_SHARDS], [HALF_INDEX, *HALF_SHARDS]),
    ],
)  # fmt: skip
def test_which_weights_are_downloaded(fetch, tmp_path, there, fetched):
    others = [name for name in FILES if "unet/diffusion" not in name]
    client = FakeHub(None, tmp_path, files=(*others, *there))
    fetch(client)
    assert sorted(client.fetched) == sorted([*others, *fetched])


def test_a_hub_id_of_single_files(fetch, tmp_path):
    client = FakeHub(None, tmp_path, files=("model.safetensors", "README.md"))
    with pytest.raises(
        UserError, match=r"'owner/model': the hub has no diffusers model under this name.*give its path"
    ):
        fetch(client)


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
    client = FakeHub(put(tmp_path, FILES[:1]) if here else None, downloaded or tmp_path, answer)
    with pytest.raises(UserError, match=rf"--pretrained_model_name_or_path 'owner/model'.*{message}"):
        fetch(client)


def test_waiting_ends_even_where_the_client_heeds_no_limit(use, tmp_path, monkeypatch):
    """As when the name of the hub's host is looked up without a network."""
    monkeypatch.setattr(hub_module, "ANSWER_WITHIN", 0.05)
    released = threading.Event()
    client = FakeHub(None, tmp_path)
    monkeypatch.setattr(client, "model_info", lambda hub_id, timeout: released.wait(60))
    with pytest.raises(UserError, match=r"the hub cannot be reached \(TimeoutError\)"):
        use(client).fetch_model(MODEL, "vae")
    released.set()


# ---- what a run asks


def test_a_hub_that_is_silent_is_asked_once(use, tmp_path):
    client = FakeHub(None, tmp_path, TimeoutError())
    hub = use(client)
    for fetch_part, option in ((hub.fetch_model, "pretrained_model_name_or_path"), (hub.fetch_vae, "vae")):
        with pytest.raises(UserError, match=rf"--{option} 'owner/{option}'.*cannot be reached \(TimeoutError"):
            fetch_part(f"owner/{option}", option)
    assert client.asked == ["owner/pretrained_model_name_or_path"]
    with pytest.raises(UserError):
        Hub().fetch_model(MODEL, "vae")
    assert client.asked[1:] == [MODEL], "a second run asks anew"


def test_a_model_that_is_not_there_does_not_make_the_hub_silent(use, tmp_path):
    client = FakeHub(None, tmp_path, http_error(RepositoryNotFoundError))
    hub = use(client)
    with pytest.raises(UserError, match="no such model"):
        hub.fetch_model(MODEL, "pretrained_model_name_or_path")
    client.answer = None
    assert hub.fetch_vae("owner/other", "vae") == tmp_path


def test_the_same_id_is_asked_for_once(use, tmp_path):
    client = FakeHub(None, put(tmp_path))
    hub = use(client)
    assert hub.fetch_model(MODEL, "pretrained_model_name_or_path") == tmp_path
    assert hub.fetch_vae(MODEL, "vae") == tmp_path / "vae"
    assert client.asked == [MODEL]


# ---- VAEs

ALONE = ("config.json", "diffusion_pytorch_model.safetensors")


@pytest.mark.parametrize(
    ("files", "folder"), [(ALONE, "."), ([f"vae/{name}" for name in ALONE], "vae"), (FILES, "vae")]
)
def test_a_vae_that_is_here(use, tmp_path, files, folder):
    client = FakeHub(put(tmp_path, files), AssertionError())
    assert use(client).fetch_vae(MODEL, "vae") == tmp_path / folder
    assert client.asked == []


@pytest.mark.parametrize(
    ("files", "fetched"),
    [
        ((*ALONE, "README.md", "diffusion_pytorch_model.bin", "other.safetensors"), ALONE),
        (FILES, ("vae/config.json", "vae/diffusion_pytorch_model.bin")),
    ],
)
@pytest.mark.parametrize("here", [(), ("config.json",), ("vae/config.json",)])
def test_a_vae_that_is_downloaded(use, tmp_path, files, fetched, here):
    client = FakeHub(put(tmp_path / "here", here) if here else None, put(tmp_path / "there", fetched), files=files)
    vae = use(client).fetch_vae(MODEL, "vae")
    assert sorted(client.fetched) == sorted(fetched)
    assert vae == (tmp_path / "there" / fetched[0]).parent


def test_a_hub_id_without_a_vae(use, tmp_path):
    client = FakeHub(None, tmp_path, files=("vae.safetensors", "unet/config.json"))
    with pytest.raises(UserError, match=r"--vae 'owner/model': the hub has no VAE in diffusers' form.*give its path"):
        use(client).fetch_vae(MODEL, "vae")
