"""--network_weights and --dim_from_weights: training goes on where a file ended."""

import itertools
import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from library.training.network_start import load_start, size_of
from networks.arguments import MODULES
from networks.files.layer_names import diffusers_path
from tests.training.command import as_words, least_arguments, train
from tests.training.every_kind import every_kind
from tests.training.running import logged, metadata_of, run

STILL = {"learning_rate": 1e-12, "max_train_steps": 1}
"""One step that moves nothing, whose loss is that of what was loaded."""


@pytest.fixture
def arguments(tiny_model, train_data_dir, tmp_path):
    return {**least_arguments(tiny_model, train_data_dir, tmp_path / "out"), "--cache_latents": None}


@pytest.fixture
def file(arguments, tmp_path):
    """A trained LoRA of rank 4 and alpha 2."""
    return run(arguments, output_dir=tmp_path / "first", network_dim=4, network_alpha=2)


def loss_of(arguments, folder, **options) -> float:
    """Of the first step."""
    run(arguments, output_dir=folder, logging_dir=folder, **STILL | options)
    return logged(folder, "loss/current")[0]


def in_diffusers_names(weights):
    """As diffusers saves a LoRA, which knows no alpha."""
    renamed = {}
    for name in {key.partition(".")[0] for key in weights}:
        down, up, alpha = (weights[f"{name}.{suffix}"] for suffix in ("lora_down.weight", "lora_up.weight", "alpha"))
        renamed[f"{diffusers_path(name)}.lora_A.weight"] = down
        renamed[f"{diffusers_path(name)}.lora_B.weight"] = up * (alpha / len(down))
    return renamed


def in_precision(dtype):
    return lambda weights: {name: tensor.to(dtype) for name, tensor in weights.items()}


FORMS = {
    "as it was saved": (lambda weights: weights, 1e-6, 2.0),
    "fp16": (in_precision(torch.float16), 1e-3, 2.0),
    "bf16": (in_precision(torch.bfloat16), 1e-2, 2.0),
    "diffusers": (in_diffusers_names, 1e-5, 4.0),
}


@pytest.mark.parametrize("form", FORMS)
def test_training_continues_where_the_file_ended(arguments, tmp_path, file, capsys, form):
    """Loss and weights; the scale is the file's, whatever --network_alpha says."""
    change, tolerance, alpha = FORMS[form]
    changed = tmp_path / "changed.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in change(load_file(file)).items()}, changed)
    expected = loss_of(arguments, tmp_path / "merged", base_weights=file)
    at_start = loss_of(arguments, tmp_path / "nothing")
    assert abs(expected - at_start) > 0.01
    capsys.readouterr()
    options = {"network_weights": changed, "network_dim": 4, "network_alpha": 8}
    assert loss_of(arguments, tmp_path / "again", **options) == pytest.approx(expected, rel=10 * tolerance)
    shown = capsys.readouterr().err
    assert f"--network_weights '{changed}': 204 layers loaded\n" in shown
    assert "--network_alpha has no effect on layers that --network_weights holds" in shown
    first, again = load_file(file), load_file(tmp_path / "again" / "tiny.safetensors")
    assert first.keys() == again.keys()
    for name, tensor in again.items():
        scale = first[name] if not name.endswith("up.weight") else first[name] * (2 / alpha)
        wanted = torch.tensor(alpha) if name.endswith("alpha") else scale
        torch.testing.assert_close(tensor, wanted, rtol=tolerance, atol=1e-6)
    metadata = metadata_of(tmp_path / "again" / "tiny.safetensors")
    assert metadata["ss_network_alpha"] == str(alpha)
    assert metadata["ss_network_dim"] == "4"
    assert metadata["ss_network_weights"] == "changed.safetensors"


def test_what_does_not_match_is_said(arguments, tmp_path, file, capsys):
    weights = load_file(file)
    changed = tmp_path / "changed.safetensors"
    kept = {name: tensor for name, tensor in weights.items() if name.startswith("lora_unet_mid")}
    save_file(kept | {"lora_unet_strange.lora_up.weight": torch.zeros(3, 4)}, changed)
    run(arguments, network_weights=changed, network_dim=4, **STILL)
    layers = len(kept) // 3
    shown = capsys.readouterr().err
    assert f"{layers} layers loaded; {204 - layers} layers (such as lora_te_text_model_encoder_layers_0_" in shown
    assert "1 layer (such as lora_unet_strange) of the file not used" in shown


def refused(arguments, capsys, **options) -> str:
    words = as_words(arguments)
    for name, value in options.items():
        words += [f"--{name}", *([] if value is True else map(str, value if isinstance(value, list) else [value]))]
    capsys.readouterr()
    assert train(*words) == 1
    shown = capsys.readouterr().err
    assert "Traceback" not in shown
    return shown


