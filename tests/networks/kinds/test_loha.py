"""LoHa against its definition, LyCORIS and PEFT."""

import peft
import pytest
import torch
from lycoris.modules.loha import LohaModule
from torch import nn

from library.errors import UserError
from networks.arguments import parse_arguments
from networks.kinds.loha import LoHaLayer
from networks.layers.dropouts import Dropouts
from networks.layers.ranked_layer import Decomposition
from networks.targeting.targets import UNET, LayerSize, Target
from tests.networks.kinds.formed_cases import (
    INPUTS,
    LAYERS,
    OUTPUTS,
    WIDE_LAYERS,
    as_if_trained,
    check_against_lycoris,
    check_live_forward,
    check_peft,
    check_round_trip,
    close,
    frozen,
    frozen_wide,
    gradients,
    input_for,
    share_of_change,
)

torch.set_num_threads(1)

RANK, ALPHA = 3, 2.0
FORMS = {
    "plain": {},
    "tucker": {"has_cores": True},
    "scalar": {"has_scalar": True},
    "magnitude per input": {"decomposition": Decomposition()},
    "magnitude per output, gradient through norm": {"decomposition": Decomposition(False, norm_gradient=True)},
    "tucker, scalar, magnitude": {
        "has_cores": True,
        "has_scalar": True,
        "decomposition": Decomposition(norm_gradient=True),
    },
}

every_layer = pytest.mark.parametrize("layer", LAYERS)
every_form = pytest.mark.parametrize("form", FORMS)


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        yield


def build(layer: str, form: str, dtype=torch.float64, **options) -> LoHaLayer:
    settings = {"rank": RANK, "alpha": ALPHA, **FORMS[form], **options}
    return LoHaLayer("some_layer", frozen(layer, dtype), **settings).to(dtype)


@pytest.mark.parametrize("name", ["linear", "3x3 convolution with stride 2"])
def test_the_change_is_the_product_of_two_low_rank_matrices(name):
    adapter = as_if_trained(build(name, "plain"))
    first = torch.einsum("or,ri->oi", adapter.hada_w1_a, adapter.hada_w1_b)
    second = torch.einsum("or,ri->oi", adapter.hada_w2_a, adapter.hada_w2_b)
    expected = (ALPHA / RANK * first * second).view(adapter.layer.weight.shape)
    close(adapter.delta_weight(), expected, 1e-12)
    assert torch.linalg.matrix_rank(adapter.delta_weight().flatten(1)) == RANK**2


def test_a_tucker_form_has_a_core_for_the_kernel():
    adapter = as_if_trained(build("3x3 convolution with stride 2", "tucker"))
    shapes = {name: tuple(parameter.shape) for name, parameter in adapter.named_parameters()}
    assert shapes == {
        "hada_t1": (RANK, RANK, 3, 3),
        "hada_t2": (RANK, RANK, 3, 3),
        "hada_w1_a": (RANK, OUTPUTS),
        "hada_w2_a": (RANK, OUTPUTS),
        "hada_w1_b": (RANK, INPUTS),
        "hada_w2_b": (RANK, INPUTS),
    }
    first, second = (
        torch.einsum("pqhw,po,qi->oihw", core, a, b)
        for core, a, b in (
            (adapter.hada_t1, adapter.hada_w1_a, adapter.hada_w1_b),
            (adapter.hada_t2, adapter.hada_w2_a, adapter.hada_w2_b),
        )
    )
    close(adapter.delta_weight(), ALPHA / RANK * first * second, 1e-12)


@pytest.mark.parametrize("name", ["linear", "1x1 convolution"])
def test_nothing_is_gained_by_a_core_for_one_pixel(name):
    assert not build(name, "tucker").has_cores


@every_layer
@every_form
def test_live_forward_is_the_merged_layer(layer, form):
    check_live_forward(as_if_trained(build(layer, form)))
    check_live_forward(as_if_trained(build(layer, form, multiplier=-0.7)))


