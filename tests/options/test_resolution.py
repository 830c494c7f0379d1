"""Command line, configuration file and defaults become settings."""

import tomllib
from pathlib import Path

import pytest

from library.options.config_file import config_path, to_toml
from library.options.option_types import SMALLEST_SIDE
from library.options.schema import all_options
from tests.options.resolving import COMPLETE, resolve, resolve_complete, write_config
from tests.options.test_declarations import PENDING

STEPS_OR_SHARE = (
    "must be a whole number of steps, a share of the run below 1 such as 0.1, or a percentage such as 10%"
)  # fmt: skip


def from_file(tmp_path, text, *words, without=()):
    return resolve_complete("--config_file", write_config(tmp_path, text), *words, without=without)


# Precedence


def test_command_line_beats_file_beats_default(tmp_path):
    resolved = from_file(tmp_path, "network_dim = 8\nseed = 7\n", "--network_dim", "16")
    assert resolved.problems == ()
    assert resolved.settings.network.network_dim == 16
    assert resolved.settings.training.seed == 7
    assert resolved.settings.captions.keep_tokens == 0
    origins = {name: resolved.origins[name] for name in ("network_dim", "seed", "keep_tokens")}
    assert origins == {"network_dim": "command line", "seed": "meine Einstellungen ü.toml", "keep_tokens": "default"}


def test_every_option_has_a_value_and_an_origin():
    resolved = resolve_complete()
    assert set(resolved.origins) == set(resolved.values()) == set(all_options())
    given = {name for name, origin in resolved.origins.items() if origin == "command line"}
    assert given == {option[2:] for option in COMPLETE}
    assert resolved.changed() == {
        "pretrained_model_name_or_path": "model.safetensors",
        "train_data_dir": Path("train"),
        "output_dir": Path("out"),
        "network_module": "networks.lora",
        "resolution": (512, 512),
        "max_train_steps": 100,
    }


@pytest.mark.parametrize(
    ("line", "words", "expected", "origin"),
    [
        ("", (), False, "default"),
        ("shuffle_caption = true", (), True, "meine Einstellungen ü.toml"),
        ("shuffle_caption = true", ("--no_shuffle_caption",), False, "command line"),
        ("shuffle_caption = false", (), False, "meine Einstellungen ü.toml"),
        ("shuffle_caption = false", ("--shuffle_caption",), True, "command line"),
        ("", ("--shuffle_caption", "--no_shuffle_caption"), False, "command line"),
        ("", ("--no_shuffle_caption", "--shuffle_caption"), True, "command line"),
    ],
)
def test_switches(tmp_path, line, words, expected, origin):
    resolved = from_file(tmp_path, line, *words)
    assert resolved.problems == ()
    assert resolved.settings.captions.shuffle_caption is expected
    assert resolved.origins["shuffle_caption"] == origin


def test_switches_whose_own_name_begins_with_no(tmp_path):
    resolved = from_file(tmp_path, "no_metadata = true\nno_half_vae = true", "--no_no_metadata")
    assert resolved.problems == ()
    assert resolved.settings.metadata.no_metadata is False
    assert resolved.settings.model.no_half_vae is True


def test_the_last_of_two_equal_options_wins():
    assert resolve_complete("--network_dim", "4", "--network_dim", "32").settings.network.network_dim == 32


def test_a_refused_value_in_the_file_does_not_matter_when_the_command_line_overrides_it(tmp_path):
    text = 'network_dim = "many"\nmax_validation_steps = 2'
    resolved = from_file(tmp_path, text, "--network_dim", "8", "--max_validation_steps", "1")
    # max_validation_steps is refused wherever it comes from, and named by the place that counts.
    assert resolved.problems == (
        "--max_validation_steps: not available in this version yet (validation); leave it out",
    )
    assert resolved.settings.network.network_dim == 8


