"""The declarations against the options of kohya's scripts, and against what this version can do."""

import json
from pathlib import Path
from typing import get_args

import pytest
from pydantic import ValidationError

from library.options.groups import CaptionOptions
from library.options.schema import Settings, all_options, option_groups

REFERENCE = json.loads((Path(__file__).parent / "reference_options.json").read_text(encoding="utf-8"))

PATHS = frozenset({
    "conditioning_data_dir", "config_file", "console_log_file", "dataset_config", "in_json", "log_tracker_config",
    "logging_dir", "output_dir", "reg_data_dir", "sample_prompts", "tokenizer_cache_dir", "train_data_dir",
})  # fmt: skip
"""Text in the reference, except dataset_config."""

OWN_OPTIONS = frozenset({
    "allow_missing_captions", "cache_dir", "ema_decay", "ema_device", "ema_snapshots_every_n_steps",
    "enforce_bucket_limits", "log_image_losses", "logit_mean", "logit_std", "normalize_masked_loss", "p2_gamma", "p2_k",
    "recursive", "resample_latents", "sample_with_ema", "soft_min_snr", "stratified_timesteps",
    "text_encoder_cache_budget", "timestep_sampling", "unmasked_weight", "unreadable_images",
})  # fmt: skip
"""Not in the reference."""

NUM_OPTIONS = 196 + len(OWN_OPTIONS)

PAIRS = frozenset({"face_crop_aug_range", "resolution"})
"""Text in the reference."""

ADDED_CHOICES = {
    "resize_interpolation": {"box"},
    "max_token_length": {75},
    # The reference takes any text here and fails late.
    "lr_scheduler": {
        "constant", "constant_with_warmup", "linear", "cosine", "cosine_with_restarts", "polynomial", "inverse_sqrt",
        "cosine_with_min_lr", "warmup_stable_decay", "piecewise_constant", "adafactor", "rex",
    },
}  # fmt: skip

OWN_DEFAULTS = {"caption_extension": None}
"""Not given means something of its own here: .caption files, else .txt files."""

PENDING = frozenset({
    "async_upload",
    "ddp_gradient_as_bucket_view",
    "ddp_static_graph", "ddp_timeout", "deepspeed",
    "fp16_master_weights_and_gradients",
    "huggingface_path_in_repo", "huggingface_repo_id", "huggingface_repo_type",
    "huggingface_repo_visibility", "huggingface_token", "initial_epoch", "initial_step",
    "log_tracker_config", "max_validation_steps",
    "offload_optimizer_device", "offload_optimizer_nvme_path",
    "offload_param_device", "offload_param_nvme_path", "resume",
    "resume_from_huggingface", "save_last_n_epochs_state", "save_last_n_steps_state", "save_state",
    "save_state_on_train_end", "save_state_to_huggingface",
    "skip_until_initial_step",
    "validate_every_n_epochs", "validate_every_n_steps",
    "wandb_api_key", "wandb_run_name", "zero3_init_flag", "zero3_save_16bit_model", "zero_stage",
})  # fmt: skip
"""Options that are refused. Take an option off this list when it works; nothing may be added."""

PENDING_CHOICES = {
    "sample_sampler": {
        "pndm", "lms", "heun", "dpm_2", "dpm_2_a", "dpmsolver", "dpmsolver++", "dpmsingle", "k_lms", "k_dpm_2",
        "k_dpm_2_a",
    },
    "log_with": {"wandb", "all"},
}  # fmt: skip
"""Choices that are refused. This list, too, may only shrink."""


def kind_of(spec) -> str:
    value_type = get_args(spec.value_type)[0] if spec.is_list else spec.value_type
    kinds = {bool: "bool", int: "int", float: "float", str: "str", Path: "Path"}
    kinds |= {tuple[int, int]: "pair", tuple[float, float]: "pair"}
    if spec.choices:
        return kinds[type(spec.choices[0])]
    return kinds.get(value_type, "int_or_float" if set(get_args(value_type)) == {int, float} else str(value_type))


def test_the_reference_is_complete():
    assert len(REFERENCE) == 196
    names = {entry["name"] for entry in REFERENCE}
    assert names | OWN_OPTIONS == set(all_options())
    assert not names & OWN_OPTIONS


@pytest.mark.parametrize("entry", REFERENCE, ids=lambda entry: entry["name"])
def test_option_of_the_reference(entry):
    name = entry["name"]
    spec = all_options()[name]
    default = OWN_DEFAULTS.get(name, entry["default"])
    assert spec.default == default
    assert type(spec.default) is type(default)
    # None among the choices of the reference says that the option may be left out.
    choices = {choice for choice in entry["choices"] or () if choice is not None}
    assert set(spec.choices) == choices | ADDED_CHOICES.get(name, set())
    assert kind_of(spec) == ("Path" if name in PATHS else "pair" if name in PAIRS else entry["type"])
    assert spec.is_list == (entry["nargs"] == "*")
    assert spec.is_flag == (entry["nargs"] == 0)


def test_intended_differences_are_still_differences():
    reference = {entry["name"]: entry for entry in REFERENCE}
    assert len(PATHS) == 12
    assert {reference[name]["type"] for name in (PATHS | PAIRS) - {"dataset_config"}} == {"str"}
    for name, added in ADDED_CHOICES.items():
        assert added.isdisjoint(reference[name]["choices"] or ())
    for name, default in OWN_DEFAULTS.items():
        assert reference[name]["default"] != default


def test_a_negated_switch_is_no_other_option():
    switches = [spec.name for spec in all_options().values() if spec.is_flag]
    assert len(switches) == 71
    assert not {f"no_{name}" for name in switches} & set(all_options())


def test_pending_options_only_become_fewer():
    assert {name for name, spec in all_options().items() if spec.traits.pending} == PENDING


def test_pending_choices_only_become_fewer():
    pending = {name: spec.traits.pending_choices for name, spec in all_options().items() if spec.traits.pending_choices}
    assert {name: set(choices) for name, choices in pending.items()} == PENDING_CHOICES


@pytest.mark.parametrize("name", PENDING_CHOICES)
def test_pending_choices_are_choices_but_never_the_default(name):
    spec = all_options()[name]
    assert PENDING_CHOICES[name] < set(spec.choices)
    assert spec.default not in PENDING_CHOICES[name]
    assert set(spec.usable_choices) == {str(choice) for choice in set(spec.choices) - PENDING_CHOICES[name]}


def test_secrets():
    secrets = {name for name, spec in all_options().items() if spec.traits.secret}
    assert secrets == {"huggingface_token", "wandb_api_key"}


def test_defaults_fit_their_own_declaration():
    checked = [spec for spec in all_options().values() if spec.default is not None]
    assert len(checked) == 118
    for spec in checked:
        assert spec.parse_toml(spec.default) == spec.default
        assert spec.refusal(spec.default) == ""


def test_every_option_has_a_help_text_that_argparse_can_format():
    assert len(all_options()) == NUM_OPTIONS
    for spec in all_options().values():
        assert (spec.help % {}).endswith(".")


def test_titles_are_unique():
    titles = [model.title for model in option_groups().values()]
    assert len(titles) == len(set(titles)) == 30


def test_settings_are_never_written_to():
    captions = CaptionOptions()
    with pytest.raises(ValidationError, match="frozen"):
        captions.keep_tokens = 3
    settings = Settings.model_construct(captions=captions)
    with pytest.raises(ValidationError, match="frozen"):
        settings.captions = CaptionOptions()
