"""LoKr against its definition, LyCORIS and PEFT."""

import peft
import pytest
import torch
from lycoris.functional.general import factorization
from lycoris.modules.lokr import LokrModule
from torch import nn

from library.errors import UserError
from networks.arguments import parse_arguments
from networks.kinds.kronecker_shapes import KroneckerShapes, factorize, plan_shapes
from networks.kinds.lokr import LoKrLayer
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

RANK, ALPHA = 2, 3.0
SHAPES = {
    "default": {},
    "factor 2": {"factor": 2},
    "factor 2, unbalanced": {"factor": 2, "unbalanced": True},
    "full matrix": {"full_matrix": True},
    "both decomposed": {"rank": 1, "decompose_both": True},
    "unbalanced, both decomposed": {"factor": 2, "rank": 1, "decompose_both": True, "unbalanced": True},
    "first decomposed": {"rank": 3, "factor": 2, "decompose_both": True, "unbalanced": True},
}
"""As the arguments name them; the shapes for 24 inputs and 16 outputs are asserted below."""
OPTIONS = {
    "plain": {},
    "scalar": {"has_scalar": True},
    "magnitude": {"decomposition": Decomposition()},
    "scalar and magnitude per output": {"has_scalar": True, "decomposition": Decomposition(False, norm_gradient=True)},
}

every_layer = pytest.mark.parametrize("layer", LAYERS)
every_shape = pytest.mark.parametrize("shape", SHAPES)
every_option = pytest.mark.parametrize("option", OPTIONS)


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(6)
        yield


def build(layer: str, shape: str = "default", option: str = "plain", dtype=torch.float64, **options) -> LoKrLayer:
    base = frozen(layer, dtype)
    settings = {"rank": RANK, **SHAPES[shape]}
    shapes = plan_shapes(base.weight.shape, **settings)
    return LoKrLayer("some_layer", base, settings["rank"], ALPHA, shapes=shapes, **{**OPTIONS[option], **options}).to(
        dtype
    )


def test_sizes_are_divided_as_in_lycoris():
    factors = [-1, *range(1, 20), 32, 64, 500]
    pairs = [(size, factor) for size in [*range(1, 200), 320, 640, 768, 1280, 2560, 5120, 10240] for factor in factors]
    assert len(pairs) == 206 * 23
    assert [factorize(*pair) for pair in pairs] == [factorization(*pair) for pair in pairs]
    assert factorize(1280) == (32, 40)
    assert factorize(1280, 8) == (8, 160)
    assert factorize(1280, 7) == (5, 256)
    assert factorize(127) == (1, 127)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ("default", KroneckerShapes((4, 4), (4, 6), None, 2)),
        ("factor 2", KroneckerShapes((2, 2), (8, 12), None, 2)),
        ("factor 2, unbalanced", KroneckerShapes((8, 2), (2, 12), None, 2)),
        ("full matrix", KroneckerShapes((4, 4), (4, 6), None, None)),
        ("both decomposed", KroneckerShapes((4, 4), (4, 6), 1, 1)),
        ("unbalanced, both decomposed", KroneckerShapes((8, 2), (2, 12), 1, 1)),
        ("first decomposed", KroneckerShapes((8, 2), (2, 12), 3, 3)),
    ],
)
def test_planned_shapes(shape, expected):
    assert plan_shapes((OUTPUTS, INPUTS), **{"rank": RANK, **SHAPES[shape]}) == expected


@every_layer
@every_shape
def test_shapes_are_those_of_lycoris(layer, shape):
    adapter = build(layer, shape, dtype=torch.float32)
    assert {name: tuple(tensor.shape) for name, tensor in adapter.file_tensors().items()} == {
        name: tuple(tensor.shape) for name, tensor in peer_of(adapter, shape).custom_state_dict().items()
    }


def peer_of(adapter: LoKrLayer, shape: str, **options) -> LokrModule:
    settings = dict(SHAPES[shape])
    rank = settings.pop("rank", RANK)
    if "unbalanced" in settings:
        settings["unbalanced_factorization"] = settings.pop("unbalanced")
    return LokrModule("some_layer", adapter.layer, 1.0, rank, ALPHA, **settings, **options)


