"""lora_keys_*.json: which layers a LoRA adapts, in which order and in which size, and how blocks are weighted."""

import pytest

from library.errors import UserError
from networks.arguments import check_arguments, parse_arguments
from networks.arguments.block_lists import block_rate_factors
from networks.network.chosen_layers import selection_of
from networks.network.layer_sizes import plan_sizes
from networks.targeting.targets import find_targets
from tests.golden.tables import table
from tests.models.full_size import full_size_views

BLOCKS = {"sd15": 25, "sd21": 25, "sdxl": 23}
KEYS = {family: table(f"lora_keys_{family}") for family in BLOCKS}
RATE = 1e-4
"""--unet_lr of the examples."""


def entries(part: str):
    return [
        pytest.param(family, entry, id=f"{family}-{number}")
        for family, keys in KEYS.items()
        for number, entry in enumerate(keys[part])
    ]


def find(family, arguments):
    views = full_size_views(family)
    return find_targets(views.text_encoders_as_kohya(), views.unet, selection_of(arguments))


def alpha_names(tensors) -> list[str]:
    return [key.removesuffix(".alpha") for key, _ in tensors if key.endswith(".alpha")]


@pytest.mark.parametrize(("family", "variant"), entries("variants"))
def test_layers_and_their_order(family, variant):
    arguments = parse_arguments("networks.lora", variant["network_args"])
    targets = find(family, arguments)
    assert len(targets.unet) == variant["modules"]["unet"]
    assert len(targets.text_encoder) == variant["modules"]["text_encoder"]
    assert [target.name for target in targets] == alpha_names(variant["tensors"])
    sizes = plan_sizes(targets, variant["network_dim"], variant["network_alpha"], arguments)
    alphas = [size.alpha for size in sizes.values()]
    assert {alpha: alphas.count(alpha) for alpha in alphas} == dict(variant["alpha_values"])


@pytest.mark.parametrize(("family", "example"), entries("block_examples"))
def test_sizes_and_rates_of_blocks(family, example):
    arguments = parse_arguments("networks.lora", example["network_args"])
    targets = find(family, arguments)
    sizes = plan_sizes(targets, example["network_dim"], example["network_alpha"], arguments)
    adapted = [target for target in targets.unet if target.name in sizes]
    assert sum(target.name in sizes for target in targets.text_encoder) == example["text_encoder_modules"]
    assert len(adapted) == example["unet_modules"]
    found = [[target.name, sizes[target.name].rank, sizes[target.name].alpha, target.block] for target in adapted]
    assert found == [row[:4] for row in example["modules"]]
    factors = block_rate_factors(arguments, targets.block_count) or [1.0] * targets.block_count
    rates = [RATE * factors[target.block] for target in adapted]
    assert rates == pytest.approx([down_rate for *_, down_rate, _ in example["modules"]], rel=1e-6)


@pytest.mark.parametrize(("family", "case"), entries("lr_weight_lists"))
def test_weights_of_blocks(family, case):
    given = {f"{part}_lr_weight": case[part] for part in ("down", "mid", "up")}
    arguments = parse_arguments("networks.lora", given | {"block_lr_zero_threshold": case["zero_threshold"]})
    factors = block_rate_factors(arguments, BLOCKS[family])
    assert len(factors) == BLOCKS[family]
    assert factors == pytest.approx(case["factors"], abs=1e-8)


@pytest.mark.parametrize(("family", "case"), entries("errors"))
def test_errors(family, case):
    with pytest.raises(UserError) as error:
        check_arguments("networks.lora", case["network_args"], 8, BLOCKS[family])
    wrong = next(name for name in case["network_args"] if name in error.value.problems[0])
    assert str(BLOCKS[family]) in str(error.value) or case["network_args"][wrong].split(",")[0] in str(error.value)


@pytest.mark.parametrize(("family", "case"), entries("reference_faults"))
def test_faults_of_the_reference_are_none_here(family, case):
    if "network_args" in case:
        (name,) = case["network_args"]
        with pytest.raises(UserError, match=f"^--network_args {name}.*number for each"):
            check_arguments("networks.lora", case["network_args"], 8, BLOCKS[family])
    else:
        find(family, parse_arguments("networks.lora", {"conv_dim": "4"}))
        assert len(find(family, parse_arguments("networks.lora", {})).unet) == case["unet_modules_expected"]


def test_every_part_of_the_tables_is_there():
    parts = {"variants": 2, "block_examples": 6, "lr_weight_lists": 3, "errors": 6, "reference_faults": 4}
    assert {part: len(entries(part)) for part in parts} == {part: 3 * count for part, count in parts.items()}