# Natural forms in a file


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("resolution = 512", (512, 512)),
        ("resolution = [512, 768]", (512, 768)),
        ("resolution = [640]", (640, 640)),
        ('resolution = "512,768"', (512, 768)),
        ('resolution = "512, 768"', (512, 768)),
        ('resolution = "512"', (512, 512)),
        ("face_crop_aug_range = [1, 3]", (1.0, 3.0)),
        ("face_crop_aug_range = [2.0, 2]", (2.0, 2.0)),
        ('face_crop_aug_range = "0.5, 4"', (0.5, 4.0)),
        ('network_args = "conv=1"', ("conv=1",)),
        ('network_args = ["a=[1,2]", "b=c=d#e"]', ("a=[1,2]", "b=c=d#e")),
        ("text_encoder_lr = 1e-5", (1e-5,)),
        ("text_encoder_lr = [1e-5]", (1e-5,)),
        ("text_encoder_lr = [0, 1e-5]", (0.0, 1e-5)),
        ("text_encoder_lr = 0", (0.0,)),
        ("cache_latents = false", False),
        ("cache_latents = true", True),
        ("learning_rate = 1", 1.0),
        ("learning_rate = 1e-4", 1e-4),
        ("network_alpha = 8", 8.0),
        ("lr_warmup_steps = 0.1", 0.1),
        ("lr_warmup_steps = 100", 100),
        ('lr_warmup_steps = "10%"', 0.1),
        ("lr_decay_steps = 0.0", 0.0),
        ('caption_extension = "txt"', ".txt"),
        ('caption_extension = ".txt"', ".txt"),
        ("train_data_dir = 'C:\\new\\xml Bilder ü'", Path("C:\\new\\xml Bilder ü")),
        ('training_comment = "日本語 🎉"', "日本語 🎉"),
        ('mixed_precision = "bf16"', "bf16"),
    ],
)
def test_natural_forms(tmp_path, line, value):
    name = line.split(" ", 1)[0]
    needed = () if name != "lr_warmup_steps" else ("--lr_scheduler", "cosine")
    resolved = from_file(tmp_path, line, *needed, without=(f"--{name}",))
    assert resolved.problems == ()
    assert resolved.values()[name] == value
    assert type(resolved.values()[name]) is type(value)


def test_tables_are_only_for_order(tmp_path):
    resolved = from_file(tmp_path, "seed = 1\n[network]\nnetwork_dim = 4\n['my way']\noutput_name = 'ü'\n")
    assert resolved.problems == ()
    settings = resolved.settings
    assert (settings.training.seed, settings.network.network_dim, settings.saving.output_name) == (1, 4, "ü")


@pytest.mark.parametrize("heading", ["vae", "deepspeed", "resume", "network_args"])
def test_a_heading_may_be_called_like_an_option(tmp_path, heading):
    resolved = from_file(tmp_path, f"[{heading}]\nnetwork_dim = 8\n")
    assert resolved.problems == ()
    assert resolved.settings.network.network_dim == 8


@pytest.mark.parametrize("name", ["output_dir", "train_data_dir"])
def test_an_empty_path_is_none_at_all(name):
    """As from a shell variable that was not set; it must not become the current folder."""
    resolved = resolve_complete(f"--{name}", "")
    assert any(f"--{name}" in problem and "is missing" in problem for problem in resolved.problems)


def test_empty_optional_paths_in_a_file_are_none_at_all(tmp_path):
    resolved = from_file(tmp_path, 'reg_data_dir = ""\nlogging_dir = ""\nsample_prompts = ""\n')
    assert resolved.problems == ()
    assert resolved.settings.data.reg_data_dir is None
    assert resolved.settings.logging.logging_dir is None


@pytest.mark.parametrize("text", ["-1e-5", "-5%", "-.5"])
def test_negative_numbers_are_values_not_options(text):
    resolved = resolve_complete("--lr_warmup_steps", text, "--lr_scheduler", "cosine")
    assert resolved.problems == (f"--lr_warmup_steps {text}: must not be negative",)


def test_a_hundred_percent_is_too_much():
    resolved = resolve_complete("--lr_warmup_steps", "100%", "--lr_scheduler", "cosine")
    assert resolved.problems == ("--lr_warmup_steps 100%: must be below 100%",)


def test_one_option_in_two_tables(tmp_path):
    resolved = from_file(tmp_path, "[a]\nseed = 1\n[b]\nseed = 2\n")
    assert resolved.problems == ("meine Einstellungen ü.toml: seed is set twice",)


# Natural forms on the command line


