"""GLoRA against its definition and LyCORIS."""

import pytest
import torch
from lycoris.modules.glora import GLoRAModule
from torch import nn

from library.errors import UserError
from library.models.eight_bit_weights import store_in_eight_bits
from networks.arguments import parse_arguments
from networks.kinds.glora import GLoRALayer
from networks.layers.dropouts import Dropouts
from networks.targeting.targets import UNET, LayerSize, Target
from tests.networks.kinds.formed_cases import (
    INPUTS,
    LAYERS,
    OUTPUTS,
    WIDE_LAYERS,
    as_if_trained,
    check_against_lycoris,
    check_live_forward,
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
OWN_ORDER = {
    "a1.weight": (INPUTS, RANK),
    "a2.weight": (RANK, INPUTS),
    "b1.weight": (OUTPUTS, RANK),
    "b2.weight": (RANK, INPUTS),
}

every_layer = pytest.mark.parametrize("layer", LAYERS)


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        yield


def build(layer: str, dtype=torch.float64, **options) -> GLoRALayer:
    return GLoRALayer("some_layer", frozen(layer, dtype), RANK, ALPHA, **options).to(dtype)


def test_the_change_is_of_the_weight_and_beside_it():
    adapter = as_if_trained(build("linear"))
    a1, a2, b1, b2 = (part.weight for part in (adapter.a1, adapter.a2, adapter.b1, adapter.b2))
    expected = ALPHA / RANK * (adapter.layer.weight @ a1 @ a2 + b1 @ b2)
    close(adapter.delta_weight(), expected, 1e-12)
    shapes = {name: tuple(tensor.shape) for name, tensor in adapter.named_parameters()}
    assert shapes == OWN_ORDER


def test_a_kernel_mixes_the_inputs_of_each_of_its_places():
    adapter = as_if_trained(build("3x3 convolution with stride 2"))
    a1, a2, b1, b2 = (part.weight.flatten(1) for part in (adapter.a1, adapter.a2, adapter.b1, adapter.b2))
    for row, column in ((0, 0), (1, 2)):
        place = adapter.layer.weight[:, :, row, column]
        expected = ALPHA / RANK * (place @ a1 @ a2 + b1 @ b2.view(RANK, INPUTS, 3, 3)[:, :, row, column])
        close(adapter.delta_weight()[:, :, row, column], expected, 1e-12)


@every_layer
@pytest.mark.parametrize("multiplier", [1.0, -0.7])
def test_live_forward_is_the_merged_layer(layer, multiplier):
    check_live_forward(as_if_trained(build(layer, multiplier=multiplier)))


@every_layer
def test_training_starts_from_the_model(layer):
    adapter = build(layer)
    assert adapter.delta_weight().abs().max() == 0
    starting_at_zero = adapter.plus_parameters()
    assert starting_at_zero == [adapter.a2.weight, adapter.b2.weight]
    assert all(parameter.abs().max() == 0 for parameter in starting_at_zero)
    assert adapter.a1.weight.abs().max() > 0 and adapter.b1.weight.abs().max() > 0
    for moved in gradients(adapter.adapted_output(input_for(adapter.layer)), starting_at_zero):
        assert moved.abs().max() > 1e-3


@every_layer
def test_gradients_are_those_of_finite_differences(layer):
    adapter = as_if_trained(build(layer))
    inputs = [input_for(adapter.layer), *adapter.parameters()]
    assert torch.autograd.gradcheck(lambda x, *_: adapter.adapted_output(x), inputs, fast_mode=True)


@every_layer
def test_files_hold_the_whole_change(layer):
    adapter = as_if_trained(build(layer, torch.float32))
    check_round_trip(adapter)
    check_round_trip(adapter, torch.bfloat16, tolerance=0.05)


@pytest.mark.parametrize("layer", ["linear", "1x1 convolution"])
def test_old_files_with_exchanged_names_are_read(layer):
    adapter = as_if_trained(build(layer, torch.float32))
    tensors = adapter.file_tensors()
    old = {
        "a1.weight": tensors["a2.weight"], "a2.weight": tensors["a1.weight"],
        "b1.weight": tensors["b2.weight"], "b2.weight": tensors["b1.weight"], "alpha": tensors["alpha"],
    }  # fmt: skip
    reloaded = GLoRALayer.from_tensors("some_layer", adapter.layer, old)
    assert torch.equal(reloaded.delta_weight(), adapter.delta_weight())
    fresh = GLoRALayer("some_layer", adapter.layer, RANK)
    fresh.load_tensors(old)
    assert torch.equal(fresh.delta_weight(), adapter.delta_weight())


def test_square_layers_are_read_in_the_present_order():
    layer = nn.Linear(INPUTS, INPUTS).requires_grad_(False)
    adapter = as_if_trained(GLoRALayer("some_layer", layer, RANK))
    reloaded = GLoRALayer.from_tensors("some_layer", layer, adapter.file_tensors())
    assert torch.equal(reloaded.delta_weight(), adapter.delta_weight())


def test_a_tucker_core_is_read():
    layer = frozen("3x3 convolution with stride 2", torch.float32)
    shapes = {
        "a1.weight": (INPUTS, RANK, 1, 1), "a2.weight": (RANK, INPUTS, 1, 1), "b1.weight": (OUTPUTS, RANK, 1, 1),
        "b2.weight": (RANK, INPUTS, 1, 1), "bm.weight": (RANK, RANK, 3, 3),
    }  # fmt: skip
    tensors = {name: torch.randn(shape) for name, shape in shapes.items()} | {"alpha": torch.tensor(ALPHA)}
    adapter = GLoRALayer.from_tensors("some_layer", layer, tensors)
    a1, a2, b1, b2, core = (tensors[name] for name in shapes)
    beside = torch.einsum("pqhw,op,qi->oihw", core, b1.flatten(1), b2.flatten(1))
    of_weight = torch.einsum("oihw,ir,rj->ojhw", layer.weight, a1.flatten(1), a2.flatten(1))
    close(adapter.delta_weight(), ALPHA / RANK * (of_weight + beside), 1e-5)
    assert "bm.weight" not in adapter.file_tensors()


def test_tensors_that_do_not_fit_are_named():
    tensors = build("linear").file_tensors()
    with pytest.raises(UserError) as error:
        GLoRALayer.from_tensors("some_layer", nn.Linear(INPUTS, OUTPUTS + 1), tensors)
    assert error.value.problems == (f"some_layer.b1.weight: {OUTPUTS}x{RANK} instead of {OUTPUTS + 1}x{RANK}",)
    assert not GLoRALayer.recognises({name: tensor for name, tensor in tensors.items() if name != "b2.weight"})


@pytest.mark.parametrize("layer", list(LAYERS)[:4])
def test_lycoris_computes_the_same(layer):
    adapter = as_if_trained(build(layer, torch.float32))
    check_against_lycoris(adapter, GLoRAModule("some_layer", adapter.layer, 1.0, RANK, ALPHA))


@pytest.mark.parametrize("layer", WIDE_LAYERS)
def test_a_small_change_survives_half_precision(layer):
    adapter = GLoRALayer("some_layer", frozen_wide(layer), 8)
    for parameter in adapter.plus_parameters():
        nn.init.normal_(parameter)
    assert share_of_change(adapter) == pytest.approx(1, abs=0.08)


def test_eight_bit_weights_are_changed_as_they_are_computed_with():
    layer = nn.Linear(INPUTS, OUTPUTS).requires_grad_(False)
    model = nn.Sequential(layer)
    store_in_eight_bits(model, torch.float32)
    adapter = as_if_trained(GLoRALayer("some_layer", layer, RANK))
    x = input_for(layer, torch.float32)
    inputs = [x, *adapter.parameters()]
    expected = nn.functional.linear(x, layer.expanded_weight() + adapter.delta_weight(), layer.bias)
    adapter.hook_into_layer()
    close(model(x), expected)
    for actual, wanted in zip(gradients(model(x), inputs), gradients(expected, inputs), strict=True):
        close(actual, wanted)


def test_no_expanded_weight_is_kept_for_the_backward_pass():
    layer = nn.Linear(256, 256).requires_grad_(False)
    store_in_eight_bits(nn.Sequential(layer), torch.float32)
    adapter = as_if_trained(GLoRALayer("some_layer", layer, 4))
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor.numel()) or tensor, lambda t: t):
        adapter.change(torch.randn(2, 256, requires_grad=True))
    assert len(kept) > 0
    assert max(kept) < 256 * 256