def test_a_file_for_nothing_in_the_model(arguments, tmp_path, capsys):
    save_file({"lora_unet_strange.lora_up.weight": torch.zeros(3, 4)}, tmp_path / "strange.safetensors")
    for options in ({}, {"dim_from_weights": True}):
        shown = refused(arguments, capsys, network_weights=tmp_path / "strange.safetensors", **options)
        assert "strange.safetensors': none of its 1 layers belongs to this" in shown


def test_other_ranks_are_an_error_that_says_what_to_do(arguments, file, capsys):
    shown = refused(arguments, capsys, network_weights=file, network_dim=8)
    assert "does not fit this network" in shown
    assert "4x32 instead of 8x32" in shown
    assert "its rank is 4: --network_dim 4, or --dim_from_weights" in " ".join(shown.split())


def test_magnitudes_that_the_network_would_not_have(arguments, tmp_path, capsys):
    file = run(arguments, output_dir=tmp_path / "dora", network_module="networks.dora", network_dim=4)
    shown = " ".join(refused(arguments, capsys, network_weights=file, network_dim=4).split())
    assert "does not fit this network" in shown
    assert "the file's layers are LoRA and DoRA per input, the network's are LoRA: give the --network_module" in shown


def test_layers_that_the_network_does_not_have_are_a_warning(arguments, tmp_path, capsys):
    file = run(arguments, output_dir=tmp_path / "first", network_dim=4, network_args=["conv_dim=4"])
    capsys.readouterr()
    run(arguments, output_dir=tmp_path / "again", network_weights=file, network_dim=4, **STILL)
    shown = capsys.readouterr().err
    assert f"WARNING --network_weights '{file}': 204 layers loaded; " in shown
    assert "of the file not used; --dim_from_weights takes over all that the model has, as do the" in shown


def test_weights_that_are_not_finite(arguments, tmp_path, file, capsys):
    broken = tmp_path / "broken.safetensors"
    for suffix, option in itertools.product(("lora_up.weight", "alpha"), ("network_weights", "base_weights")):
        weights = load_file(file)
        weights[next(name for name in weights if name.endswith(suffix))].fill_(torch.nan)
        save_file(weights, broken)
        shown = refused(arguments, capsys, network_dim=4, **{option: broken})
        assert f"--{option} '{broken}': 1 of its tensors hold NaN or infinity" in shown


MIXED_RANKS = "block_dims=" + ",".join(str(2 + number % 3) for number in range(25))


def test_ranks_of_the_file_layer_by_layer(arguments, tmp_path, capsys):
    first = run(
        arguments, output_dir=tmp_path / "mixed", network_dim=5, network_alpha=3,
        network_args=[MIXED_RANKS, "conv_dim=2"],
    )  # fmt: skip
    options = {
        "network_weights": first,
        "dim_from_weights": True,
        "network_args": ["conv_dim=7", "module_dropout=0"],
        "network_dim": 9,
    }
    again = run(arguments, output_dir=tmp_path / "again", **options, **STILL)
    weights, others = load_file(first), load_file(again)
    assert {len(tensor) for name, tensor in weights.items() if name.endswith("lora_down.weight")} == {2, 3, 4, 5}
    assert weights.keys() == others.keys()
    for name, tensor in weights.items():
        torch.testing.assert_close(others[name], tensor, rtol=1e-6, atol=1e-7)
    assert metadata_of(again)["ss_network_dim"] == "Dynamic"
    assert json.loads(metadata_of(first)["ss_network_args"]).keys() == {"block_dims", "conv_dim", "dropout"}
    assert json.loads(metadata_of(again)["ss_network_args"]) == {"module_dropout": "0", "dropout": None}
    shown = capsys.readouterr().err
    assert "--network_dim has no effect with --dim_from_weights" in shown
    assert "--network_args conv_dim has no effect with --dim_from_weights" in shown


def test_how_a_file_is_trained_further_is_up_to_the_options(arguments, tmp_path, file):
    """Dropouts, LoRA+ and block rates."""

    def trained(name, *network_args, **options):
        run(
            arguments, output_dir=tmp_path / name, network_weights=file, dim_from_weights=True,
            logging_dir=tmp_path / name, **options, **({"network_args": list(network_args)} if network_args else {}),
        )  # fmt: skip
        return logged(tmp_path / name, "loss/current")

    plain = trained("plain")
    assert trained("module", "module_dropout=0.5") != plain
    assert trained("rank", "rank_dropout=0.5") != plain
    assert trained("neuron", network_dropout=0.5) != plain
    trained("rates", "loraplus_lr_ratio=16", "mid_lr_weight=0.5")
    assert logged(tmp_path / "rates", "lr/textencoder plus")[0] == pytest.approx(0.16)
    assert logged(tmp_path / "rates", "lr/unet_block12 plus")[0] == pytest.approx(0.08)