@pytest.mark.parametrize(
    ("words", "value"),
    [
        (("--resolution", "512,768"), (512, 768)),
        (("--resolution=768",), (768, 768)),
        (("--network_args", "a=1", "b=c=d"), ("a=1", "b=c=d")),
        (("--network_args=a=1",), ("a=1",)),
        (("--text_encoder_lr", "1e-5", "0"), (1e-5, 0.0)),
        (("--lr_decay_steps", "5%"), 0.05),
        (("--lr_decay_steps", "0.25"), 0.25),
        (("--lr_decay_steps", "20"), 20),
        (("--caption_extension", "txt"), ".txt"),
        (("--save_precision", "fp16"), "fp16"),
        (("--output_dir", "Ausgabe für dich/x"), Path("Ausgabe für dich/x")),
        (("--learning_rate", "1E-4"), 1e-4),
        (("--caption_prefix", ""), ""),
        (("--caption_separator", " - "), " - "),
    ],
)
def test_forms_on_the_command_line(words, value):
    resolved = resolve_complete(*words)
    assert resolved.problems == ()
    name = words[0][2:].split("=", 1)[0]
    assert resolved.values()[name] == value
    assert type(resolved.values()[name]) is type(value)


PAIRS = {"resolution": (512, 768), "face_crop_aug_range": (0.5, 3.0)}


def example(spec):
    """Some value that fits and is not the default."""
    if spec.is_flag:
        return True
    if spec.choices:
        return next(choice for choice in spec.choices if choice and choice != spec.default)
    if spec.name in PAIRS:
        return PAIRS[spec.name]
    if spec.is_list:
        return (1e-5, 2.0) if spec.name in ("text_encoder_lr", "base_weights_multiplier") else ("a=1,2", "b=ü \\x")
    for value in (7, 0.25, "ü \"quoted\" \\x 'a'\nb", Path("C:\\xä\\new")):
        try:
            return spec.parse_toml(str(value) if isinstance(value, Path) else value)
        except ValueError:
            continue
    raise AssertionError(f"no example for {spec.name}")


def typed(value) -> str | list[str]:
    if value in PAIRS.values():
        return ",".join(map(str, value))
    return [str(part) for part in value] if isinstance(value, tuple) else str(value)


@pytest.mark.parametrize("name", all_options())
def test_every_option_reads_back_from_a_file_and_from_a_command_line(tmp_path, name):
    """One value, written to a file and typed, is the same value. Pending options are read before they are refused."""
    spec = all_options()[name]
    value = example(spec)
    assert value != spec.default
    entry = tomllib.loads(to_toml({name: value}))[name]
    for parsed in (spec.parse_toml(entry), True if spec.is_flag else spec.parse_text(typed(value))):
        assert parsed == value
        assert type(parsed) is type(value)


# Strictness