@pytest.mark.parametrize("layer", ["linear", "3x3 convolution with stride 2"])
@every_shape
def test_the_change_is_a_kronecker_product(layer, shape):
    adapter = as_if_trained(build(layer, shape))
    tensors = adapter.file_tensors()
    first = tensors.get("lokr_w1")
    first = tensors["lokr_w1_a"] @ tensors["lokr_w1_b"] if first is None else first
    second = tensors.get("lokr_w2")
    second = tensors["lokr_w2_a"] @ tensors["lokr_w2_b"] if second is None else second
    kernel = adapter.layer.weight.shape[2:]
    second = second.view(second.shape[0], -1, kernel.numel())
    expected = torch.einsum("ac,bdk->abcdk", first, second).reshape(adapter.layer.weight.shape)
    scale = 1.0 if shape == "full matrix" else ALPHA / adapter.lora_dim
    close(adapter.delta_weight(), scale * expected, 1e-12)


def test_nothing_is_scaled_where_no_matrix_has_a_rank():
    adapter = build("linear", "full matrix")
    assert (adapter.scale, adapter.alpha) == (1, RANK)
    # whatever alpha a file holds
    tensors = as_if_trained(adapter).file_tensors() | {"alpha": torch.tensor(0.5)}
    for reloaded in (LoKrLayer.from_tensors("some_layer", adapter.layer, tensors), build("linear", "full matrix")):
        reloaded.load_tensors(tensors)
        assert reloaded.scale == 1
        assert reloaded.alpha == reloaded.lora_dim
        close(reloaded.delta_weight().double(), adapter.delta_weight(), 1e-6)


def test_the_second_matrix_has_the_rank_that_counts():
    tensors = {
        "lokr_w1_a": torch.randn(4, 1), "lokr_w1_b": torch.randn(1, 4), "alpha": torch.tensor(3.0),
        "lokr_w2_a": torch.randn(4, 2), "lokr_w2_b": torch.randn(2, 6),
    }  # fmt: skip
    adapter = LoKrLayer.from_tensors("some_layer", frozen("linear", torch.float32), tensors)
    assert (adapter.lora_dim, adapter.scale) == (2, 1.5)
    first, second = (tensors[f"lokr_w{number}_a"] @ tensors[f"lokr_w{number}_b"] for number in (1, 2))
    close(adapter.delta_weight(), 1.5 * torch.kron(first, second), 1e-6)


@every_layer
@every_shape
@every_option
def test_live_forward_is_the_merged_layer(layer, shape, option):
    check_live_forward(as_if_trained(build(layer, shape, option, multiplier=-0.7)))


def test_both_ways_of_computing_were_tested():
    is_narrow = {shape: build("linear", shape)._has_narrow_form for shape in SHAPES}
    assert is_narrow == {
        "default": True,
        "factor 2": True,
        "factor 2, unbalanced": True,
        "full matrix": False,
        "both decomposed": True,
        "unbalanced, both decomposed": True,
        "first decomposed": True,
    }
    assert not build("linear", "default", "magnitude")._has_narrow_form


@every_layer
@every_shape
@every_option
def test_training_starts_from_the_model(layer, shape, option):
    adapter = build(layer, shape, option)
    assert adapter.delta_weight().abs().max() < 1e-6
    assert adapter.additive_delta().abs().max() == 0
    [starting_at_zero] = adapter.plus_parameters()
    assert starting_at_zero.abs().max() == 0
    others = [parameter for parameter in adapter.parameters() if parameter is not starting_at_zero]
    assert all(parameter.abs().max() > 0 for parameter in others)
    moved = gradients(adapter.adapted_output(input_for(adapter.layer)), [starting_at_zero])
    assert moved[0].abs().max() > 1e-3