@every_layer
@every_form
def test_training_starts_from_the_model(layer, form):
    adapter = build(layer, form)
    assert adapter.delta_weight().abs().max() < 1e-6  # not 0 where a magnitude is divided by the norm it came from
    assert adapter.additive_delta().abs().max() == 0
    [starting_at_zero] = adapter.plus_parameters()
    assert starting_at_zero.abs().max() == 0
    assert starting_at_zero is (adapter.hada_w2_a if adapter.scalar is None else adapter.scalar)
    assert adapter.hada_w1_b.std().item() == pytest.approx(1, abs=0.2)
    assert adapter.hada_w1_a.std().item() == pytest.approx(0.1, abs=0.03)
    moved = gradients(adapter.adapted_output(input_for(adapter.layer)), adapter.plus_parameters())
    assert moved[0].abs().max() > 1e-3


@pytest.mark.parametrize("form", ["plain", "tucker", "tucker, scalar, magnitude"])
@pytest.mark.parametrize("layer", ["linear", "3x3 convolution with stride 2"])
def test_gradients_are_those_of_finite_differences(layer, form):
    adapter = as_if_trained(build(layer, form))
    x = input_for(adapter.layer)

    def output(*_):
        return adapter.adapted_output(x)

    inputs = [parameter for parameter in adapter.parameters() if parameter.numel() < 200]
    assert len(inputs) >= 2
    assert torch.autograd.gradcheck(output, [x, *inputs], fast_mode=True)


@every_layer
@every_form
def test_files_hold_the_whole_change(layer, form):
    adapter = as_if_trained(build(layer, form, torch.float32))
    assert "scalar" not in adapter.file_tensors()
    check_round_trip(adapter)
    check_round_trip(adapter, torch.bfloat16, tolerance=0.05)


def test_training_with_a_scalar_goes_on_from_a_file():
    adapter = as_if_trained(build("linear", "scalar"))
    resumed = build("linear", "scalar")
    resumed.load_tensors(adapter.file_tensors())
    assert resumed.scalar == 1
    close(resumed.delta_weight(), adapter.delta_weight(), 1e-12)


def test_arguments_for_a_layer_from_a_file():
    tensors = as_if_trained(build("3x3 convolution with stride 2", "plain", torch.float32)).file_tensors()
    layer = frozen("3x3 convolution with stride 2", torch.float32)
    adapter = LoHaLayer.from_tensors("some_layer", layer, tensors)
    before = adapter.delta_weight()
    adapter.continue_with(parse_arguments("networks.loha", {"use_scalar": "True", "dora_wd": "True"}))
    assert adapter.scalar == 1
    assert adapter.decomposition == Decomposition()
    close(adapter.delta_weight(), before)
    with pytest.raises(UserError, match="use_tucker=True: the file's convolutions are not split so"):
        adapter.continue_with(parse_arguments("networks.loha", {"use_tucker": "True"}))


def test_tensors_that_do_not_fit_are_named():
    tensors = build("linear", "plain").file_tensors()
    with pytest.raises(UserError) as error:
        LoHaLayer.from_tensors("some_layer", nn.Linear(INPUTS + 1, OUTPUTS), tensors)
    assert error.value.problems == (
        f"some_layer.hada_w1_b: {RANK}x{INPUTS} instead of {RANK}x{INPUTS + 1}",
        f"some_layer.hada_w2_b: {RANK}x{INPUTS} instead of {RANK}x{INPUTS + 1}",
    )
    assert not LoHaLayer.recognises({name: tensor for name, tensor in tensors.items() if name != "hada_w2_b"})


@pytest.mark.parametrize("layer", list(LAYERS)[:4])
@pytest.mark.parametrize("per_input", [None, True, False])
@pytest.mark.parametrize("has_cores", [False, True])
def test_lycoris_computes_the_same(layer, per_input, has_cores):
    decomposition = None if per_input is None else Decomposition(per_input, norm_gradient=True)
    adapter = build(layer, "plain", torch.float32, decomposition=decomposition, has_cores=has_cores)
    peer = LohaModule(
        "some_layer", adapter.layer, 1.0, RANK, ALPHA, use_tucker=has_cores,
        weight_decompose=per_input is not None, wd_on_out=per_input is False,
    )  # fmt: skip
    check_against_lycoris(as_if_trained(adapter), peer)