TWO_NUMBERS = "must be two numbers above 0, the smaller one first, such as 1.0,3.0"


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('network_dim = "8"', 'network_dim "8": must be a whole number; write 8 without quotes'),
        ("network_dim = true", "network_dim true: must be a whole number"),
        ("network_dim = 8.5", "network_dim 8.5: must be a whole number"),
        ("network_dim = 100.0", "network_dim 100.0: must be a whole number; write 100 instead of 100.0"),
        ("network_dim = 0", "network_dim 0: must be at least 1"),
        ("network_dim = [8]", "network_dim [8]: must be a whole number"),
        ('learning_rate = "1e-4"', 'learning_rate "1e-4": must be a number; write 1e-4 without quotes'),
        ("learning_rate = true", "learning_rate true: must be a number"),
        ("learning_rate = -1", "learning_rate -1: must be at least 0"),
        ("learning_rate = nan", "learning_rate nan: must be a number"),
        ("learning_rate = inf", "learning_rate inf: must be a number"),
        ('text_encoder_lr = "1e-5"', 'text_encoder_lr "1e-5": must be a number; write 1e-5 without quotes'),
        ('text_encoder_lr = [1e-5, "x"]', "text_encoder_lr [1e-05, x]: must be a number"),
        ("text_encoder_lr = [nan]", "text_encoder_lr [nan]: must be a number"),
        ("network_dropout = 1", "network_dropout 1: must be less than 1"),
        ("lr_scheduler_power = 0", "lr_scheduler_power 0: must be more than 0"),
        ("min_timestep = 1000", "min_timestep 1000: must be at most 999"),
        ("train_batch_size = 0", "train_batch_size 0: must be at least 1 (images)"),
        ('caption_separator = ""', "caption_separator '': must not be empty; leave it out to use the default"),
        ('mixed_precision = " "', "mixed_precision ' ': must be one of: no, fp16, bf16."),
        ("shuffle_caption = 1", "shuffle_caption 1: must be true or false"),
        ('shuffle_caption = "true"', 'shuffle_caption "true": must be true or false; write true without quotes'),
        ("output_name = 5", 'output_name 5: must be text (in a file: "in quotes")'),
        ("output_dir = 5", 'output_dir 5: must be a path (in a file: "in quotes")'),
        ("network_args = [1]", 'network_args [1]: must be text such as "key=value", or a list of such texts'),
        ('network_args = "a"', "network_args a: 'a' must have the form key=value"),
        ('network_args = " =a"', "network_args  =a: ' =a' must have the form key=value"),
        ('network_args = "=a"', "network_args =a: '=a' must have the form key=value"),
        ('mixed_precision = "fp32"', "mixed_precision fp32: must be one of: no, fp16, bf16."),
        ('mixed_precision = "fp61"', "mixed_precision fp61: must be one of: no, fp16, bf16. Did you mean fp16?"),
        ("resolution = true", "resolution true: must be one whole number or 'width,height'"),
        ("resolution = 512.0", "resolution 512.0: must be one whole number or 'width,height'"),
        ("resolution = [512.0, 512]", "resolution [512.0, 512]: must be one whole number or 'width,height'"),
        ("face_crop_aug_range = 2", f"face_crop_aug_range 2: {TWO_NUMBERS}"),
        ("face_crop_aug_range = [1.0]", f"face_crop_aug_range [1.0]: {TWO_NUMBERS}"),
        ("face_crop_aug_range = [3, 1]", f"face_crop_aug_range [3, 1]: {TWO_NUMBERS}"),
        ("face_crop_aug_range = [0, 1]", f"face_crop_aug_range [0, 1]: {TWO_NUMBERS}"),
        ("face_crop_aug_range = [true, 1]", f"face_crop_aug_range [true, 1]: {TWO_NUMBERS}"),
        ('face_crop_aug_range = "1,x"', f"face_crop_aug_range 1,x: {TWO_NUMBERS}"),
        ('face_crop_aug_range = "1,inf"', f"face_crop_aug_range 1,inf: {TWO_NUMBERS}"),
        ("resolution = [1, 2, 3]", "resolution [1, 2, 3]: must be one whole number or 'width,height'"),
        ("resolution = []", "resolution []: must be one whole number or 'width,height'"),
        ('resolution = "512x512"', "resolution 512x512: must be one whole number or 'width,height'"),
        ("resolution = 63", f"resolution 63: must be at least {SMALLEST_SIDE} pixels on each side"),
        ("lr_warmup_steps = 100.0", f"lr_warmup_steps 100.0: {STEPS_OR_SHARE}; write 100 for 100 steps"),
        ("lr_warmup_steps = 1.0", f"lr_warmup_steps 1.0: {STEPS_OR_SHARE}; write 1 for 1 step"),
        ('lr_warmup_steps = "1e2"', f'lr_warmup_steps "1e2": {STEPS_OR_SHARE}; write 100 for 100 steps'),
        ("lr_warmup_steps = true", f"lr_warmup_steps true: {STEPS_OR_SHARE}"),
        ("lr_warmup_steps = -1", "lr_warmup_steps -1: must not be negative"),
        ("lr_warmup_steps = inf", f"lr_warmup_steps inf: {STEPS_OR_SHARE}"),
        ("lr_warmup_steps = nan", f"lr_warmup_steps nan: {STEPS_OR_SHARE}"),
        ('lr_warmup_steps = "some"', f"lr_warmup_steps some: {STEPS_OR_SHARE}"),
    ],
)
def test_values_in_a_file_that_do_not_fit(tmp_path, line, problem):
    option = f"--{line.split(' ', 1)[0]}"
    resolved = from_file(tmp_path, line, without=(option,))
    assert resolved.problems == (f"meine Einstellungen ü.toml: {problem}",)


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("--network_dim", "eight"), "--network_dim eight: must be a whole number"),
        (("--network_dim", "8.5"), "--network_dim 8.5: must be a whole number"),
        (("--network_dim", "-1"), "--network_dim -1: must be at least 1"),
        (("--network_dim", ""), "--network_dim '': must be a whole number"),
        (("--learning_rate", "1e-4,"), "--learning_rate 1e-4,: must be a number"),
        (("--learning_rate", "inf"), "--learning_rate inf: must be a number"),
        (("--text_encoder_lr", "1e-5", "x"), "--text_encoder_lr 1e-5 x: must be a number"),
        (("--lr_warmup_steps", "100.0"), f"--lr_warmup_steps 100.0: {STEPS_OR_SHARE}; write 100 for 100 steps"),
        (("--lr_warmup_steps", "inf"), f"--lr_warmup_steps inf: {STEPS_OR_SHARE}"),
        (("--lr_warmup_steps=-5%",), "--lr_warmup_steps -5%: must not be negative"),
        (("--zero_stage", "²"), "--zero_stage ²: must be one of: 0, 1, 2, 3."),
        (("--resolution", "512,768,1024"), "--resolution 512,768,1024: must be one whole number or 'width,height'"),
        (("--save_precision", "fp32"), "--save_precision fp32: must be one of: float, fp16, bf16."),
        # Only choices that can be used are offered.
        (("--log_with", "tensorbord"), "--log_with tensorbord: must be one of: tensorboard. Did you mean tensorboard?"),
        (
            ("--lr_scheduler", "cosin"),
            "--lr_scheduler cosin: must be one of: constant, constant_with_warmup, linear, cosine, "
            "cosine_with_restarts, polynomial, inverse_sqrt, cosine_with_min_lr, warmup_stable_decay, "
            "piecewise_constant, adafactor, rex. Did you mean cosine?",
        ),
        (
            ("--lr_scheduler", "cosine_anneal"),
            "--lr_scheduler cosine_anneal: must be one of: constant, constant_with_warmup, linear, cosine, "
            "cosine_with_restarts, polynomial, inverse_sqrt, cosine_with_min_lr, warmup_stable_decay, "
            "piecewise_constant, adafactor, rex. Did you mean cosine?",
        ),
        (
            ("--lr_scheduler", "reduce_lr_on_plateau"),
            "--lr_scheduler reduce_lr_on_plateau: it follows a loss that is measured now and then, but a schedule here "
            "knows nothing but the step; use another, such as cosine",
        ),
    ],
)
def test_values_on_the_command_line_that_do_not_fit(words, problem):
    assert resolve_complete(*words).problems == (problem,)


