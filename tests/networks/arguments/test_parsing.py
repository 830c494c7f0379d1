"""What each kind takes and refuses."""

import dataclasses
import subprocess
import sys

import pytest

from library.errors import UserError
from networks.arguments import MODULES, check_arguments, notices, parse_arguments
from networks.arguments.declaration import declared_arguments
from networks.arguments.kinds import LoRAArguments, NetworkArguments


def refuse(module, arguments, *messages, **context) -> None:
    with pytest.raises(UserError) as error:
        check_arguments(module, arguments, **context)
    assert len(error.value.problems) == len(messages)
    for problem, message in zip(error.value.problems, messages, strict=True):
        assert message in problem


def test_the_kinds():
    assert len(MODULES) == 12
    assert {module.removeprefix("networks.") for module in MODULES} == {
        "lora", "locon", "dora", "loha", "lokr", "ia3", "oft", "boft", "glora", "full", "dylora", "lora_fa",
    }  # fmt: skip


@pytest.mark.parametrize("module", MODULES)
def test_every_argument_is_declared_once_and_explained(module):
    fields = {field.name for field in dataclasses.fields(NetworkArguments)}
    declared = declared_arguments(MODULES[module])
    assert declared.keys() >= fields
    assert len(fields) == 23
    assert all(traits.help.endswith(".") for traits in declared.values())
    names = MODULES[module].OLDER_NAMES | MODULES[module].OPPOSITE_NAMES | MODULES[module].WITHOUT_EFFECT
    assert set(MODULES[module].OLDER_NAMES.values()) | set(MODULES[module].OPPOSITE_NAMES.values()) <= declared.keys()
    assert MODULES[module].WITHOUT_EFFECT.keys() <= declared.keys()
    assert not names.keys() & declared.keys() - MODULES[module].WITHOUT_EFFECT.keys()


@pytest.mark.parametrize("module", MODULES)
def test_nothing_given_is_nothing_but_defaults(module):
    parsed = parse_arguments(module, {"dropout": None, "conv_dim": "None"})
    assert parsed == MODULES[module]()
    assert notices(module, {"dropout": None}, 25) == []
    check_arguments(module, {}, None, 25)


def test_defaults_of_kinds():
    assert MODULES["networks.dora"]().dora_wd
    assert not MODULES["networks.lora"]().dora_wd
    assert not MODULES["networks.dora"]().wd_on_output
    assert not MODULES["networks.dora"]().norm_gradient
    assert MODULES["networks.ia3"]().preset == "ia3"
    assert MODULES["networks.oft"]().network_dim_is == "number_of_blocks"
    assert MODULES["networks.lokr"]().factor == -1
    assert MODULES["networks.dylora"]().unit == 1


def test_values_of_programs_are_taken_as_well():
    given = {"conv_dim": 4, "dropout": 0.1, "rs_lora": True, "block_dims": [1, 2], "include_patterns": ["a{1,2}", "b"]}
    assert parse_arguments("networks.lora", given) == LoRAArguments(
        conv_dim=4, dropout=0.1, rs_lora=True, block_dims=(1, 2), include_patterns=("a{1,2}", "b")
    )


def test_older_names_of_lycoris():
    assert parse_arguments("networks.locon", {"use_cp": "True"}).use_tucker
    assert parse_arguments("networks.loha", {"use_conv_cp": "True"}).use_tucker
    assert not parse_arguments("networks.lora", {"disable_conv_cp": "True"}).use_tucker
    assert parse_arguments("networks.lora", {"disable_conv_cp": "False"}).use_tucker
    assert parse_arguments("networks.boft", {"constrain": "0.1"}).constraint == 0.1
    assert parse_arguments("networks.dylora", {"block_size": "4"}).unit == 4


@pytest.mark.parametrize(("first", "second"), [("use_tucker", "use_cp"), ("use_cp", "use_tucker")])
def test_two_names_of_one_argument(first, second):
    message = f"--network_args {second}=False: sets the same as {first}; leave one of them out"
    refuse("networks.lora", {first: "True", second: "False"}, message)


@pytest.mark.parametrize(
    ("module", "name", "message"),
    [
        ("networks.loha", "conf_dim", "networks.loha has no such argument. Did you mean conv_dim?"),
        ("networks.lora", "CONV_DIM", "networks.lora has no such argument. Did you mean conv_dim?"),
        ("networks.lora", "Factor", "networks.lora has no such argument. networks.lokr has it"),
        ("networks.lora", "qqq", "networks.lora has no such argument. docs/network_arguments.md lists all of them"),
        ("networks.lora", "factor", "networks.lora has no such argument. networks.lokr has it"),
        ("networks.lora", "unit", "networks.lora has no such argument. networks.dylora has it"),
        ("networks.lora", "block_size", "networks.lora has no such argument. networks.dylora has it"),
        ("networks.ia3", "loraplus_lr_ratio", "networks.ia3 has no such argument. networks.lora has it"),
        ("networks.lora", "xyz", "--network_args xyz=1: networks.lora has no such argument."),
    ],
)
def test_unknown_arguments(module, name, message):
    refuse(module, {name: "1"}, message)
    refuse(module, {name: None}, message.replace("=1", "=None"))


