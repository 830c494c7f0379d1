"""Every kind of network and its main variants, and everything that must hold of a network.

Each test is one property, tried on a whole model with every case of `network_cases`.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch

from networks.arguments import MODULES, parse_arguments
from networks.files.weights_file import read_network_file
from networks.kinds.catalogue import OF_MODULE, tensors_by_layer
from networks.network.creation import NetworkModule
from networks.network.layer_network import LayerNetwork
from networks.targeting.targets import LayerSize, Target
from tests.networks.adapted_model import (
    AdaptedModel,
    all_gradients,
    as_if_trained,
    inputs_of_layers,
    relative_difference,
    use_reference,
)
from tests.networks.files.independent_reader import bias_change, changed_weight
from tests.networks.network_cases import ALPHA, CASES, EXCEPTIONS, RANK, NetworkCase

LARGE, SMALL = 0.2, 1e-3
"""Sizes of changes, relative to the weights."""

HALF = {"fp16": torch.float16, "bf16": torch.bfloat16}
WAYS_TO_HALF = {"under autocast": True, "base model": False}

WITHOUT_NETWORK_DROPOUT, WITHOUT_RANK_DROPOUT = 26, 11
"""Numbers of cases that are exceptions."""

MATRIX: dict[str, list[str]] = {}
"""Property -> the cases it is tried with."""


def every_case(test: Callable[..., None]) -> Any:
    """For a test of a property, which gives it its name."""
    name = test.__name__.removeprefix("test_")
    MATRIX[name] = [case for case in CASES if case_kind(case) not in EXCEPTIONS.get(name, {})]
    return pytest.mark.parametrize("case", [CASES[case] for case in MATRIX[name]], ids=MATRIX[name])(test)


def case_kind(case: str) -> str:
    return CASES[case].module.removeprefix("networks.")


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(9)
        yield


# ---- what is computed


@every_case
def test_live_forward_is_that_of_changed_weights(case):
    model = AdaptedModel(torch.float64)
    base = model.output()
    network = model.apply(case, LARGE)
    outputs = {}
    for strength in (0.0, 0.5, 1.0):
        network.set_multiplier(strength)
        outputs[strength] = model.output()
    assert relative_difference(outputs[0.0], base) < 1e-12
    model.remove(network)
    changes = [(adapted.layer, adapted.delta_weight(), adapted.delta_bias()) for adapted in network.layers()]
    for strength in (0.5, 1.0):
        for layer, delta, delta_bias in changes:
            layer.weight.data = layer.weight.data + delta.data / 2
            if delta_bias is not None:
                layer.bias.data = layer.bias.data + delta_bias.data / 2
        assert relative_difference(model.output(), base) > 0.01
        assert relative_difference(model.output(), outputs[strength]) < 1e-12


@every_case
def test_merging_is_exact(case):
    for strength in (0.5, 1.0):
        model = AdaptedModel()
        base = model.output()
        network = model.apply(case, LARGE)
        network.set_multiplier(strength)
        live = model.output()
        model.remove(network)
        model.create(case, strength).merge_to(*model.views(), network.file_tensors())
        assert relative_difference(model.output(), base) > 0.01
        assert relative_difference(model.output(), live) < 1e-5


@every_case
def test_gradients_are_those_of_plain_autograd(case):
    model = AdaptedModel(torch.float64)
    network = model.apply(case, LARGE)
    network.set_multiplier(0.7)
    output, found = model.gradients(network)
    use_reference(network, 0.7)
    plain_output, expected = model.gradients(network)
    assert relative_difference(output, plain_output) < 1e-12
    assert relative_difference(all_gradients(found), all_gradients(expected)) < 1e-12


@every_case
def test_gradients_by_finite_differences(case):
    """Of one small layer of each type that the case changes. Norms that count as constants have other gradients than
    finite differences: for those, see the comparison with plain autograd."""
    arguments = parse_arguments(case.module, case.arguments)
    if getattr(arguments, "dora_wd", False):
        arguments = dataclasses.replace(arguments, norm_gradient=True)
    layers: list[Any] = [torch.nn.Linear(6, 8)]
    if "conv_dim" in case.arguments or "preset" in case.arguments:
        layers.append(torch.nn.Conv2d(6, 8, 3, stride=2, padding=1))
    for layer in layers:
        target = Target("some_layer", layer.requires_grad_(False), "some.layer", "unet")
        alpha = 0.0 if arguments.ALPHA_IS_CONSTRAINT else ALPHA
        adapted = OF_MODULE[case.module].build(target, LayerSize(RANK, alpha), arguments, 0.7)
        network = LayerNetwork([], [adapted])
        network.apply_to(None, None)
        as_if_trained(network, LARGE)
        layer.double()
        network.double().eval()
        x = torch.randn((2, 6) if layer.weight.ndim == 2 else (1, 6, 4, 3), dtype=torch.float64, requires_grad=True)
        trained = tuple(network.get_trainable_params())
        assert torch.autograd.gradcheck(lambda x, *_, layer=layer: layer(x), (x, *trained), fast_mode=True)


@every_case
def test_gradient_checkpointing_changes_nothing(case):
    """With everything random that the kind has."""
    gradients = []
    for checkpointed in (False, True):
        model = AdaptedModel(torch.float64)
        network = model.apply(case, LARGE, dropout="0.2", rank_dropout="0.2", module_dropout="0.2")
        network.train()
        model.unet.train()
        model.text_encoder.train()
        if checkpointed:
            model.unet.enable_gradient_checkpointing()
            model.text_encoder.gradient_checkpointing_enable({"use_reentrant": False})
        torch.manual_seed(11)
        gradients.append(all_gradients(model.gradients(network)[1]))
    assert relative_difference(*gradients) < 1e-12


@every_case
def test_weights_in_eight_bits(case):
    model = AdaptedModel()
    model.store_in_eight_bits()
    base = model.output()
    network = model.apply(case)
    assert relative_difference(model.output(), base) < 1e-5
    as_if_trained(network, LARGE)
    output, found = model.gradients(network)
    assert relative_difference(output, base) > 0.01
    use_reference(network)
    plain_output, expected = model.gradients(network)
    assert relative_difference(output, plain_output) < 1e-5
    assert relative_difference(all_gradients(found), all_gradients(expected)) < 1e-4


# ---- half precision


@pytest.mark.parametrize("autocast", WAYS_TO_HALF.values(), ids=WAYS_TO_HALF)
@pytest.mark.parametrize("dtype", HALF.values(), ids=HALF)
@every_case
def test_half_precision(case, dtype, autocast):
    model = AdaptedModel(rounded_to=dtype)
    network = model.apply(case, LARGE)
    expected, expected_gradients = model.gradients(network)
    if not autocast:
        model = AdaptedModel(dtype)
        network = model.apply(case, LARGE)
    with torch.autocast("cpu", dtype, enabled=autocast):
        output, gradients = model.gradients(network)
    assert {gradient.dtype for gradient in gradients.values()} == {torch.float32}
    roundings = 8 * torch.finfo(dtype).eps
    print(
        relative_difference(output, expected) / roundings * 8,
        relative_difference(all_gradients(gradients), all_gradients(expected_gradients)) / roundings * 8,
    )
    assert relative_difference(output, expected) < roundings
    assert relative_difference(all_gradients(gradients), all_gradients(expected_gradients)) < 4 * roundings


@pytest.mark.parametrize("autocast", WAYS_TO_HALF.values(), ids=WAYS_TO_HALF)
@pytest.mark.parametrize("dtype", HALF.values(), ids=HALF)
@every_case
def test_small_changes_survive_half_precision(case, dtype, autocast):
    model = AdaptedModel(torch.float32 if autocast else dtype)
    network = model.apply(case, SMALL)
    found = wanted = 0.0
    for adapted, x in inputs_of_layers(network):
        x = x.to(dtype)
        exact = adapted.reference_output(x.double(), 1.0) - adapted.reference_output(x.double(), 0.0)
        outputs = []
        for strength in (1.0, 0.0):
            adapted.multiplier = strength
            with torch.no_grad(), torch.autocast("cpu", dtype, enabled=autocast):
                outputs.append(adapted.layer(x.float() if autocast else x).double())
        found += ((outputs[0] - outputs[1]) * exact).sum().item()
        wanted += exact.square().sum().item()
    assert 0.97 < found / wanted < 1.03


# ---- training


@every_case
def test_nothing_changes_at_the_start(case):
    for dtype, tolerance in ((torch.float64, 1e-8), (torch.bfloat16, 0.02)):
        model = AdaptedModel(dtype)
        base = model.output()
        network = model.apply(case)
        assert relative_difference(model.output(), base) < tolerance
        for adapted in network.layers():
            assert adapted.delta_weight().norm() <= 1e-6 * adapted.base_weight().float().norm()


@every_case
def test_only_its_parameters_are_trained(case):
    model = AdaptedModel()
    before = model.weights()
    network = model.apply(case)
    start = {name: value.clone() for name, value in network.state_dict().items()}
    groups, _ = network.prepare_optimizer_params(1e-2, 1e-2, 1e-2)
    optimizer = torch.optim.AdamW(groups)
    for _ in range(2):  # what is multiplied by zero at the start gets its first gradient in the second step
        _, gradients = model.gradients(network)
        assert all(gradient.isfinite().all() for gradient in gradients.values())
        optimizer.step()
    after = network.state_dict()
    moved = {name for name, value in after.items() if not torch.equal(value, start[name])}
    kept_down = ".lora_down.weight" if case.module == "networks.lora_fa" else None
    trained = {name for name, _ in network.named_parameters() if kept_down is None or not name.endswith(kept_down)}
    assert moved == trained == gradients.keys()
    assert all(value.isfinite().all() for value in after.values())
    for name, value in model.weights().items():
        assert torch.equal(value, before[name]), name


def check_dropout(case: NetworkCase, **dropout: str) -> None:
    model = AdaptedModel()
    outputs = []
    for more in ({}, dropout):
        network = model.apply(case, LARGE, **more)
        evaluated = model.output()
        network.train()
        torch.manual_seed(12)
        outputs.append((evaluated, model.output()))
        gradients = model.gradients(network)[1]
        model.remove(network)
    (without, in_training_without), (with_dropout, in_training) = outputs
    assert relative_difference(with_dropout, without) < 1e-6
    assert relative_difference(in_training, in_training_without) > 1e-3
    assert all(gradient.isfinite().all() for gradient in gradients.values())


@every_case
def test_network_dropout(case):
    check_dropout(case, dropout="0.5")


@every_case
def test_rank_dropout(case):
    check_dropout(case, rank_dropout="0.5")


@every_case
def test_module_dropout(case):
    check_dropout(case, module_dropout="0.5")
    model = AdaptedModel()
    base = model.output()
    model.apply(case, LARGE, module_dropout="0.999999").train()
    assert torch.equal(model.output(), base)


@every_case
def test_norms_are_limited(case):
    model = AdaptedModel()
    network = model.apply(case, LARGE)
    norms = torch.stack([layer.delta_norm() for layer in network.layers()]).detach()
    limit = float(norms.median())
    before = [layer.delta_weight().detach().clone() for layer in network.layers()]
    report = network.apply_max_norm_regularization(limit)
    assert int(report.layers_scaled) == int((norms > limit).sum()) >= 2
    assert float(report.maximum) == pytest.approx(limit)
    slack = 1.05 if case.arguments.get("init") == "pissa" else 1.0001
    for layer, norm, unlimited in zip(network.layers(), norms, before, strict=True):
        assert layer.delta_norm() <= limit * slack
        assert torch.equal(layer.delta_weight(), unlimited) == bool(norm <= limit)


# ---- files


@pytest.mark.parametrize("dtype", {"fp32": torch.float32, **HALF}.values(), ids=["fp32", *HALF])
@every_case
def test_files(case, dtype, tmp_path):
    model = AdaptedModel()
    base = model.output()
    network = model.apply(case, LARGE if dtype is torch.float32 else SMALL)
    file = tmp_path / "network.safetensors"
    network.save_weights(str(file), dtype, {})
    written = read_network_file(file)
    assert written.keys() == network.file_tensors().keys()
    expected = model.output()
    model.remove(network)

    loaded = model.apply(case, seed=6)
    report = loaded.load_weights(str(file))
    assert (len(report.loaded), *report.not_in_file, *report.not_in_network) == (len(network.layers()),)
    tolerance = (1e-5 if dtype is torch.float32 else 4 * torch.finfo(dtype).eps) * (expected - base).norm()
    assert (model.output() - expected).norm() < tolerance
    # what a limit has shortened already is a little longer or shorter than the limit by rounding
    check_tensors(loaded, written, 1e-3 if "constraint" in case.arguments else 0.0)
    model.remove(loaded)

    remade, _ = NetworkModule(case.module).create_network_from_weights(1.0, str(file), None, *model.views())
    remade.apply_to(*model.views())
    remade.eval()
    assert (model.output() - expected).norm() < tolerance
    check_tensors(remade, written)


def check_tensors(network: LayerNetwork, written: dict[str, torch.Tensor], tolerance: float = 0.0) -> None:
    for name, tensor in network.file_tensors().items():
        torch.testing.assert_close(tensor, written[name].to(tensor.dtype), rtol=tolerance, atol=0)


@every_case
def test_files_as_others_read_them(case, tmp_path):
    network = AdaptedModel().apply(case, LARGE)
    file = tmp_path / "network.safetensors"
    network.save_weights(str(file), None, {})
    in_file = tensors_by_layer(read_network_file(file))
    assert in_file.keys() == {adapted.lora_name for adapted in network.layers()}
    for adapted in network.layers():
        base, tensors = adapted.base_weight(), in_file[adapted.lora_name]
        expected = torch.from_numpy(changed_weight(base, tensors))
        live = base.double() + adapted.delta_weight().detach().double()
        assert (live - expected).norm() < 1e-5 * (expected - base).norm()
        bias = bias_change(tensors)
        assert (bias is None) == (adapted.delta_bias() is None)
        if bias is not None:
            torch.testing.assert_close(adapted.delta_bias().double(), torch.from_numpy(bias))


# ---- the matrix itself


def test_size_of_the_matrix():
    assert {case.module for case in CASES.values()} == MODULES.keys()
    assert (len(CASES), len(MATRIX)) == (45, 16)
    assert sum(map(len, MATRIX.values())) == 45 * 16 - WITHOUT_NETWORK_DROPOUT - WITHOUT_RANK_DROPOUT


def test_exceptions_are_those_that_users_are_told():
    options = {"network_dropout": "dropout", "rank_dropout": "rank_dropout"}
    assert EXCEPTIONS.keys() == options.keys()
    for name, option in options.items():
        without = {module for module, model in MODULES.items() if option in model.WITHOUT_EFFECT}
        assert {f"networks.{kind}" for kind in EXCEPTIONS[name]} == without
