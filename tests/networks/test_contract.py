"""What a network module must offer, and what a user is told when one does not."""

import sys

import pytest
import torch
from torch import nn

from library.errors import UserError
from networks import lora
from networks.contract import (
    MODULE_FUNCTIONS,
    NETWORK_METHODS,
    OPTIONAL_METHODS,
    call_module,
    check_network,
    import_network_module,
)
from networks.module_lookup import require_module, resolve_alias
from tests.models.tiny import tiny_adapter
from tests.networks.third_party import THIRD_PARTY, module_of


def refusal(path: str) -> str:
    with pytest.raises(UserError) as caught:
        import_network_module(path)
    (problem,) = caught.value.problems
    assert problem.startswith(f"--network_module {path}: ")
    return problem.removeprefix(f"--network_module {path}: ")


def test_the_contract_is_that_of_kohyas_trainer():
    assert MODULE_FUNCTIONS == ("create_network", "create_network_from_weights")
    assert {
        "apply_to",
        "load_weights",
        "enable_gradient_checkpointing",
        "prepare_optimizer_params",
        "prepare_grad_etc",
        "on_epoch_start",
        "get_trainable_params",
        "save_weights",
    } == set(NETWORK_METHODS)
    assert {
        "prepare_network",
        "prepare_optimizer_params_with_multiple_te_lrs",
        "on_step_start",
        "set_multiplier",
        "apply_max_norm_regularization",
    } == set(OPTIONAL_METHODS)


def test_our_lora_satisfies_it():
    assert import_network_module("networks.lora") is lora
    views = tiny_adapter().views()
    network = lora.create_network(1.0, 4, 1.0, views.vae, views.text_encoders_as_kohya(), views.unet)
    check_network(network, "networks.lora")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("networks.lorra", "there is no such module. Did you mean networks.lora?"),
        ("network.lora", "there is no such module. Did you mean networks.lora?"),
        ("networks/lora", "there is no such module. Did you mean networks.lora?"),
        ("networks.lora.py", "there is no such module. Did you mean networks.lora?"),
        ("networks.lokkr", "there is no such module. Did you mean networks.lokr?"),
        ("lora", "there is no such module. Did you mean networks.lora?"),
        ("DoRA", "there is no such module. Did you mean networks.dora?"),
        ("networks.lycoris", "there is no such module. Did you mean lycoris.kohya?"),
        ("LyCORIS.kohya", "there is no such module. Did you mean lycoris.kohya?"),
        ("lycoris.kohia", "there is no such module. Did you mean lycoris.kohya?"),
        *(
            (
                f"networks.{name}",
                "there is no such module. It is for other models; SD 1.x, SD 2.x and SDXL are trained here, usually "
                "with networks.lora",
            )
            for name in ("lora_flux", "oft_flux", "lora_sd3", "lora_lumina", "lora_hunyuan_image")
        ),
    ],
)
def test_modules_that_do_not_exist(path, expected):
    assert refusal(path) == expected


@pytest.mark.parametrize("path", ["nothing.of.the.kind", "nothing_of_the_kind"])
def test_all_of_ours_are_named_when_none_is_like_it(path):
    said, _, ours = refusal(path).partition(" Ours: ")
    assert said == "there is no such module."
    assert ours.split(", ") == [
        "networks.boft", "networks.dora", "networks.dylora", "networks.full", "networks.glora", "networks.ia3",
        "networks.locon", "networks.loha", "networks.lokr", "networks.lora", "networks.lora_fa", "networks.oft",
    ]  # fmt: skip


def test_the_package_of_lycoris_is_no_module():
    expected = "--network_module lycoris: it is a package. Did you mean lycoris.kohya?"
    with pytest.raises(UserError) as caught:
        require_module("lycoris")
    assert caught.value.problems == (expected,)


def test_the_old_package_of_locon_is_ours():
    assert resolve_alias("locon.locon_kohya") == "networks.locon"
    require_module("locon.locon_kohya")
    assert import_network_module("locon.locon_kohya").__name__ == "networks.locon"


@pytest.mark.parametrize(
    ("name", "needed", "package"),
    [
        ("my_network", "absent_package", "absent_package"),
        ("my_network", "absent_package.inner", "absent_package"),
        ("folder.my_network", "absent_package", "absent_package"),
        # one name begins like the other
        ("absent_package_network", "absent_package", "absent_package"),
    ],
)
def test_modules_that_need_a_package(working_directory, name, needed, package):
    file = working_directory / f"{name.replace('.', '/')}.py"
    file.parent.mkdir(exist_ok=True)
    file.write_text(f"import {needed}\n", encoding="utf-8")
    assert refusal(name) == f"it needs the package {package}: pip install {package}"


@pytest.mark.parametrize(
    ("content", "lacking"),
    [
        ("", "create_network, create_network_from_weights"),
        ("def create_network(): ...", "create_network_from_weights"),
        ("def create_network_from_weights(): ...", "create_network"),
        ("create_network = create_network_from_weights = None", "create_network, create_network_from_weights"),
    ],
)
def test_modules_that_are_no_network_modules(working_directory, content, lacking):
    (working_directory / "half_a_network.py").write_text(content, encoding="utf-8")
    assert refusal("half_a_network") == f"it is no network module, since it lacks {lacking}"


def test_a_module_of_the_standard_library():
    assert refusal("json") == "it is no network module, since it lacks create_network, create_network_from_weights"


class Complete(nn.Module):
    """Every method, none of which does anything."""


for method in NETWORK_METHODS:
    setattr(Complete, method, lambda self, *arguments: None)


