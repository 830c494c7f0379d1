"""What a network file holds, without a model."""

import pytest
import torch
from torch import nn

from networks.files.client_support import Form
from networks.verification.file_contents import examine_contents
from tests.networks.files.random_files import every_form, file_of, lora_of, normal

LINEAR, NAME = nn.Linear(12, 8), "lora_unet_mid_block_attentions_0_transformer_blocks_0_ff_net_2"
FORMS = every_form(LINEAR)


def test_layers_sizes_and_precisions():
    small, large = lora_of(LINEAR), lora_of(LINEAR, rank=8, alpha=1.0)
    tensors = {name: tensor.half() for name, tensor in file_of({"a": small, "b": small}).items()}
    tensors["a.lora_up.weight"][0, 0] = -7.5
    contents = examine_contents(tensors | file_of({"c": large, "d": FORMS["full"], "e": FORMS["lora, dora per input"]}))
    assert contents.layers == ["a", "b", "c", "d", "e"]
    assert contents.sizes == {(4, 2.0): 3, (8, 1.0): 1, None: 1}
    assert contents.forms == {Form.LORA: 4, Form.FULL: 1, Form.DORA_PER_INPUT: 1}
    assert contents.dtypes == {"float16": 6, "float32": 3 + 1 + 4}
    assert contents.largest == 7.5
    assert not contents.not_finite
    assert not contents.unknown


@pytest.mark.parametrize(
    ("form", "size"),
    [
        ("loha", (4, 2.0)),
        ("lokr", (4, 2.0)),
        ("lokr, first factored", (2, 2.0)),
        ("lokr, both factored", (4, 2.0)),
        ("lokr, full", None),
        ("glora", (4, 2.0)),
        ("ia3 on inputs", None),
        ("oft", None),
        ("full with bias", None),
    ],
)
def test_rank_and_alpha_of_each_kind(form, size):
    assert examine_contents(file_of({NAME: FORMS[form]})).sizes == {size: 1}


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite(number):
    tensors = file_of({"a": lora_of(LINEAR), "b": lora_of(LINEAR)})
    tensors["b.lora_down.weight"][2, 3] = number
    contents = examine_contents(tensors)
    assert contents.not_finite == ["b.lora_down.weight"]
    assert 0 < contents.largest <= 4.0


def test_unknown_kinds_and_empty_files():
    contents = examine_contents({"a.strange": normal(2), "b.diff": torch.zeros(0, 3)})
    assert contents.unknown == ["a"]
    nothing = examine_contents({})
    assert (nothing.layers, nothing.largest) == ([], 0.0)
