"""--base_weights: networks that become part of the base model."""

import importlib
import json
from types import ModuleType

import pytest
import torch
from safetensors.torch import load_file, save_file

from library.models.family import SD1, SDXL
from library.options.groups import NetworkOptions
from library.training.base_weights import merge_base_weights
from networks import lora
from networks.arguments import MODULES
from tests.models.tiny_families import tiny_adapter_of
from tests.training.command import least_arguments
from tests.training.every_kind import every_kind
from tests.training.running import logged, metadata_of, run
from tests.training.test_network_start import in_diffusers_names, loss_of, refused

CPU = torch.device("cpu")


@pytest.fixture
def arguments(tiny_model, train_data_dir, tmp_path):
    return {**least_arguments(tiny_model, train_data_dir, tmp_path / "out"), "--cache_latents": None}


def trained_network(module, model, seed, **arguments):
    """A network with something in it, not applied."""
    views = model.views()
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        network = module.create_network(1.0, 4, 2, views.vae, views.text_encoders_as_kohya(), views.unet, **arguments)
        for parameter in network_parameters(network):
            parameter += 0.05 * torch.randn_like(parameter)
    return network


def network_parameters(network):
    return [parameter for layer in network.layers() for parameter in layer.parameters()]


def output_of(model) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        text = model.encode_text(model.tokenize(["a cat", "a dog"]))
        latents = torch.randn(2, 4, 16, 16, generator=generator)
        return model.predict(latents, torch.tensor([10, 700]), text, torch.zeros(2, 6))


def merge(model, *files, multipliers=None, module: ModuleType = lora):
    options = NetworkOptions(base_weights=tuple(map(str, files)), base_weights_multiplier=multipliers)
    merge_base_weights(model, options, module, CPU, show_progress=False)


@pytest.mark.parametrize("family", [SD1, SDXL], ids=lambda family: family.name)
@pytest.mark.parametrize("name", sorted(MODULES))
def test_a_merged_model_is_the_model_with_the_network(tmp_path, name, family):
    """Whatever module is named: the file says what it is."""
    model, other = tiny_adapter_of(family), tiny_adapter_of(family)
    network = trained_network(importlib.import_module(name), model, seed=1)
    views = model.views()
    before = output_of(model)
    network.apply_to(views.text_encoders_as_kohya(), views.unet)
    network.eval()
    network.save_weights(str(tmp_path / "x.safetensors"), None, None)
    merge(other, tmp_path / "x.safetensors")
    expected, actual = output_of(model), output_of(other)
    assert (expected - before).norm() > 0.01 * before.norm()
    assert (actual - expected).norm() < 1e-5 * expected.norm()


def test_two_files_with_multipliers(tmp_path):
    model, other = tiny_adapter_of(SD1), tiny_adapter_of(SD1)
    views = model.views()
    for seed, strength in ((1, 0.5), (2, -0.75)):
        network = trained_network(lora, model, seed)
        network.apply_to(views.text_encoders_as_kohya(), views.unet)
        network.save_weights(str(tmp_path / f"{seed}.pt"), None, None)
        network.set_multiplier(strength)
        network.eval()
    merge(other, tmp_path / "1.pt", tmp_path / "2.pt", multipliers=(0.5, -0.75))
    torch.testing.assert_close(output_of(other), output_of(model), rtol=1e-5, atol=1e-5)


def test_files_without_multiplier_have_full_strength(tmp_path):
    full, partly = tiny_adapter_of(SD1), tiny_adapter_of(SD1)
    network = trained_network(lora, full, seed=1)
    network.apply_to(full.views().text_encoders_as_kohya(), full.views().unet)
    network.eval()
    network.save_weights(str(tmp_path / "x.pt"), None, None)
    merge(partly, tmp_path / "x.pt", tmp_path / "x.pt", multipliers=(0.25,))
    network.set_multiplier(1.25)
    torch.testing.assert_close(output_of(partly), output_of(full), rtol=1e-5, atol=1e-5)


def test_the_model_keeps_its_precision_and_is_changed_nowhere_else(tmp_path):
    model = tiny_adapter_of(SD1)
    views = model.views()
    network = trained_network(lora, model, seed=1)
    for name, layer in [(layer.lora_name, layer) for layer in network.layers()]:
        network.add_module(name, layer)
    network.save_weights(str(tmp_path / "x.safetensors"), None, None)
    views.unet.to(torch.bfloat16)
    before = {name: value.clone() for name, value in views.unet.state_dict().items()}
    merge(model, tmp_path / "x.safetensors")
    after = views.unet.state_dict()
    assert {value.dtype for value in after.values()} == {torch.bfloat16}
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert len(changed) == len(network.unet_loras) == 192


class OthersNetwork(torch.nn.Module):
    """Of a kind that is not known here: it adds a number to a weight."""

    def __init__(self, multiplier, weights):
        super().__init__()
        self.multiplier = multiplier
        self.unet_loras = [name for name in weights if name.startswith("lora_unet_conv_in.")]

    def merge_to(self, text_encoder, unet, weights_sd, dtype, device):
        unet.conv_in.weight.data += self.multiplier * weights_sd["lora_unet_conv_in.strange"].to(dtype)


class OthersModule(ModuleType):
    def create_network_from_weights(self, multiplier, file, vae, text_encoder, unet, for_inference=False):
        assert for_inference
        weights = load_file(file)
        return OthersNetwork(multiplier, weights), weights


