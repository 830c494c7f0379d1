"""Options that depend on each other: each rule with values that trigger it and values that do not."""

import re

import pytest

from library.options.combinations import RULES
from library.options.model_combinations import OWN_NETWORKS
from library.options.network_argument_names import NETWORK_ARGUMENTS
from library.options.schema import all_options
from networks.arguments import MODULES
from networks.arguments.declaration import declared_arguments
from networks.module_lookup import ALIASES
from tests.options.combination_cases import NOTICES, PROBLEMS
from tests.options.combination_cases.case import DATA, Case
from tests.options.resolving import COMPLETE, resolve, resolve_complete, write_config


def named(case: Case) -> str:
    return case.message.split(":")[0][:60]


@pytest.mark.parametrize("case", PROBLEMS, ids=named)
def test_problem(case):
    resolved = resolve_complete(*case.words.split(), without=case.without)
    assert resolved.problems == (case.message,)
    assert resolved.warnings == ()
    quiet = resolve_complete(*case.quiet.split(), without=case.without_in_quiet)
    assert quiet.problems == ()


@pytest.mark.parametrize("case", NOTICES, ids=named)
def test_notice(case):
    resolved = resolve_complete(*case.words.split(), without=case.without)
    assert resolved.problems == ()
    assert resolved.warnings == (case.message,)
    quiet = resolve_complete(*case.quiet.split(), without=case.without_in_quiet)
    assert (quiet.problems, quiet.warnings) == ((), ())


def test_every_rule_is_among_the_cases():
    assert len(RULES) == 40
    triggered = set()
    for case in (*PROBLEMS, *NOTICES):
        resolved = resolve_complete(*case.words.split(), without=case.without)
        given = frozenset(name for name, origin in resolved.origins.items() if origin != "default")
        triggered |= {rule.__name__ for rule in RULES if any(rule(resolved.settings, given))}
    assert triggered == {rule.__name__ for rule in RULES}


def test_a_complete_command_line_triggers_nothing():
    resolved = resolve_complete()
    assert (resolved.problems, resolved.warnings) == ((), ())


def test_an_empty_command_line_names_all_that_is_missing():
    resolved = resolve()
    missing = [problem.split(" is missing")[0] for problem in resolved.problems]
    assert missing == [
        "--pretrained_model_name_or_path",
        "--output_dir",
        "--network_module",
        "--train_data_dir or --dataset_config",
        "--resolution",
    ]


def test_a_configuration_that_is_written_may_be_incomplete():
    resolved = resolve("--output_config", "--config_file", "later")
    assert resolved.problems == ()


def test_regularisation_images_alone():
    resolved = resolve_complete("--reg_data_dir", "reg", without=("--train_data_dir",))
    assert resolved.problems == (
        "--train_data_dir or --dataset_config is missing: name the training images",
        "--reg_data_dir adds to training images; it needs --train_data_dir",
    )


UNUSABLE_NAMES = [
    *(f"my{letter}dog" for letter in '/\\:*?"<>|\n\x1f'),
    "",
    "dog.",
    "dog ",
    "con",
    "NUL",
    "aux.v2",
    "COM1",
    "lpt9.a.b",
    "d" * 201,
    "日" * 67,
]


@pytest.mark.parametrize("name", UNUSABLE_NAMES)
def test_names_that_some_system_cannot_have(name):
    resolved = resolve_complete(f"--output_name={name}")
    assert resolved.problems == (
        f"--output_name '{name}': must be a file name that every system takes: not empty, without "
        '/ \\ : * ? " < > |, no blank or dot at the end, no device name such as CON, '
        "at most 200 bytes in UTF-8 (the folder is --output_dir)",
    )


@pytest.mark.parametrize("name", ["my dog", ".größer 日本-v1.5_(x)", "100%", "console", "com10", "my con", "日" * 66])
def test_names_that_every_system_can_have(name):
    assert resolve_complete(f"--output_name={name}").problems == ()


@pytest.mark.parametrize(
    "words", ["--min_bucket_reso 128", "--bucket_no_upscale", "--keep_tokens 2", "--token_warmup_min 2"]
)
def test_a_dataset_file_may_switch_on_what_the_command_line_does_not(words):
    """Whether such an option has an effect is then up to the tables of the file."""
    resolved = resolve_complete("--dataset_config", "data.toml", *words.split(), without=DATA)
    assert (resolved.problems, resolved.warnings) == ((), ())


def test_rules_see_what_the_file_says(tmp_path):
    lines = [f"{option[2:]} = {value if value.isdigit() else repr(value)}" for option, value in COMPLETE.items()]
    lines += ["lr_warmup_steps = 5", "vae_batch_size = 2"]
    resolved = resolve("--config_file", write_config(tmp_path, "\n".join(lines)))
    assert len(lines) == 8
    assert [problem.split(":")[0] for problem in resolved.problems] == ["--lr_warmup_steps 5"]
    assert resolved.warnings == ("--vae_batch_size has no effect without --cache_latents",)


def test_a_default_that_was_written_down_is_no_default():
    assert resolve_complete().settings.buckets.min_bucket_reso == 256
    assert resolve_complete("--min_bucket_reso", "256").warnings == (
        "--min_bucket_reso has no effect without --enable_bucket",
    )


def test_notices_of_one_rule_come_in_alphabetical_order():
    resolved = resolve_complete("--min_bucket_reso", "64", "--max_bucket_reso", "512", "--bucket_reso_steps", "64")
    assert [notice.split()[0] for notice in resolved.warnings] == [
        "--bucket_reso_steps",
        "--max_bucket_reso",
        "--min_bucket_reso",
    ]
    resolved = resolve_complete("--dataset_config", "data.toml", "--reg_data_dir", "reg")
    assert [notice.split()[0] for notice in resolved.warnings] == ["--reg_data_dir", "--train_data_dir"]


def test_networks_known_to_understand_eight_bits_are_our_own():
    assert MODULES.keys() | ALIASES.keys() == OWN_NETWORKS
    assert len(OWN_NETWORKS) == 13


def test_the_help_names_our_networks():
    named = set(re.findall(r"networks\.\w+", all_options()["network_module"].help))
    assert named - {"networks.md"} == MODULES.keys()
    assert "docs/network_arguments.md" in all_options()["network_args"].help


def test_arguments_of_networks_are_known_to_the_options():
    models = MODULES.values()
    names = {
        name for model in models for name in [*declared_arguments(model), *model.OLDER_NAMES, *model.OPPOSITE_NAMES]
    }
    assert names == NETWORK_ARGUMENTS
    assert not names & all_options().keys()