@pytest.mark.parametrize("layer", ["linear", "1x1 convolution", "3x3 convolution with stride 2"])
@pytest.mark.parametrize("shape", ["default", "full matrix", "both decomposed"])
def test_gradients_are_those_of_finite_differences(layer, shape):
    adapter = as_if_trained(build(layer, shape, "scalar"))
    inputs = [input_for(adapter.layer), *adapter.parameters()]
    assert torch.autograd.gradcheck(lambda x, *_: adapter.adapted_output(x), inputs, fast_mode=True)


@every_layer
@every_shape
@every_option
def test_files_hold_the_whole_change(layer, shape, option):
    adapter = as_if_trained(build(layer, shape, option, torch.float32))
    reloaded = check_round_trip(adapter)
    assert reloaded.shapes == adapter.shapes
    check_round_trip(adapter, torch.bfloat16, tolerance=0.05)


@pytest.mark.parametrize("has_decomposition", [False, True])
def test_files_in_tucker_form_are_read(has_decomposition):
    layer = frozen("3x3 convolution with stride 2", torch.float32)
    peer = LokrModule(
        "some_layer", layer, 1.0, RANK, ALPHA, use_tucker=True, factor=2, weight_decompose=has_decomposition
    )
    with torch.no_grad():
        for name, parameter in peer.named_parameters():
            if name != "dora_scale":
                parameter.normal_()
    tensors = {suffix: tensor.detach() for suffix, tensor in peer.custom_state_dict().items()}
    assert tensors["lokr_t2"].shape == (RANK, RANK, 3, 3)
    assert LoKrLayer.recognises(tensors)
    adapter = LoKrLayer.from_tensors("some_layer", layer, tensors)
    x = input_for(layer, torch.float32)
    close(adapter.adapted_output(x), peer(x))
    written = adapter.file_tensors()
    assert "lokr_t2" not in written
    assert (written["lokr_w2_a"].shape, written["lokr_w2_b"].shape) == ((8, RANK), (RANK, 12 * 9))
    assert (written["alpha"], adapter.scale) == (ALPHA, ALPHA / RANK)
    adapter.load_tensors(tensors)
    close(adapter.adapted_output(x), peer(x))


def test_training_with_a_scalar_goes_on_from_a_file():
    for shape, factor in (("default", "lokr_w1"), ("both decomposed", "lokr_w1_a")):
        adapter = as_if_trained(build("linear", shape, "scalar"))
        written = adapter.file_tensors()
        close(written[factor], getattr(adapter, factor) * adapter.scalar, 1e-12)
        resumed = build("linear", shape, "scalar")
        resumed.load_tensors(written)
        assert resumed.scalar == 1
        close(resumed.delta_weight(), adapter.delta_weight(), 1e-12)


def test_tensors_that_do_not_fit_are_named():
    tensors = build("linear").file_tensors()
    with pytest.raises(UserError) as error:
        LoKrLayer.from_tensors("some_layer", nn.Linear(INPUTS, OUTPUTS + 2), tensors)
    assert error.value.problems == (
        f"some_layer: lokr_w1 and lokr_w2 make a weight of {OUTPUTS}x{INPUTS} instead of {OUTPUTS + 2}x{INPUTS}",
    )
    with pytest.raises(UserError) as error:
        build("linear", "full matrix").load_tensors(tensors)
    assert set(error.value.problems) == {
        "some_layer.lokr_w2 is missing",
        "some_layer.lokr_w2_a has no place in this network",
        "some_layer.lokr_w2_b has no place in this network",
    }
    assert not LoKrLayer.recognises({name: tensor for name, tensor in tensors.items() if name != "lokr_w2_b"})


@pytest.mark.parametrize("layer", list(LAYERS)[:4])
@every_shape
@pytest.mark.parametrize("per_input", [None, True, False])
def test_lycoris_computes_the_same(layer, shape, per_input):
    decomposition = None if per_input is None else Decomposition(per_input, norm_gradient=True)
    adapter = as_if_trained(build(layer, shape, dtype=torch.float32, decomposition=decomposition))
    peer = peer_of(adapter, shape, weight_decompose=per_input is not None, wd_on_out=per_input is False)
    check_against_lycoris(adapter, peer)