KINDS = {
    **dict.fromkeys(sorted(MODULES), ()),
    "networks.dylora": ("unit=2",),
    "networks.oft": ("network_dim_is=block_size",),
}


@pytest.mark.parametrize("module", every_kind(KINDS))
def test_every_kind_continues_from_its_file(arguments, tmp_path, module):
    first = run(
        arguments,
        output_dir=tmp_path / "first",
        network_module=module,
        network_args=[*KINDS[module], "module_dropout=0"],
    )
    expected = loss_of(arguments, tmp_path / "merged", base_weights=first)
    options = {"network_module": module, "network_weights": first, "dim_from_weights": True}
    if module == "networks.dylora":
        options["network_args"] = ["unit=2"]
    loss = loss_of(arguments, tmp_path / "again", **options)
    if module != "networks.dylora":  # which draws its rank in training
        assert loss == pytest.approx(expected, rel=2e-5)
    weights, others = load_file(first), load_file(tmp_path / "again" / "tiny.safetensors")
    assert weights.keys() == others.keys()
    for name, tensor in weights.items():
        torch.testing.assert_close(others[name], tensor, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("module", "other"), [("networks.loha", "networks.lora"), ("networks.lora", "networks.loha"),
                          ("networks.dora", "networks.lora_fa"), ("networks.boft", "networks.oft")],
)  # fmt: skip
def test_a_module_that_makes_another_kind_than_the_file_holds(arguments, tmp_path, capsys, module, other):
    first = run(arguments, output_dir=tmp_path / "first", network_module=module, max_train_steps=1)
    shown = refused(arguments, capsys, network_module=other, network_weights=first, dim_from_weights=True)
    assert f"--network_module {other}: with --dim_from_weights the layers of" in shown
    assert f"; use --network_module {module}" in shown
    shown = refused(arguments, capsys, network_module=other, network_weights=first)
    assert f"--network_module {other} cannot go on with --network_weights '{first}', whose layers are " in shown
    assert f"; use --network_module {module}" in shown


def test_a_lora_becomes_dora(arguments, tmp_path, file):
    """From the very weights that it had."""
    expected = loss_of(arguments, tmp_path / "merged", base_weights=file)
    options = {"network_module": "networks.dora", "network_weights": file, "dim_from_weights": True}
    assert loss_of(arguments, tmp_path / "dora", **options) == pytest.approx(expected, rel=1e-5)
    weights = load_file(tmp_path / "dora" / "tiny.safetensors")
    assert sum(name.endswith(".dora_scale") for name in weights) == 204


class OthersNetwork(torch.nn.Module):
    """Loads as other trainers' networks do: alphas become those of the file, scales stay."""

    def __init__(self, alpha):
        super().__init__()
        self.lora_unet_x = torch.nn.Module()
        self.lora_unet_x.weight = torch.nn.Parameter(torch.zeros(2))
        self.lora_unet_x.register_buffer("alpha", torch.tensor(alpha))

    def load_weights(self, file):
        return self.load_state_dict(load_file(file), strict=False)


def test_networks_of_others_must_have_the_alpha_of_the_file(tmp_path, caplog):
    caplog.set_level("INFO")
    file = str(tmp_path / "x.safetensors")
    save_file({"lora_unet_x.weight": torch.ones(2), "lora_unet_x.alpha": torch.tensor(4.0)}, file)
    load_start(OthersNetwork(4.0), file, is_made_from_it=False)
    load_start(OthersNetwork(1.0), file, is_made_from_it=True)  # some modules scale by what they read alone
    assert f"--network_weights '{file}': 1 layer loaded" in caplog.text
    with pytest.raises(Exception, match="has the alpha 4 where --network_alpha or --network_args say 1"):
        load_start(OthersNetwork(1.0), file, is_made_from_it=False)
    save_file({"lora_unet_y.weight": torch.ones(2)}, file)
    with pytest.raises(Exception, match="none of its layers belongs to this network"):
        load_start(OthersNetwork(1.0), file, is_made_from_it=False)


def test_the_size_of_a_network():
    class Layer:
        def __init__(self, rank, alpha):
            self.lora_dim, self.alpha = rank, torch.tensor(alpha)

    class Network:
        unet_loras, text_encoder_loras = [Layer(4, 1.0), Layer(4, 2.0)], [Layer(4, 1.0)]

    assert (size_of(Network()).rank, size_of(Network()).alpha) == (4, "Dynamic")
    assert json.dumps(size_of(object()).rank) == '"Dynamic"'