# What is not an option, or not a whole one


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("--lerning_rate", "1e-4"), "--lerning_rate: there is no such option. Did you mean --learning_rate?"),
        (("--lerning_rate=1e-4",), "--lerning_rate: there is no such option. Did you mean --learning_rate?"),
        (("--network_d", "4"), "--network_d: there is no such option. Did you mean --network_dim?"),
        (("--max_data", "1"), "--max_data: there is no such option. Did you mean --max_data_loader_n_workers?"),
        (("--min_snr", "5"), "--min_snr: there is no such option. Did you mean --min_snr_gamma?"),
        (("--no_flip_agu",), "--no_flip_agu: there is no such option. Did you mean --no_flip_aug?"),
        (("--qqqq", "1", "2"), "--qqqq: there is no such option."),
        (("--LEARNING_RATE", "1"), "--LEARNING_RATE: there is no such option. Did you mean --learning_rate?"),
        (
            ("--conv_dim", "4"),
            "--conv_dim: there is no such option. It is an argument of networks: --network_args conv_dim=VALUE",
        ),
        (
            ("--network_args", "conv_dim", "=", "4"),
            "--network_args conv_dim = 4: 'conv_dim' must have the form key=value, without spaces around the equals "
            "sign",
        ),
        (("--output_name", "my", "dog"), "'dog' belongs to no option; put values that contain spaces in quotes"),
        (("--flip_aug=true",), "--flip_aug=true: a switch takes no value; write --flip_aug or --no_flip_aug"),
        (("--no_flip_aug=1",), "--no_flip_aug=1: a switch takes no value; write --flip_aug or --no_flip_aug"),
        (("--network_dim",), "--network_dim: a value is missing"),
        (("--network_dim", "--flip_aug"), "--network_dim: a value is missing"),
    ],
)
def test_command_lines_that_cannot_be_read(words, problem):
    assert resolve_complete(*words).problems == (problem,)