@pytest.mark.parametrize("layer", ["linear", "3x3 convolution with stride 2"])
def test_rank_dropout_leaves_out_outputs_of_the_change_in_training(layer):
    adapter = as_if_trained(build(layer, dropouts=Dropouts(rank=0.5)))
    x = input_for(adapter.layer)
    base = adapter.layer(x)
    adapter.eval()
    exact = adapter.adapted_output(x) - base
    adapter.train()
    channel = -1 if layer == "linear" else 1
    for output in (adapter.change(x), adapter.adapted_output(x) - base):
        ratios = (output / exact).movedim(channel, 0).flatten(1).mean(1)
        kept = ratios > 1
        assert 0 < kept.sum() < OUTPUTS
        close(ratios, 2 * kept.double(), 1e-6)


@every_layer
def test_shrinking_scales_the_change(layer):
    adapter = as_if_trained(build(layer))
    before = adapter.delta_weight().detach().clone()
    close(adapter.delta_norm(), before.norm(), 1e-12)
    with torch.no_grad():
        adapter.shrink(torch.tensor(0.3, dtype=torch.float64))
    close(adapter.delta_weight(), 0.3 * before, 1e-12)


@pytest.mark.parametrize("name", ["dora_wd", "use_scalar", "use_tucker"])
def test_other_kinds_forms_are_refused_for_a_file(name):
    reloaded = build("linear")
    reloaded.continue_with(parse_arguments("networks.glora", {}))
    with pytest.raises(UserError, match=f"{name}=True: the file is a GLoRA"):
        reloaded.continue_with(parse_arguments("networks.lora", {name: "True"}))


def test_arguments_reach_the_layer():
    arguments = parse_arguments("networks.glora", {"rank_dropout": "0.2", "module_dropout": "0.1"})
    target = Target("some_layer", nn.Linear(8, 8), "some.layer", UNET)
    adapter = GLoRALayer.build(target, LayerSize(4, 2.0), arguments, 0.5)
    assert (adapter.lora_dim, adapter.scale, adapter.multiplier) == (4, 0.5, 0.5)
    assert (adapter.dropouts.rank, adapter.dropouts.module) == (0.2, 0.1)