def test_a_file_of_an_unknown_kind_is_merged_by_the_module(tmp_path):
    model = tiny_adapter_of(SD1)
    weight = model.views().unet.conv_in.weight
    before = weight.clone()
    file = tmp_path / "x.safetensors"
    save_file({"lora_unet_conv_in.strange": torch.tensor(0.5)}, file)
    merge(model, file, multipliers=(0.5,), module=OthersModule("others"))
    torch.testing.assert_close(weight, before + 0.25)
    save_file({"lora_unet_elsewhere.strange": torch.tensor(0.5)}, file)
    with pytest.raises(Exception, match="neither this trainer nor others finds a layer in it"):
        merge(model, file, module=OthersModule("others"))
    with pytest.raises(Exception, match="none of its 1 layers belongs to this model"):
        merge(model, file)


def test_a_run_on_top_of_base_weights(arguments, tmp_path, capsys):
    file = run(arguments, output_dir=tmp_path / "first", network_alpha=8)
    renamed = tmp_path / "diffusers.safetensors"
    save_file(in_diffusers_names(load_file(file)), renamed)
    plain = loss_of(arguments, tmp_path / "plain")
    capsys.readouterr()
    losses = [
        loss_of(arguments, tmp_path / name, base_weights=files, base_weights_multiplier=strengths)
        for name, files, strengths in (
            ("one", [file], [1]), ("renamed", [renamed], [1]), ("halves", [file, renamed], [0.5, 0.5]),
            ("away", [file, file], [1, -1]),
        )
    ]  # fmt: skip
    assert losses[1:3] == pytest.approx([losses[0]] * 2, rel=1e-5)
    assert losses[3] == pytest.approx(plain, rel=1e-5)
    assert abs(losses[0] - plain) > 0.01
    assert f"--base_weights '{file}' at strength 0.5: 204 layers loaded\n" in capsys.readouterr().err
    saved = metadata_of(tmp_path / "halves" / "tiny.safetensors")
    assert json.loads(saved["ss_base_weights"]) == {"tiny.safetensors": 0.5, "diffusers.safetensors": 0.5}
    assert "ss_base_weights" not in metadata_of(tmp_path / "plain" / "tiny.safetensors")


def test_cached_texts_of_the_model_without_base_weights_are_not_used(arguments, tmp_path):
    """Base weights change the text encoders, too."""
    options = {"network_train_unet_only": True, "cache_text_encoder_outputs_to_disk": True, "cache_dir": tmp_path / "c"}
    file = run(arguments, output_dir=tmp_path / "first", network_alpha=8)
    plain = loss_of(arguments, tmp_path / "plain", **options)
    merged = loss_of(arguments, tmp_path / "merged", base_weights=file, **options)
    uncached = loss_of(arguments, tmp_path / "uncached", base_weights=file, network_train_unet_only=True)
    assert merged == pytest.approx(uncached, rel=1e-5)
    assert abs(merged - plain) > 0.01
    assert len(list((tmp_path / "c" / "text_encoder_outputs").iterdir())) == 2


EIGHT_BITS = {"fp8_base": True, "mixed_precision": "bf16"}


def test_base_weights_are_merged_before_weights_are_stored_in_eight_bits(arguments, tmp_path):
    file = run(arguments, output_dir=tmp_path / "first", network_alpha=8)
    plain = loss_of(arguments, tmp_path / "plain")
    exact = loss_of(arguments, tmp_path / "exact", base_weights=file)
    rounded = loss_of(arguments, tmp_path / "rounded", base_weights=file, **EIGHT_BITS)
    assert abs(rounded - exact) < 0.2 * abs(plain - exact)


@pytest.mark.parametrize("module", every_kind(["networks.dora", "networks.oft", "networks.ia3", "networks.glora"]))
def test_kinds_that_read_the_weights_train_on_weights_in_eight_bits(arguments, tmp_path, module):
    options = {"network_module": module, "max_train_steps": 3}
    for name, precision in (("exact", {}), ("rounded", EIGHT_BITS)):
        run(arguments, output_dir=tmp_path / name, logging_dir=tmp_path / name, **options, **precision)
    exact, rounded = (logged(tmp_path / name, "loss/current") for name in ("exact", "rounded"))
    assert rounded == pytest.approx(exact, rel=0.05)
    assert rounded != exact


BUT_SD1 = ", but the model is one of SD 1.x; name a network for SD 1.x"
TO_KEYS = "down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No such file or directory"),
        (
            {"model.diffusion_model.input_blocks.0.0.weight": (4, 4, 3, 3)},
            "is no network file: it looks like an SD 1.x model; name a LoRA or another network",
        ),
        ({"lora_te2_text_model_x.lora_up.weight": (4, 4)}, f"is a network for SDXL{BUT_SD1}"),
        ({"text_encoder_2.x.lora_A.weight": (4, 4)}, f"is a network for SDXL{BUT_SD1}"),
        ({f"lora_unet_{TO_KEYS}.lora_down.weight": (4, 1024)}, f"is a network for SD 2.x{BUT_SD1}"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("option", ["base_weights", "network_weights"])
def test_files_that_cannot_be_meant_are_refused_before_the_model_is_loaded(
    arguments, tmp_path, capsys, monkeypatch, option, content, message
):
    monkeypatch.setattr("library.training.setup.load_base_model", None)
    file = tmp_path / "x.safetensors"
    if content is not None:
        save_file({name: torch.zeros(shape) for name, shape in content.items()}, file)
    shown = refused(arguments, capsys, **{option: file, "seed": "abc"})
    assert f"--{option} '{file}'" in shown
    assert message in shown
    assert "--seed abc" in shown


def test_a_damaged_file(arguments, tmp_path, capsys):
    (tmp_path / "x.safetensors").write_text("this is no network")
    assert "not a safetensors file" in refused(arguments, capsys, base_weights=tmp_path / "x.safetensors")