def test_a_required_option_without_value_is_reported_once():
    resolved = resolve_complete("--output_dir", without=("--output_dir",))
    assert resolved.problems == ("--output_dir: a value is missing",)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("lerning_rate = 1e-4", "lerning_rate: there is no such option. Did you mean learning_rate?"),
        ("[optimizer]\nlerning_rate = 1e-4", "lerning_rate: there is no such option. Did you mean learning_rate?"),
        ("qqqq = 1", "qqqq: there is no such option."),
        (
            "[network]\nconv_dim = 4",
            'conv_dim: there is no such option. It is an argument of networks: network_args = ["conv_dim=VALUE"]',
        ),
        (
            "[network_args]\nconv_dim = 4\nnetwork_alpha = 1",
            'network_args: must be a list of texts, not a table: network_args = ["conv_dim=4"]',
        ),
        (
            "optimizer_args = { weight_decay = 0.01, betas = [0.9, 0.99], decouple = true }",
            "optimizer_args: must be a list of texts, not a table: "
            'optimizer_args = ["weight_decay=0.01", "betas=0.9,0.99", "decouple=True"]',
        ),
        ("no_flip_aug = true", "no_flip_aug: there is no such option. Did you mean flip_aug?"),
    ],
)
def test_unknown_keys_in_a_file(tmp_path, text, problem):
    assert from_file(tmp_path, text).problems == (f"meine Einstellungen ü.toml: {problem}",)


def test_every_problem_is_reported_in_one_run(tmp_path):
    text = 'nettwork_dim = 4\nnetwork_alpha = "1"\nmax_validation_steps = 1\nlearning_rate = -1\n'
    resolved = from_file(
        tmp_path, text, "--learning_rate", "x", "--seed", "--stray=1", "word", "--lr_warmup_steps", "5",
        "--deepspeed", without=("--network_module",),
    )  # fmt: skip
    file = "meine Einstellungen ü.toml"
    assert set(resolved.problems) == {
        "--seed: a value is missing",
        "--stray: there is no such option.",
        f"{file}: nettwork_dim: there is no such option. Did you mean network_dim?",
        f'{file}: network_alpha "1": must be a number; write 1 without quotes',
        f"{file}: max_validation_steps: not available in this version yet (validation); leave it out",
        "--learning_rate x: must be a number",
        "--deepspeed: not available in this version yet (DeepSpeed); leave it out",
        "--network_module is missing: name what to train, usually --network_module networks.lora",
        "--lr_warmup_steps 5: the schedule 'constant' has no warm-up; use --lr_scheduler constant_with_warmup, "
        "or leave the warm-up out",
    }
    assert len(resolved.problems) == 9


# Options that are not available yet


@pytest.mark.parametrize("name", sorted(PENDING))
def test_pending_options_are_refused_by_name(tmp_path, name):
    spec = all_options()[name]
    value = example(spec)
    refusal = f"{name}: not available in this version yet ({spec.traits.pending}); leave it out"
    words = typed(value)
    resolved = resolve_complete(f"--{name}", *([] if spec.is_flag else [words] if isinstance(words, str) else words))
    assert f"--{refusal}" in resolved.problems
    assert resolved.values()[name] == spec.default
    assert f"meine Einstellungen ü.toml: {refusal}" in from_file(tmp_path, to_toml({name: value})).problems


@pytest.mark.parametrize("name", sorted(PENDING))
def test_pending_options_are_accepted_at_their_default(tmp_path, name):
    spec = all_options()[name]
    if spec.default is None:
        resolved = from_file(tmp_path, "")
    else:
        resolved = from_file(tmp_path, to_toml({name: spec.default}))
        assert resolved.origins[name] == "meine Einstellungen ü.toml"
    assert resolved.problems == ()


@pytest.mark.parametrize("name", ["skip_until_initial_step", "save_state", "deepspeed"])
def test_pending_switches_are_accepted_when_switched_off(name):
    assert resolve_complete(f"--no_{name}").problems == ()


@pytest.mark.parametrize("line", ["initial_step = 0", 'huggingface_token = ""', 'resume = ""', "base_weights = []"])
def test_pending_options_are_accepted_when_their_value_means_off(tmp_path, line):
    assert from_file(tmp_path, line).problems == ()


def test_an_empty_text_stands_for_no_vae(tmp_path):
    resolved = from_file(tmp_path, 'vae = ""')
    assert (resolved.problems, resolved.settings.model.vae or None) == ((), None)


