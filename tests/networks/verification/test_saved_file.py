"""The check of a saved file against the network that it was saved from."""

import pytest
import torch

from library.errors import UserError
from networks.files.weights_file import read_network_file, write_network_file
from networks.verification.live_comparison import LayerComparison
from networks.verification.saved_file import Verification, verify_saved_file
from tests.networks.adapted_model import AdaptedModel
from tests.networks.network_cases import CASES, NetworkCase

SIZE = 0.1
PRECISIONS = {"fp32": None, "bf16": torch.bfloat16}


class Saved:
    """A network on a model, its file, and how to verify that."""

    def __init__(self, case: NetworkCase, folder, dtype=None, size=SIZE, base_dtype=torch.float32):
        self.model = AdaptedModel(base_dtype)
        self.network = self.model.apply(case, size)
        self.file = folder / "network.safetensors"
        self.network.save_weights(str(self.file), dtype, {})

    def verify(self) -> Verification:
        return verify_saved_file(self.file, *self.model.views())

    def rewrite(self, changes=None, without: str = "nothing") -> None:
        kept = {key: value for key, value in read_network_file(self.file).items() if not key.startswith(without)}
        write_network_file(self.file, kept | (changes or {}), None, {})


@pytest.mark.parametrize("dtype", PRECISIONS.values(), ids=PRECISIONS)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_correct_file_of_every_kind(case, dtype, tmp_path):
    saved = Saved(case, tmp_path, dtype)
    verification = saved.verify()
    assert verification.problems() == []
    assert len(verification.compared) == len(saved.network.layers())
    assert "compute what was trained" in str(verification)


WAYS_TO_HALF = {
    "bf16 model": (torch.bfloat16, None),
    "fp16 model": (torch.float16, None),
    "bf16 autocast": (torch.float32, torch.bfloat16),
    "fp16 autocast": (torch.float32, torch.float16),
}


def test_layers_that_changed_too_little_are_said(tmp_path):
    said = str(Saved(CASES["lora, convolutions"], tmp_path, size=1e-9).verify())
    assert said == "23 layers changed too little to be told from rounding"


FIRST_OF_EACH_MODULE = {case.module: name for name, case in reversed(CASES.items())}
OF_OTHER_LAYERS = ("lora, norms", "lora, pissa", "dora per output", "loha, decomposed", "oft, rescaled")


def test_number_of_cases():
    assert len(CASES) == 45
    assert len({*FIRST_OF_EACH_MODULE.values(), *OF_OTHER_LAYERS}) == 17


@pytest.mark.parametrize("way", WAYS_TO_HALF.values(), ids=WAYS_TO_HALF)
@pytest.mark.parametrize("name", [*FIRST_OF_EACH_MODULE.values(), *OF_OTHER_LAYERS])
def test_small_changes_in_half_precision(name, way, tmp_path):
    """Less than the outputs are rounded by: what is right passes, the double does not."""
    base_dtype, autocast = way
    saved = Saved(CASES[name], tmp_path, torch.bfloat16, 3e-3, base_dtype)
    with torch.autocast("cpu", autocast, enabled=autocast is not None):
        assert saved.verify().problems() == []
        for layer in saved.network.layers():
            layer.multiplier = 2.0
        assert len(saved.verify().differing) == len(saved.network.layers())


@pytest.fixture
def saved(tmp_path):
    return Saved(CASES["lora, convolutions"], tmp_path)


@pytest.mark.parametrize(("suffix", "factor"), [("lora_up.weight", 2.0), ("alpha", 0.5), ("lora_down.weight", -1.0)])
def test_a_layer_with_other_numbers_is_named(saved, suffix, factor):
    name = saved.network.layers()[7].lora_name
    saved.rewrite({f"{name}.{suffix}": factor * read_network_file(saved.file)[f"{name}.{suffix}"]})
    (differing,) = saved.verify().differing
    assert differing.name == name
    (problem,) = saved.verify().problems()
    assert problem.startswith(f"1 of 23 layers do not compute what was trained; worst: {name}, off by")


def test_the_other_axis_of_dora_on_a_square_layer(tmp_path):
    saved = Saved(CASES["dora"], tmp_path)
    name = "lora_te_text_model_encoder_layers_0_self_attn_q_proj"
    magnitudes = read_network_file(saved.file)[f"{name}.dora_scale"]
    assert magnitudes.shape == (1, 16)
    saved.rewrite({f"{name}.dora_scale": magnitudes.T.contiguous()})
    assert [layer.name for layer in saved.verify().differing] == [name]


def test_a_layer_that_the_file_lacks_is_named(saved):
    name = saved.network.layers()[3].lora_name
    saved.rewrite(without=f"{name}.")
    assert saved.verify().problems() == [f"1 layer of the network missing, such as {name}"]


def test_what_else_replaces_a_forward_is_no_network(tmp_path):
    model = AdaptedModel()
    model.store_in_eight_bits()
    network = model.apply(CASES["ia3"], SIZE)
    file = tmp_path / "network.safetensors"
    network.save_weights(str(file), None, {})
    assert verify_saved_file(file, *model.views()).problems() == []


def test_layers_that_the_model_lacks_and_unknown_kinds(saved):
    strange = {
        "lora_unet_nowhere.lora_down.weight": torch.ones(2, 4),
        "lora_unet_nowhere.lora_up.weight": torch.ones(4, 2),
        "lora_unet_conv_in.strange": torch.ones(1),
    }
    saved.rewrite(strange)
    problems = saved.verify().problems()
    assert problems == [
        "1 layer that the model does not have, such as lora_unet_nowhere",
        "1 layer of a kind that cannot be checked, such as lora_unet_conv_in",
    ]


def test_a_model_whose_network_changed_since(saved):
    with torch.no_grad():
        for parameter in saved.network.parameters():
            parameter.mul_(1.2)
    assert len(saved.verify().differing) == 23
    saved.model.remove(saved.network)
    assert len(saved.verify().differing) == 23


def test_no_file(saved, tmp_path):
    with pytest.raises(UserError, match=r"gone\.safetensors' cannot be read"):
        verify_saved_file(tmp_path / "gone.safetensors", *saved.model.views())


def test_layers_that_give_no_numbers_are_the_worst():
    compared = [LayerComparison("a", 9.0, 1.0), LayerComparison("b", float("nan"), 1.0), LayerComparison("c", 0.0, 1.0)]
    (problem,) = Verification(compared, unknown=[], unmatched=[], missing=[]).problems()
    assert problem == "2 of 3 layers do not compute what was trained; worst: b, which gives no numbers"