@pytest.mark.parametrize("layer", list(LAYERS)[:4])
@pytest.mark.parametrize("shape", ["default", "factor 2", "both decomposed"])
def test_peft_computes_the_same(layer, shape):
    adapter = as_if_trained(build(layer, shape, dtype=torch.float32))
    settings = {"rank": RANK, "factor": -1, **SHAPES[shape]}
    config = peft.LoKrConfig(
        r=settings["rank"], alpha=ALPHA, decompose_factor=settings["factor"],
        decompose_both=settings.get("decompose_both", False), target_modules=["layer"],
    )  # fmt: skip
    check_peft(adapter, config)


@pytest.mark.parametrize("layer", WIDE_LAYERS)
@pytest.mark.parametrize("full_matrix", [False, True])
def test_a_small_change_survives_half_precision(layer, full_matrix):
    base = frozen_wide(layer)
    adapter = LoKrLayer("some_layer", base, 4, shapes=plan_shapes(base.weight.shape, 4, full_matrix=full_matrix))
    assert adapter._has_narrow_form is not full_matrix
    nn.init.normal_(adapter.plus_parameters()[0])
    assert share_of_change(adapter) == pytest.approx(1, abs=0.08)


def test_the_product_is_never_formed_where_two_narrow_ones_do():
    base = nn.Linear(512, 512).requires_grad_(False)
    adapter = LoKrLayer("some_layer", base, 4, shapes=plan_shapes((512, 512), 4, 8))
    formed = []
    adapter.additive_delta = lambda: formed.append(1)
    x = torch.randn(8, 512, requires_grad=True)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor.numel()) or tensor, lambda t: t):
        adapter.adapted_output(x)
    assert not formed
    assert max(size for size in kept if size != base.weight.numel()) <= 512 * 8 * 4  # kron(w1, w2_a)


@pytest.mark.parametrize("shape", ["default", "full matrix"])
@pytest.mark.parametrize("layer", ["linear", "3x3 convolution with stride 2"])
def test_rank_dropout_leaves_out_outputs_of_the_change_in_training(layer, shape):
    adapter = as_if_trained(build(layer, shape, dropouts=Dropouts(rank=0.5)))
    x = input_for(adapter.layer)
    base = adapter.layer(x)
    adapter.eval()
    exact = adapter.adapted_output(x) - base
    close(adapter.change(x), exact, 1e-9)
    adapter.train()
    channel = -1 if layer == "linear" else 1
    for output in (adapter.change(x), adapter.adapted_output(x) - base):
        ratios = (output / exact).movedim(channel, 0).flatten(1).mean(1)
        kept = ratios > 1
        assert 0 < kept.sum() < OUTPUTS
        close(ratios, 2 * kept.double(), 1e-6)


@every_shape
@every_option
def test_shrinking_scales_the_change(shape, option):
    adapter = as_if_trained(build("3x3 convolution with stride 2", shape, option))
    before = adapter.additive_delta().detach().clone()
    close(adapter.delta_norm(), before.norm(), 1e-12)
    with torch.no_grad():
        adapter.shrink(torch.tensor(0.3, dtype=torch.float64))
    close(adapter.additive_delta(), 0.3 * before, 1e-12)


def test_arguments_reach_the_layer():
    given = {"factor": "8", "decompose_both": "True", "unbalanced_factorization": "True", "use_scalar": "True"}
    target = Target("some_layer", nn.Linear(64, 64), "some.layer", UNET)
    adapter = LoKrLayer.build(target, LayerSize(2, 1.0), parse_arguments("networks.lokr", given), 0.5)
    assert adapter.shapes == plan_shapes((64, 64), 2, 8, True, False, True)
    assert adapter.scalar is not None
    assert (adapter.multiplier, adapter.scale) == (0.5, 0.5)
    arguments = parse_arguments("networks.lokr", {"full_matrix": "True", "dora_wd": "True", "wd_on_output": "True"})
    adapter = LoKrLayer.build(target, LayerSize(2, 1.0), arguments, 1.0)
    assert adapter.shapes == plan_shapes((64, 64), 2, full_matrix=True)
    assert adapter.decomposition == Decomposition(per_input=False)