@pytest.mark.parametrize(
    ("value", "its_value", "other"),
    [
        ("4 conv_alpha=1", "4", "conv_alpha=1"),
        ("4, conv_alpha=1", "4", "conv_alpha=1"),
        ("4,preset=a,b", "4", "preset=a,b"),
    ],
)
def test_several_arguments_in_one_text(value, its_value, other):
    fix = f'these are several arguments; give each its own quotes: --network_args "conv_dim={its_value}" "{other}"'
    refuse("networks.lora", {"conv_dim": value}, f"--network_args conv_dim={value}: {fix}")


def test_expressions_with_equals_signs_are_one_argument():
    assert len(parse_arguments("networks.lora", {"network_reg_dims": "a=4, b=8"}).network_reg_dims) == 2


def test_everything_wrong_is_told_at_once():
    refuse(
        "networks.lora",
        {"conv_dim": "x", "droput": "0.1", "preset": "ful", "algo": "loha", "rank_dropout": "1", "dropout": "0.1"},
        "--network_args conv_dim=x: must be a whole number",
        "--network_args droput=0.1: networks.lora has no such argument. Did you mean dropout?",
        "--network_args rank_dropout=1: must be a probability",
        "--network_args algo=loha: networks.lora trains another kind; use --network_module networks.loha",
        "--network_args preset=ful: there is no such preset. Did you mean full?",
    )


@pytest.mark.parametrize(
    ("module", "algo"),
    [
        ("networks.lora", "locon"), ("networks.locon", "LoRA"), ("networks.dora", "lora"), ("networks.oft", "diag-oft"),
        ("networks.lokr", "lokr"), ("networks.dylora", "dylora"),
    ],
)  # fmt: skip
def test_algo_of_the_same_kind(module, algo):
    assert parse_arguments(module, {"algo": algo}).algo == algo


@pytest.mark.parametrize(
    ("module", "arguments", "message"),
    [
        ("networks.lora", {"algo": "diag-oft"}, "use --network_module networks.oft"),
        ("networks.loha", {"algo": "locon"}, "use --network_module networks.lora"),
        ("networks.lora", {"algo": "tlora"}, "--network_module says what to train"),
        ("networks.dora", {"dora_wd": "False"}, "use --network_module networks.lora"),
        ("networks.lora", {"init": "pissa", "use_tucker": "True"}, "init=pissa: does not go with use_tucker"),
        ("networks.dora", {"init": "orthogonal", "use_scalar": "True"}, "does not go with use_scalar"),
        ("networks.lora", {"preset": "gone.toml"}, "preset=gone.toml: the file cannot be read"),
    ],
)
def test_contradictions(module, arguments, message):
    refuse(module, arguments, message)


@pytest.mark.parametrize(
    ("module", "arguments", "network_dim", "messages"),
    [
        ("networks.lora", {"init": "orthogonal"}, 5, ["--network_dim 5: must be even for init=orthogonal"]),
        ("networks.lora", {"init": "orthogonal", "conv_dim": "3"}, None, ["--network_args conv_dim 3: must be even"]),
        ("networks.dora", {"init": "orthogonal", "network_reg_dims": "a=1"}, 4, ["network_reg_dims 1: must be even"]),
        ("networks.dylora", {"unit": "4"}, 6, ["--network_dim 6: must be a multiple of unit=4"]),
        ("networks.dylora", {"unit": "3"}, None, ["--network_dim 4: must be a multiple of unit=3"]),
        (
            "networks.dylora",
            {"unit": "4", "block_dims": "4,6"},
            5,
            ["--network_dim 5", "block_dims 4,6: must be a"],
        ),
    ],
)
def test_ranks_that_cannot_be(module, arguments, network_dim, messages):
    refuse(module, arguments, *messages, network_dim=network_dim)


def test_lists_are_counted_where_the_model_is_known():
    check_arguments("networks.lora", {"block_dims": "1,2", "mid_lr_weight": "1,2"})
    refuse(
        "networks.lora",
        {"block_dims": "1,2", "mid_lr_weight": "1,2"},
        "block_dims: has 2 numbers, but the U-Net of this model has 25 blocks",
        "mid_lr_weight: has 2 numbers, but this part of the U-Net has 1 block",
        block_count=25,
    )


def test_modules_of_others_check_their_own():
    check_arguments("lycoris.kohya", {"whatever": "1"}, 4, 25)
    assert notices("lycoris.kohya", {"whatever": "1"}, 25) == []


def test_nothing_heavy_is_imported():
    code = "import sys, networks.arguments; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