def test_lycoris_folds_the_scalar_into_the_same_factor():
    adapter = as_if_trained(build("linear", "scalar", torch.float32))
    peer = LohaModule("some_layer", adapter.layer, 1.0, RANK, ALPHA, use_scalar=True)
    peer.load_state_dict(dict(adapter.named_parameters()), strict=False)
    with torch.no_grad():
        peer.scalar.copy_(adapter.scalar)
    written = peer.custom_state_dict()
    own = adapter.file_tensors()
    assert written.keys() == own.keys()
    for suffix, tensor in written.items():
        close(own[suffix], tensor, 1e-6)


@pytest.mark.parametrize("layer", list(LAYERS)[:4])
@pytest.mark.parametrize("has_cores", [False, True])
def test_peft_computes_the_same(layer, has_cores):
    adapter = as_if_trained(build(layer, "plain", torch.float32, has_cores=has_cores))
    config = peft.LoHaConfig(r=RANK, alpha=ALPHA, target_modules=["layer"], use_effective_conv2d=has_cores)
    # PEFT multiplies the gradients of the one product's outputs by the core of the other.
    wrong_there = frozenset({"hada_w1_a", "hada_w2_a"}) if adapter.has_cores else frozenset()
    check_peft(adapter, config, wrong_there)


@pytest.mark.parametrize("layer", WIDE_LAYERS)
@pytest.mark.parametrize("decomposition", [None, Decomposition()])
def test_a_small_change_survives_half_precision(layer, decomposition):
    adapter = LoHaLayer("some_layer", frozen_wide(layer), 8, decomposition=decomposition)
    for factor in ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"):
        nn.init.normal_(getattr(adapter, factor))
    assert share_of_change(adapter) == pytest.approx(1, abs=0.08)


def test_only_the_input_and_the_factors_are_kept_for_the_backward_pass():
    adapter = LoHaLayer("some_layer", nn.Linear(512, 512).requires_grad_(False), 4, decomposition=Decomposition())
    x = torch.randn(8, 512, requires_grad=True)
    kept = {}
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.setdefault(tensor.data_ptr(), tensor), id):
        adapter.adapted_output(x)
    sizes = sorted(tensor.numel() for tensor in kept.values() if tensor.data_ptr() != adapter.layer.weight.data_ptr())
    assert sizes == sorted([x.numel(), 512, *[4 * 512] * 4])


def test_rank_dropout_leaves_out_outputs_of_the_change_in_training():
    adapter = as_if_trained(build("linear", "plain", dropouts=Dropouts(rank=0.5)))
    x = input_for(adapter.layer)
    whole = adapter.change(x)
    adapter.eval()
    close(adapter.change(x), nn.functional.linear(x, adapter.delta_weight()), 1e-12)
    adapter.train()
    exact = nn.functional.linear(x, adapter.delta_weight())
    for output in (whole, adapter.adapted_output(x) - adapter.layer(x)):
        ratios = (output / exact).mean((0, 1))
        kept = ratios > 1
        assert 0 < kept.sum() < OUTPUTS
        close(ratios, 2 * kept.double(), 1e-9)
    plain = build("linear", "plain", dropouts=Dropouts(rank=0.5, rank_is_scaled=False))
    assert set(plain.kept_outputs().unique().tolist()) == {0, 1}


@every_form
def test_shrinking_scales_the_change(form):
    adapter = as_if_trained(build("3x3 convolution with stride 2", form))
    before = adapter.additive_delta().detach().clone()
    close(adapter.delta_norm(), before.norm(), 1e-12)
    with torch.no_grad():
        adapter.shrink(torch.tensor(0.3, dtype=torch.float64))
    close(adapter.additive_delta(), 0.3 * before, 1e-12)


def test_arguments_reach_the_layer():
    given = {"use_tucker": "True", "use_scalar": "True", "dora_wd": "True", "rs_lora": "True", "rank_dropout": "0.1"}
    arguments = parse_arguments("networks.loha", given)
    target = Target("some_layer", LAYERS["3x3 convolution with stride 2"](), "some.layer", UNET)
    adapter = LoHaLayer.build(target, LayerSize(4, 2.0), arguments, 0.5)
    assert adapter.has_cores and adapter.scalar is not None and adapter.decomposition == Decomposition()
    assert (adapter.lora_dim, adapter.multiplier, adapter.dropouts.rank) == (4, 0.5, 0.1)
    assert float(adapter.alpha) == pytest.approx(4.0)
    assert adapter.scale == pytest.approx(2 / 4**0.5)
