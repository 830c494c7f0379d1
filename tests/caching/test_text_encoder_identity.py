"""Everything that changes the outputs changes their key, and nothing else does."""

import copy

import pytest
import torch
from torch import nn

from library.caching.content_identity import content_hash, text_key, weights_fingerprint
from library.caching.text_encoder_identity import settings_key
from tests.caching.stand_in_encoder import StandInEncoder

SETTINGS = {
    "family": "SDXL",
    "weights": "0a1b",
    "token_length": 75,
    "weighted_captions": False,
    "clip_skip": 1,
    "precision": torch.float32,
}
CHANGES = {
    "family": "SD 2.x",
    "weights": "0a1c",
    "token_length": 225,
    "weighted_captions": True,
    "clip_skip": 2,
    "precision": torch.bfloat16,
}


def test_a_key_is_a_folder_name_that_stays_the_same():
    assert settings_key(**SETTINGS) == settings_key(**SETTINGS) == "a85cd79fe0a738c6037555e9ae644fd3"


@pytest.mark.parametrize("name", SETTINGS)
def test_each_setting_changes_the_key(name):
    assert settings_key(**{**SETTINGS, name: CHANGES[name]}) != settings_key(**SETTINGS)


def test_keys_of_captions():
    captions = ["", " ", "a", "A", "a\n", "é", "e\u0301", "\udcff"]
    assert len({text_key(caption) for caption in captions}) == 8
    assert text_key("a cat") == "51e467415607798220a3776f6ae1a2a0"


def test_the_same_weights_have_the_same_fingerprint():
    model = StandInEncoder()
    same = copy.deepcopy(model).train().requires_grad_(False)
    assert weights_fingerprint([model]) == weights_fingerprint([same])
    assert weights_fingerprint([nn.Sequential(model)]) == weights_fingerprint([model]), "names do not matter"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float8_e4m3fn, torch.int64])
def test_one_bit_in_one_weight_changes_the_fingerprint(dtype):
    tensor = torch.arange(12).reshape(3, 4).to(dtype)
    changed = tensor.clone()
    changed.view(torch.uint8)[1, 2] ^= 1
    assert content_hash([tensor]) != content_hash([changed])
    assert content_hash([tensor]) == content_hash([tensor.clone()])


def test_kind_shape_order_and_number_of_modules_change_the_fingerprint():
    first, second = StandInEncoder(seed=0), StandInEncoder(seed=1)
    zeros = torch.zeros(4)
    hashes = [
        weights_fingerprint([first]), weights_fingerprint([second]), weights_fingerprint([first, second]),
        weights_fingerprint([second, first]), content_hash([zeros]), content_hash([zeros.reshape(2, 2)]),
        content_hash([zeros.int()]), content_hash([torch.tensor(0.0)]), content_hash([]),
        content_hash([torch.empty(0)]), content_hash([zeros[:2], zeros[2:]]),
    ]  # fmt: skip
    assert len(set(hashes)) == 11


def test_views_are_hashed_by_what_they_show():
    whole = torch.arange(12.0).reshape(3, 4)
    assert content_hash([whole.T]) == content_hash([whole.T.contiguous()])
    assert content_hash([whole.T]) != content_hash([whole.reshape(4, 3)])
