"""Our networks as a whole: what they train, save, load and merge, and what other programs make of their files."""

import hashlib
import logging

import pytest
import torch
from safetensors import safe_open

from library.errors import UserError
from networks.arguments import DEFAULT_RANK
from networks.files.weights_file import read_network_file, write_network_file
from networks.kinds.dylora import DyLoRALayer
from networks.layers.dropouts import Dropouts
from networks.layers.ranked_layer import Decomposition
from networks.lora import create_network, create_network_from_weights
from networks.network.creation import NetworkModule
from networks.network.layer_network import LayerNetwork
from tests.models.tiny import tiny_adapter, tiny_pipeline
from tests.networks.files.test_reading_and_hashes import hashes_of_file

UNET_LAYERS, TEXT_LAYERS = 192, 12
LAYERS = UNET_LAYERS + TEXT_LAYERS
RANK, ALPHA = 3, 2.0
EXTENSIONS = (".safetensors", ".ckpt", ".pt")
NO_SIZES = torch.zeros(1, 6, dtype=torch.int64)
SOME_LAYER = "lora_unet_mid_block_attentions_0_proj_in"


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        yield


class Setting:
    """A model, and networks on it."""

    def __init__(self):
        self.model = tiny_adapter()
        self.views = self.model.views()
        self.text_encoder, self.unet = self.views.text_encoders_as_kohya(), self.views.unet
        generator = torch.Generator().manual_seed(8)
        self.latents = torch.randn(1, 4, 8, 8, generator=generator)
        self.states = torch.randn(1, 77, 32, generator=generator)
        self.base_weights = {name: value.clone() for name, value in self.weights().items()}

    def weights(self) -> dict[str, torch.Tensor]:
        return {
            f"{part}.{name}": value
            for part, module in (("_unet", self.model._unet), ("_text_encoder", self.model.text_encoders()[0]))
            for name, value in module.state_dict().items()
        }

    def create(self, apply=True, trained=True, train_text_encoder=True, train_unet=True, **options) -> LayerNetwork:
        network = create_network(1.0, RANK, ALPHA, self.views.vae, self.text_encoder, self.unet, **options)
        if trained:
            make_trained(network)
        if apply:
            network.apply_to(self.text_encoder, self.unet, train_text_encoder, train_unet)
        return network

    @torch.no_grad()
    def outputs(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Of the text encoder for a caption, of the U-Net for fixed states: each depends on its own part only."""
        model = self.model
        states = model.encode_text(model.tokenize(["a cat"])).hidden_states
        conditioning = type(model.encode_text(model.tokenize([""])))(self.states)
        return states, model.predict(self.latents, torch.tensor([300]), conditioning, NO_SIZES)


def make_trained(network: LayerNetwork) -> None:
    with torch.no_grad():
        for layer in (*network.unet_loras, *network.text_encoder_loras):
            layer.lora_up.weight.normal_(0, 0.1)


@pytest.fixture
def setting():
    return Setting()


def close(first: torch.Tensor, second: torch.Tensor, tolerance: float) -> None:
    torch.testing.assert_close(first, second, rtol=0, atol=tolerance)


def differ(first: torch.Tensor, second: torch.Tensor) -> bool:
    return (first - second).abs().max().item() > 0.01


# ---- what is trained


def test_a_new_network_changes_nothing(setting):
    before = setting.outputs()
    network = setting.create(trained=False)
    assert all(torch.equal(first, second) for first, second in zip(before, setting.outputs(), strict=True))
    assert {layer.lora_dim for layer in network.unet_loras} == {RANK}
    assert {layer.alpha.item() for layer in network.text_encoder_loras} == {ALPHA}
    plain = create_network(1.0, None, None, None, setting.text_encoder, setting.unet)
    assert {(layer.lora_dim, layer.alpha.item()) for layer in plain.unet_loras} == {(DEFAULT_RANK, DEFAULT_RANK)}


def test_training_moves_the_networks_own_parameters_and_no_others(setting):
    network = setting.create()
    groups, _ = network.prepare_optimizer_params(0.1, 0.1, 0.1)
    before = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    optimizer = torch.optim.AdamW(groups)
    latents = torch.randn(1, 4, 16, 16)
    states = setting.model.encode_text(setting.model.tokenize(["a cat, sks dog"]))
    setting.model.predict(latents, torch.tensor([300]), states, NO_SIZES).square().mean().backward()
    optimizer.step()
    assert len(before) == 2 * LAYERS
    for name, parameter in network.named_parameters():
        assert not torch.equal(parameter, before[name]), name
        assert name.endswith(("lora_down.weight", "lora_up.weight"))
    after = setting.weights()
    assert len(after) == 684 + 36
    assert all(torch.equal(value, setting.base_weights[name]) for name, value in after.items())


@pytest.mark.parametrize(
    ("train_text_encoder", "train_unet"), [(True, True), (True, False), (False, True), (False, False)]
)
def test_either_part_alone(setting, train_text_encoder, train_unet):
    base_states, base_sample = setting.outputs()
    network = setting.create(train_text_encoder=train_text_encoder, train_unet=train_unet)
    states, sample = setting.outputs()
    assert differ(states, base_states) == train_text_encoder
    assert differ(sample, base_sample) == train_unet
    assert (len(network.text_encoder_loras), len(network.unet_loras)) == (
        TEXT_LAYERS * train_text_encoder,
        UNET_LAYERS * train_unet,
    )
    prefixes = [name.split("_")[1] for name in network.state_dict()]
    assert prefixes.count("te") == 3 * TEXT_LAYERS * train_text_encoder
    assert prefixes.count("unet") == 3 * UNET_LAYERS * train_unet
    groups, descriptions = network.prepare_optimizer_params(1e-3, 1e-3, 1e-3)
    expected = ["textencoder"] * train_text_encoder + ["unet"] * train_unet
    assert descriptions == expected
    assert len(groups) == len(expected)


TEXT, UNET = ("textencoder", 2 * TEXT_LAYERS), ("unet", 2 * UNET_LAYERS)


@pytest.mark.parametrize(
    ("text_encoder_lr", "unet_lr", "default_lr", "expected"),
    [
        (1e-4, 2e-4, 3e-4, [(*TEXT, 1e-4), (*UNET, 2e-4)]),
        (None, None, 3e-4, [(*TEXT, 3e-4), (*UNET, 3e-4)]),
        (None, 2e-4, 3e-4, [(*TEXT, 3e-4), (*UNET, 2e-4)]),
        (1e-4, None, 3e-4, [(*TEXT, 1e-4), (*UNET, 3e-4)]),
        (1e-4, 2e-4, None, [(*TEXT, 1e-4), (*UNET, 2e-4)]),
        (1e-4, 2e-4, 0.0, [(*TEXT, 1e-4), (*UNET, 2e-4)]),
        (0.0, 2e-4, 3e-4, [(*UNET, 2e-4)]),
        (0.0, None, 3e-4, [(*UNET, 3e-4)]),
        (1e-4, 0.0, 3e-4, [(*TEXT, 1e-4)]),
        (None, 2e-4, None, [(*UNET, 2e-4)]),
        (0.0, 0.0, 3e-4, []),
        (None, None, 0.0, []),
        (None, None, None, []),
    ],
)
def test_learning_rates(setting, text_encoder_lr, unet_lr, default_lr, expected):
    network = setting.create()
    groups, descriptions = network.prepare_optimizer_params(text_encoder_lr, unet_lr, default_lr)
    found = [(name, len(group["params"]), group["lr"]) for name, group in zip(descriptions, groups, strict=True)]
    assert found == expected
    trainable = list(network.get_trainable_params())
    assert {id(one) for one in trainable} == {id(one) for group in groups for one in group["params"]}
    assert len(trainable) == sum(count for _, count, _ in expected)
    frozen = [one for one in network.parameters() if not one.requires_grad]
    assert len(trainable) + len(frozen) == 2 * LAYERS


def test_a_part_with_rate_0_gets_no_gradients(setting):
    network = setting.create()
    network.prepare_optimizer_params(0.0, 1e-3, 1e-3)
    states = setting.model.encode_text(setting.model.tokenize(["a cat"]))
    assert not states.hidden_states.requires_grad
    setting.model.predict(setting.latents, torch.tensor([300]), states, NO_SIZES).sum().backward()
    with_gradient = {name.split("_")[1] for name, one in network.named_parameters() if one.grad is not None}
    assert with_gradient == {"unet"}
    # the rates of a later call decide anew
    network.prepare_optimizer_params(1e-3, 0.0, 1e-3)
    assert len(list(network.get_trainable_params())) == 2 * TEXT_LAYERS


def test_dropout_reaches_every_layer(setting):
    as_option = setting.create(apply=False, neuron_dropout=0.25)
    as_argument = setting.create(apply=False, dropout="0.25")
    both = setting.create(apply=False, neuron_dropout=0.5, dropout="0.25")
    none = setting.create(apply=False, neuron_dropout=None, dropout=None)
    for network, expected in ((as_option, 0.25), (as_argument, 0.25), (both, 0.25), (none, 0.0)):
        layers = [*network.unet_loras, *network.text_encoder_loras]
        assert len(layers) == LAYERS
        assert {layer.dropouts for layer in layers} == {Dropouts(neuron=expected)}


def test_dropout_is_off_once_the_network_is_not_in_training(setting):
    network = setting.create(neuron_dropout=0.5)
    network.eval()
    first = setting.outputs()
    network.on_epoch_start(setting.text_encoder, setting.unet)
    assert network.training
    assert differ(setting.outputs()[1], first[1])
    network.eval()
    assert all(torch.equal(one, two) for one, two in zip(setting.outputs(), first, strict=True))


def test_the_multiplier_of_the_whole_network(setting):
    base = setting.outputs()
    network = setting.create()
    full = setting.outputs()
    network.set_multiplier(0)
    assert all(torch.equal(one, two) for one, two in zip(setting.outputs(), base, strict=True))
    network.set_multiplier(0.5)
    half = setting.outputs()
    assert differ(half[0], base[0])
    assert differ(half[0], full[0])
    assert differ(half[1], full[1])


# ---- files


@pytest.mark.parametrize("extension", EXTENSIONS)
@pytest.mark.parametrize("dtype", [None, torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_saving_and_loading(setting, tmp_path, extension, dtype):
    network = setting.create(train_unet=False)
    own = {name: value.clone() for name, value in network.state_dict().items()}
    file = tmp_path / f"mein Netz é{extension}"
    network.save_weights(str(file), dtype, {"ss_x": "1"})
    assert [path.name for path in tmp_path.iterdir()] == [file.name]

    content = read_network_file(file)
    assert set(content) == set(own)
    assert len(content) == 3 * TEXT_LAYERS
    for name, value in content.items():
        is_alpha = name.endswith(".alpha")
        assert value.dtype == (torch.float32 if is_alpha else dtype or torch.float32), name
        assert torch.equal(value, own[name].to(value.dtype)), name
        assert not is_alpha or value.item() == ALPHA

    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    assert str(network.load_weights(str(file))) == "12 layers loaded"
    for name, value in network.state_dict().items():
        assert value.dtype == torch.float32
        assert torch.equal(value, own[name].to(dtype or torch.float32).float()) or name.endswith(".alpha"), name


def test_saved_tensors_are_copies_of_the_moment(setting, tmp_path):
    network = setting.create(train_unet=False)
    network.save_weights(str(tmp_path / "before.safetensors"), None, None)
    make_trained(network)
    network.save_weights(str(tmp_path / "after.safetensors"), None, None)
    name = "lora_te_text_model_encoder_layers_0_mlp_fc1.lora_up.weight"
    before, after = (read_network_file(tmp_path / f"{moment}.safetensors") for moment in ("before", "after"))
    assert not torch.equal(before[name], after[name])
    assert torch.equal(after[name], network.state_dict()[name])


def test_metadata_and_hashes(setting, tmp_path):
    network = setting.create(train_unet=False)
    metadata = {"ss_network_dim": "3", "modelspec.title": "Ümlaut 東京", "ss_empty": ""}
    file = tmp_path / "x.safetensors"
    network.save_weights(str(file), torch.float16, metadata)
    with safe_open(file, "pt") as opened:
        written = opened.metadata()
    assert {name: written[name] for name in metadata} == metadata
    assert set(written) == {*metadata, "sshs_model_hash", "sshs_legacy_hash"}
    assert written["sshs_model_hash"] == hashes_of_file(file.read_bytes())
    # nothing of so small a file lies beyond its first MiB
    assert written["sshs_legacy_hash"] == hashlib.sha256(b"").hexdigest()[:8] == "e3b0c442"
    assert len(metadata) == 3, "the caller's metadata must stay as they are"

    network.save_weights(str(file), torch.float16, None)
    with safe_open(file, "pt") as opened:
        assert opened.metadata() == {name: written[name] for name in ("sshs_model_hash", "sshs_legacy_hash")}


@pytest.mark.parametrize("extension", EXTENSIONS)
@pytest.mark.parametrize(
    ("value", "dtype"), [(float("nan"), None), (float("inf"), torch.float32), (1e6, torch.float16)]
)
def test_weights_that_are_not_finite_are_never_written(setting, tmp_path, extension, value, dtype):
    """The last is finite, but beyond what float16 can hold."""
    network = setting.create()
    file = tmp_path / f"x{extension}"
    with torch.no_grad():
        network.unet_loras[7].lora_up.weight[0, 0] = value
    broken = f"{network.unet_loras[7].lora_name}.lora_up.weight"
    with pytest.raises(ValueError, match=f"NaN or infinity in 1 of {3 * LAYERS} tensors, such as {broken}"):
        network.save_weights(str(file), dtype, {})
    assert list(tmp_path.iterdir()) == []
    file.write_bytes(b"an earlier file")
    with pytest.raises(ValueError, match="NaN or infinity"):
        network.save_weights(str(file), dtype, {})
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"an earlier file"]


def test_a_network_from_a_file_is_the_same_network(setting, tmp_path):
    network = setting.create(train_text_encoder=False)
    with_network = setting.outputs()
    file = tmp_path / "x.safetensors"
    network.save_weights(str(file), None, None)

    other = Setting()
    base = other.outputs()
    again, weights = create_network_from_weights(1.0, str(file), None, other.text_encoder, other.unet)
    assert len(weights) == 3 * UNET_LAYERS
    assert [layer.lora_name for layer in again.unet_loras] == [layer.lora_name for layer in network.unet_loras]
    assert again.text_encoder_loras == []
    again.apply_to(other.text_encoder, other.unet)
    assert torch.equal(other.outputs()[1], with_network[1])
    assert str(again.load_weights(str(file))) == "192 layers loaded"
    assert torch.equal(other.outputs()[1], with_network[1])
    assert torch.equal(other.outputs()[0], base[0])


def test_layers_of_a_file_keep_their_own_ranks_and_alphas(setting):
    names = [layer.lora_name for layer in setting.create(apply=False).unet_loras[:3]]
    weights = {}
    for rank, name in zip((2, 5, 7), names, strict=True):
        weights[f"{name}.lora_down.weight"] = torch.randn(rank, 32)
        weights[f"{name}.lora_up.weight"] = torch.randn(32, rank)
        weights[f"{name}.alpha"] = torch.tensor(rank / 2)
    del weights[f"{names[2]}.alpha"]
    network, tensors = create_network_from_weights(
        0.5, None, None, setting.text_encoder, setting.unet, weights_sd=weights, for_inference=True, dropout=None
    )
    assert set(tensors) == {*weights, f"{names[2]}.alpha"}
    found = {layer.lora_name: (layer.lora_dim, layer.scale, layer.multiplier) for layer in network.unet_loras}
    assert found == {names[0]: (2, 0.5, 0.5), names[1]: (5, 0.5, 0.5), names[2]: (7, 1.0, 0.5)}


def test_going_on_from_a_file(setting, tmp_path):
    """What no file says about training comes from the arguments; what a file lacks begins without changing anything."""
    file = str(tmp_path / "x.safetensors")
    setting.create(train_text_encoder=False).save_weights(file, None, None)
    with_network = setting.outputs()[1]

    def go_on(module: str, **arguments: str) -> tuple[Setting, LayerNetwork]:
        other = Setting()
        create = NetworkModule(module).create_network_from_weights
        network, _ = create(1.0, file, None, other.text_encoder, other.unet, **arguments)
        network.apply_to(other.text_encoder, other.unet)
        assert len(network.layers()) == UNET_LAYERS
        return other, network

    other, plain = go_on("networks.lora", dropout="0.5", rank_dropout="0.25", use_scalar="True")
    assert {layer.dropouts for layer in plain.layers()} == {Dropouts(neuron=0.5, rank=0.25)}
    assert {layer.scalar.item() for layer in plain.layers()} == {1.0}
    plain.eval()
    close(other.outputs()[1], with_network, 1e-5)

    other, decomposed = go_on("networks.dora", norm_gradient="True")
    assert {layer.decomposition for layer in decomposed.layers()} == {Decomposition(norm_gradient=True)}
    close(other.outputs()[1], with_network, 1e-4)
    decomposed.save_weights(file, torch.float16, None)
    precisions = {name.partition(".")[2]: value.dtype for name, value in read_network_file(file).items()}
    assert precisions == {
        "alpha": torch.float32,
        "dora_scale": torch.float32,
        "lora_down.weight": torch.float16,
        "lora_up.weight": torch.float16,
    }
    decomposed.save_weights(file, None, None)
    other, again = go_on("networks.lora")
    assert {layer.decomposition for layer in again.layers()} == {Decomposition()}
    close(other.outputs()[1], with_network, 1e-4)
    with pytest.raises(UserError, match="wd_on_output=True: the file has magnitudes of inputs; leave it out"):
        go_on("networks.dora", wd_on_output="True")
    with pytest.raises(UserError, match="init=pissa: training goes on from a file; leave it out"):
        go_on("networks.lora", init="pissa")

    _, dynamic = go_on("networks.dylora", unit="3")
    assert {(type(layer), layer.unit) for layer in dynamic.layers()} == {(DyLoRALayer, 3)}
    with pytest.raises(UserError, match=r"unit=2: lora_unet_.* has the rank 3, which must be a multiple of it"):
        go_on("networks.dylora", unit="2")


# ---- merging


@pytest.mark.parametrize("multiplier", [1.0, -0.5])
def test_merged_weights_are_the_live_network(setting, multiplier):
    network = setting.create(apply=False)
    network.set_multiplier(multiplier)
    network.merge_to(setting.text_encoder, setting.unet, None, None, None)
    compared = 0
    for layer in (*network.unet_loras, *network.text_encoder_loras):
        original = next(
            setting.base_weights[name]
            for name, value in setting.weights().items()
            if value.data_ptr() == layer.layer.weight.data_ptr()
        )
        down, up = (matrix.weight.detach().flatten(1).double() for matrix in (layer.lora_down, layer.lora_up))
        change = multiplier * ALPHA / RANK * (up @ down)
        assert change.abs().max() > 0.001
        close(layer.layer.weight.double(), original.double() + change.view(original.shape), 1e-5)
        compared += 1
    assert compared == LAYERS
    changed = [name for name, value in setting.weights().items() if not torch.equal(value, setting.base_weights[name])]
    assert len(changed) == LAYERS

    merged = setting.outputs()
    live = Setting()
    base = live.outputs()
    network_again = create_network(multiplier, RANK, ALPHA, None, live.text_encoder, live.unet)
    states = [layer.state_dict() for layer in (*network.unet_loras, *network.text_encoder_loras)]
    for layer, state in zip((*network_again.unet_loras, *network_again.text_encoder_loras), states, strict=True):
        layer.load_state_dict(state)
    network_again.apply_to(live.text_encoder, live.unet, True, True)
    for one, two, without in zip(merged, live.outputs(), base, strict=True):
        assert differ(two, without)
        close(one, two, 1e-4)


def test_merging_a_file(setting, tmp_path):
    """The way base weights take: a network built from the file, its tensors, and the precision to merge into."""
    Setting().create().save_weights(str(file := tmp_path / "x.safetensors"), None, None)
    network, weights = create_network_from_weights(1.0, str(file), None, setting.text_encoder, setting.unet)
    assert network.is_mergeable()
    network.merge_to(setting.text_encoder, setting.unet, weights, torch.bfloat16, "cpu")
    layer = setting.model._unet.mid_block.attentions[0].proj_in
    up, down = (weights[f"{SOME_LAYER}.lora_{part}.weight"].flatten(1) for part in ("up", "down"))
    before = setting.base_weights["_unet.mid_block.attentions.0.proj_in.weight"]
    assert layer.weight.dtype == torch.bfloat16
    expected = before + ALPHA / RANK * (up @ down).view(before.shape)
    torch.testing.assert_close(layer.weight, expected.bfloat16(), rtol=0.01, atol=0)
    assert sum(value.dtype == torch.bfloat16 for value in setting.weights().values()) == LAYERS


# ---- files that do not fit


def test_a_file_that_fits_nothing(setting, tmp_path):
    network = setting.create()
    file = tmp_path / "anderes Netz.safetensors"
    write_network_file(file, {"lora_unet_x.lora_up.weight": torch.ones(1, 1)}, None, None)
    with pytest.raises(UserError, match=r"network file '.*anderes Netz\.safetensors': none of its 1 layers belongs"):
        network.load_weights(str(file))


def test_a_file_that_fits_in_part(setting, tmp_path):
    network = setting.create()
    file = tmp_path / "x.safetensors"
    content = {name: value for name, value in network.state_dict().items() if name.startswith(f"{SOME_LAYER}.")}
    foreign = {"lora_unet_x.lora_up.weight": torch.ones(1, 1), "lora_unet_x.lora_down.weight": torch.ones(1, 1)}
    write_network_file(file, content | foreign, None, None)
    report = network.load_weights(str(file))
    assert report.loaded == [SOME_LAYER]
    assert len(report.not_in_file) == LAYERS - 1
    assert report.not_in_network == ["lora_unet_x"]
    assert "1 layer loaded; 203 layers (such as lora_te_" in str(report)
    assert str(report).endswith("1 layer (such as lora_unet_x) of the file not used")


def test_a_file_of_another_rank(setting, tmp_path):
    file = tmp_path / "x.safetensors"
    setting.create(apply=False)
    other = create_network(1.0, 7, 1, None, setting.text_encoder, setting.unet)
    other.apply_to(setting.text_encoder, setting.unet)
    other.save_weights(str(file), None, None)
    with pytest.raises(UserError) as caught:
        Setting().create().load_weights(str(file))
    (problem,) = caught.value.problems
    assert problem.startswith(f"network file '{file}' does not fit this network: lora_te_text_model_encoder_layers_0_")
    assert "7x32 instead of 3x32 (and " in problem
    assert problem.endswith("; its rank is 7: --network_dim 7, or --dim_from_weights")


# ---- arguments

UNKNOWN = "networks.lora has no such argument."
LISTED = "docs/network_arguments.md lists all of them"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"dropuot": "0.1"}, [f"--network_args dropuot=0.1: {UNKNOWN} Did you mean dropout? {LISTED}"]),
        ({"zzz": "1"}, [f"--network_args zzz=1: {UNKNOWN} {LISTED}"]),
        ({"conv_dim": "x"}, ["--network_args conv_dim=x: must be a whole number, at least 0"]),
        ({"conv_dm": "4"}, [f"--network_args conv_dm=4: {UNKNOWN} Did you mean conv_dim? {LISTED}"]),
        (
            {"rank_dropout": "much", "x": "y"},
            [
                "--network_args rank_dropout=much: must be a probability, a number from 0 to less than 1",
                f"--network_args x=y: {UNKNOWN} {LISTED}",
            ],
        ),
        *(
            (
                {"dropout": value},
                [f"--network_args dropout={value}: must be a probability, a number from 0 to less than 1"],
            )
            for value in ("much", "", "1", "-0.1", "nan", "10")
        ),
    ],
)
def test_arguments_that_are_refused(setting, arguments, expected):
    for attempt in (
        lambda: setting.create(**arguments),
        lambda: create_network_from_weights(
            1.0, None, None, setting.text_encoder, setting.unet, weights_sd={}, **arguments
        ),
    ):
        with pytest.raises(UserError) as caught:
            attempt()
        assert list(caught.value.problems) == expected


# ---- other programs


@pytest.fixture
def diffusers_messages():
    """What diffusers, peft and transformers say at the level of warnings and above."""
    messages = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: messages.append(record.getMessage())
    loggers = [logging.getLogger(name) for name in ("diffusers", "peft", "transformers")]
    for logger in loggers:
        logger.addHandler(handler)
    yield messages
    for logger in loggers:
        logger.removeHandler(handler)


@pytest.mark.parametrize("parts", ["both", "unet", "text encoder"])
def test_diffusers_loads_the_file_with_the_same_effect(setting, tmp_path, diffusers_messages, parts):
    network = setting.create(train_text_encoder=parts != "unet", train_unet=parts != "text encoder")
    file = tmp_path / "für andere.safetensors"
    network.save_weights(str(file), None, {"ss_network_module": "networks.lora"})

    pipeline = tiny_pipeline()
    step, ids = torch.tensor([300]), setting.model.tokenize(["a cat"]).ids[0][:, 0]

    @torch.no_grad()
    def theirs():
        states = pipeline.text_encoder(ids).last_hidden_state
        return states, pipeline.unet(setting.latents, step, setting.states).sample

    base = theirs()
    pipeline.load_lora_weights(tmp_path, weight_name=file.name, adapter_name="ours")
    # a part that was not trained is the only thing worth a remark
    assert len(diffusers_messages) == (parts != "both")
    assert all(message.startswith("No LoRA keys associated to") for message in diffusers_messages)
    adapted = [
        sum(name.endswith("lora_A.ours") for name, _ in model.named_modules())
        for model in (pipeline.unet, pipeline.text_encoder)
    ]
    assert adapted == [len(network.unet_loras), len(network.text_encoder_loras)]
    for one, two, without, has_changed in zip(
        theirs(), setting.outputs(), base, (parts != "unet", parts != "text encoder"), strict=True
    ):
        assert differ(two, without) == has_changed
        close(one, two, 1e-4)

    pipeline.set_adapters("ours", 0.5)
    network.set_multiplier(0.5)
    for one, two in zip(theirs(), setting.outputs(), strict=True):
        close(one, two, 1e-4)


def test_a_network_that_is_not_in_training_mode_applies_layers_that_are_not():
    unet = tiny_adapter().views().unet
    network = create_network(1.0, 4, 4, None, None, unet, neuron_dropout=0.5)
    network.eval()
    network.apply_to(None, unet, apply_text_encoder=False)
    assert {layer.training for layer in network.layers()} == {False}
    assert len(network.layers()) > 10