def lacking(*names: str) -> nn.Module:
    network = Complete()
    for name in names:
        setattr(network, name, None)
    return network


def test_a_complete_network_is_accepted():
    check_network(Complete(), "x")


@pytest.mark.parametrize(
    "names",
    [["apply_to"], ["save_weights", "prepare_grad_etc"], ["on_epoch_start", "load_weights"], list(NETWORK_METHODS)],
)
def test_methods_that_a_network_lacks_are_listed(names):
    with pytest.raises(UserError) as caught:
        check_network(lacking(*names), "my.network")
    ordered = [name for name in NETWORK_METHODS if name in names]
    assert len(ordered) == len(names)
    assert caught.value.problems == (f"--network_module my.network: its network lacks {', '.join(ordered)}",)


def test_what_is_no_network_at_all():
    methods = {name: lambda self: None for name in NETWORK_METHODS}
    with pytest.raises(UserError, match=r"its network lacks the base class torch\.nn\.Module$"):
        check_network(type("Plain", (), methods)(), "x")
    with pytest.raises(UserError, match=r"lacks the base class torch\.nn\.Module, apply_to, load_weights"):
        check_network(7, "x")
    with pytest.raises(UserError, match=r"^--network_module x: it made no network, so that there is nothing to train$"):
        check_network(None, "x")


@pytest.mark.parametrize("name", ["their_network", "their_networks.deeper.bias"])
def test_a_third_partys_module_in_the_working_directory(working_directory, tmp_path, name):
    file = working_directory / f"{name.replace('.', '/')}.py"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(THIRD_PARTY, encoding="utf-8")
    module = import_network_module(name)
    assert module.__file__ == str(file)

    model = tiny_adapter()
    views = model.views()
    text_encoder = views.text_encoders_as_kohya()
    network = module.create_network(
        1.0, 4, 1.0, views.vae, text_encoder, views.unet, neuron_dropout=None, block="6", dropout=None
    )
    check_network(network, name)
    network.apply_to(text_encoder, views.unet, True, True)

    def prediction():
        conditioning = model.encode_text(model.tokenize(["a cat"]))
        return model.predict(torch.ones(1, 4, 8, 8), torch.tensor([300]), conditioning, torch.zeros(1, 6))

    before = prediction()
    groups = network.prepare_optimizer_params(None, None, 0.5)
    before.square().mean().backward()
    torch.optim.SGD([{**group, "params": list(group["params"])} for group in groups]).step()
    assert network.value.item() != 0
    assert not torch.equal(prediction(), before)

    network.save_weights(str(tmp_path / "x.pt"), None, {})
    value = network.value.item()
    with torch.no_grad():
        network.value.zero_()
    assert torch.equal(prediction(), before)
    network.load_weights(str(tmp_path / "x.pt"))
    assert network.value.item() == value


def test_the_working_directory_is_looked_in_last_and_once(working_directory):
    (working_directory / "json.py").write_text(THIRD_PARTY, encoding="utf-8")
    (working_directory / "their_network.py").write_text(THIRD_PARTY, encoding="utf-8")
    assert "lacks create_network" in refusal("json")
    import_network_module("their_network")
    import_network_module("networks.lora")
    assert sys.path.count(str(working_directory)) == 1
    assert sys.path[-1] == str(working_directory)


def test_errors_inside_a_module_are_not_hidden(working_directory):
    """They are for the module's author, who needs the traceback."""
    (working_directory / "broken_network.py").write_text("1 / 0\n", encoding="utf-8")
    with pytest.raises(ZeroDivisionError):
        import_network_module("broken_network")


# ---- calls


def test_functions_that_do_not_fit_the_contract():
    module = module_of("def create_network(multiplier, unet): ...")
    with pytest.raises(
        UserError, match=r"^--network_module their_network: its create_network does not fit the contract"
    ):
        call_module(module, "create_network", 1.0, None, None)
    module = module_of("def create_network(*arguments, conv_dim=1): ...")
    with pytest.raises(UserError, match=r"or --network_args: got an unexpected keyword argument 'conv_dmi'$"):
        call_module(module, "create_network", 1.0, conv_dmi=1)


def test_failures_of_packages_are_one_line_with_the_place():
    module = module_of("def create_network(**k):\n    int(k['conv_dim'])", "a_package.theirs")
    with pytest.raises(UserError) as caught:
        call_module(module, "create_network", conv_dim="x")
    (problem,) = caught.value.problems
    assert problem.startswith("--network_module a_package.theirs: its create_network failed with ValueError: invalid")
    assert "a_package.theirs.py, line 2" in problem
    assert problem.endswith("; check --network_args conv_dim=x")
    own = module_of("def create_network():\n    int('x')", "networks.mine")
    with pytest.raises(ValueError, match="invalid literal"):
        call_module(own, "create_network")


@pytest.mark.parametrize(
    ("code", "suspected"),
    [
        ("{}[k['algo']]", " algo=lorra"),  # by its value in the text of the error
        ("preset = None; assert preset is not None", " preset=ful"),  # by its name in the line that failed
        ("raise ValueError", ""),
    ],
)
def test_the_argument_that_an_error_is_about_is_named(code, suspected):
    module = module_of(f"def create_network(dim, **k):\n    {code}", "a_package.theirs")
    with pytest.raises(UserError) as caught:
        call_module(module, "create_network", 4, algo="lorra", preset="ful", conv_dim="y", dropout=None)
    assert caught.value.problems[0].endswith(f"); check --network_args{suspected}")
