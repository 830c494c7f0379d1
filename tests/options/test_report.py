"""What a run says about its options, and what it writes of them."""

from dataclasses import replace

import pytest

from library.options.report import configuration_without_secrets, effective_configuration
from tests.options.resolving import resolve, resolve_complete, write_config
from tests.options.test_declarations import NUM_OPTIONS

SECRET = "hf_geheim"


def with_secrets(resolved):
    """As it will be once the options with secrets are available."""
    settings = resolved.settings
    hub = settings.hub.model_copy(update={"huggingface_token": SECRET, "huggingface_repo_id": "me/dog"})
    logging = settings.logging.model_copy(update={"wandb_api_key": SECRET})
    names = ("huggingface_token", "huggingface_repo_id", "wandb_api_key")
    return replace(
        resolved,
        settings=settings.model_copy(update={"hub": hub, "logging": logging}),
        origins={**resolved.origins, **dict.fromkeys(names, "command line")},
    )


def test_effective_configuration_shows_values_and_origins(tmp_path):
    path = write_config(tmp_path, "network_dim = 8\nresolution = [512, 768]\n", name="mein Lauf ü.toml")
    resolved = resolve_complete("--config_file", path, "--shuffle_caption", without=("--resolution",))
    assert effective_configuration(resolved).splitlines() == [
        "Effective configuration (option = value, from where):",
        "  Base model",
        "    pretrained_model_name_or_path = model.safetensors  (command line)",
        "  Dataset",
        "    train_data_dir = train  (command line)",
        "  Resolution and buckets",
        "    resolution = (512, 768)  (mein Lauf ü.toml)",
        "  Captions",
        "    shuffle_caption = True  (command line)",
        "  Network",
        "    network_module = networks.lora  (command line)",
        "    network_dim = 8  (mein Lauf ü.toml)",
        "  Training",
        "    max_train_steps = 100  (command line)",
        "  Saving",
        "    output_dir = out  (command line)",
        "  Configuration file",
        f"    config_file = {path}  (command line)",
        f"  All others ({NUM_OPTIONS - 9}) have their defaults; see docs/options.md.",
    ]


def test_effective_configuration_with_defaults_shows_every_option():
    lines = effective_configuration(resolve_complete(), include_defaults=True).splitlines()
    rows = [line for line in lines if line.startswith("    ")]
    assert len(rows) == NUM_OPTIONS
    assert "    network_alpha = 1  (default)" in rows
    assert "All others" not in lines[-1]


def test_a_default_that_was_written_down_is_shown():
    shown = effective_configuration(resolve_complete("--network_alpha", "1"))
    assert "    network_alpha = 1.0  (command line)" in shown.splitlines()


@pytest.mark.parametrize("include_defaults", [False, True])
def test_effective_configuration_hides_secrets(include_defaults):
    shown = effective_configuration(with_secrets(resolve_complete()), include_defaults)
    assert SECRET not in shown
    assert "    huggingface_token = (hidden)  (command line)" in shown.splitlines()
    assert "    wandb_api_key = (hidden)  (command line)" in shown.splitlines()
    assert "    huggingface_repo_id = me/dog  (command line)" in shown.splitlines()


def test_a_secret_that_was_not_given_is_not_called_hidden():
    shown = effective_configuration(resolve_complete(), include_defaults=True)
    assert "    huggingface_token = None  (default)" in shown.splitlines()


def test_the_written_configuration_leaves_out_secrets_and_itself(tmp_path):
    resolved = with_secrets(resolve_complete("--config_file", tmp_path / "ü.toml", "--output_config"))
    text = configuration_without_secrets(resolved)
    assert SECRET not in text
    assert [line.split(" = ")[0] for line in text.splitlines()] == [
        "pretrained_model_name_or_path",
        "train_data_dir",
        "resolution",
        "network_module",
        "max_train_steps",
        "output_dir",
        "huggingface_repo_id",
    ]
    assert 'huggingface_repo_id = "me/dog"' in text.splitlines()
    assert "resolution = [512, 512]" in text.splitlines()


ROUND_TRIP = [
    "--train_data_dir", "C:\\xenia\\neue Bilder ü",
    "--resolution", "512,768",
    "--enable_bucket",
    "--caption_extension", "txt",
    "--caption_prefix", 'a "quoted" \\ \'word\',\tzwei\nZeilen \x7f 🎉',
    "--caption_separator", "#",
    "--caption_dropout_rate", "0.05",
    "--network_args", "a=[1,2]", 'b="x"', "c=\\x41",
    "--network_alpha", "0.5",
    "--learning_rate", "1e-4",
    "--text_encoder_lr", "1e-5", "2",
    "--lr_scheduler", "cosine",
    "--lr_warmup_steps", "10%",
    "--lr_decay_steps", "20",
    "--seed", "12345678901",
    "--min_snr_gamma", "5",
    "--mixed_precision", "bf16",
    "--no_metadata",
    "--output_name", "größer 日本",
]  # fmt: skip


def test_the_written_configuration_reads_back_as_the_same_settings(tmp_path):
    original = resolve_complete(*ROUND_TRIP)
    assert original.problems == ()
    path = write_config(tmp_path, configuration_without_secrets(original))
    again = resolve("--config_file", path)
    assert again.problems == ()
    groups = [name for name in type(original.settings).model_fields if name != "config"]
    assert len(groups) == 29
    for name in groups:
        assert getattr(again.settings, name) == getattr(original.settings, name)
    assert repr(again.settings.schedule) == repr(original.settings.schedule)  # an int stays one, a float too
    assert again.settings.config.config_file == path
    assert configuration_without_secrets(again) == configuration_without_secrets(original)


def test_what_only_repeats_a_default_is_not_written():
    resolved = resolve_complete("--keep_tokens", "0", "--no_shuffle_caption")
    assert configuration_without_secrets(resolved) == configuration_without_secrets(resolve_complete())