@pytest.mark.parametrize(
    ("name", "choice", "usable"),
    [
        ("sample_sampler", "pndm", "ddim, euler, euler_a, k_euler, k_euler_a"),
        ("log_with", "wandb", "tensorboard"),
    ],
)
def test_pending_choices_are_refused_with_those_that_can_be_used(tmp_path, name, choice, usable):
    refusal = f"{name}: '{choice}' is not available in this version yet; use one of: {usable}"
    assert resolve_complete(f"--{name}", choice).problems == (f"--{refusal}",)
    from_config = from_file(tmp_path, f'{name} = "{choice}"')
    assert from_config.problems == (f"meine Einstellungen ü.toml: {refusal}",)


@pytest.mark.parametrize("name", ["wandb_api_key", "huggingface_token"])
def test_secrets_are_not_repeated_in_problems(tmp_path, name):
    (problem,) = from_file(tmp_path, f"{name} = 1234567").problems
    assert problem == f'meine Einstellungen ü.toml: {name} (hidden): must be text (in a file: "in quotes")'
    (problem,) = resolve_complete(f"--{name}", "geheim").problems
    assert "geheim" not in problem


# The file itself


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("settings", "settings.toml"),
        ("settings.toml", "settings.toml"),
        ("settings.TOML", "settings.TOML"),
        ("my run 1.5", "my run 1.5.toml"),
        ("Ordner ü/a", "Ordner ü/a.toml"),
    ],
)
def test_the_extension_may_be_left_out(name, path):
    assert config_path(Path(name)) == Path(path)


def test_a_file_named_without_its_extension_is_read(tmp_path):
    path = write_config(tmp_path, "seed = 5", name="lauf 1.5.toml")
    resolved = resolve_complete("--config_file", tmp_path / "lauf 1.5")
    assert resolved.problems == ()
    assert (resolved.settings.training.seed, resolved.origins["seed"]) == (5, path.name)


def test_missing_file(tmp_path):
    resolved = resolve_complete("--config_file", tmp_path / "weg ü")
    path = tmp_path / "weg ü.toml"
    assert resolved.problems == (f"--config_file: cannot read '{path}': No such file or directory",)


def test_a_folder_instead_of_a_file(tmp_path):
    path = tmp_path / "folder.toml"
    path.mkdir()
    (problem,) = resolve_complete("--config_file", path).problems
    assert problem.startswith(f"--config_file: cannot read '{path}': ")


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("seed = 1\nlearning_rate = \n", "line 2"),
        ("seed = 1\nseed = 2\n", "Cannot overwrite a value"),
        ("resolution = [512,\n", "end of document"),
        ("shuffle_caption = True\n", "line 1"),
        ('train_data_dir = "C:\\new"\noutput_dir = "C:\\Users"\n', "line 2"),
        ("[network\n", "line 1"),
        ("just words\n", "line 1"),
    ],
)
def test_a_file_that_is_not_toml(tmp_path, text, where):
    path = write_config(tmp_path, text)
    (problem,) = resolve_complete("--config_file", path).problems
    assert problem.startswith(f"--config_file: '{path}' is not valid TOML: ")
    assert where in problem


def test_a_file_in_another_encoding(tmp_path):
    path = tmp_path / "latin.toml"
    path.write_bytes('output_name = "grün"'.encode("latin-1"))
    problems = resolve_complete("--config_file", path).problems
    assert problems == (f"--config_file: '{path}' is not UTF-8 text; save it again as UTF-8",)


def test_a_byte_order_mark_and_windows_line_ends(tmp_path):
    path = tmp_path / "editor.toml"
    path.write_bytes(b'\xef\xbb\xbfseed = 3\r\noutput_name = "gr\xc3\xbcn"\r\n')
    resolved = resolve_complete("--config_file", path)
    assert resolved.problems == ()
    assert (resolved.settings.training.seed, resolved.settings.saving.output_name) == (3, "grün")


def test_an_empty_file(tmp_path):
    resolved = from_file(tmp_path, "")
    assert resolved.problems == ()
    assert "meine Einstellungen ü.toml" not in resolved.origins.values()


def test_a_broken_file_does_not_hide_other_problems(tmp_path):
    resolved = from_file(tmp_path, "= 1", "--network_dim", "x")
    assert len(resolved.problems) == 2
    assert resolved.problems[1] == "--network_dim x: must be a whole number"


def test_output_config_does_not_read_the_file_that_it_will_write(tmp_path):
    resolved = resolve("--config_file", tmp_path / "new", "--output_config", "--network_dim", "8")
    assert resolved.problems == ()
    assert resolved.settings.network.network_dim == 8
