"""LyCORIS, unmodified, through the view of the model: its layers, kinds, files and arguments."""

import json
from pathlib import Path

import pytest
import torch
from lycoris import kohya
from safetensors.torch import load_file

from library.errors import UserError
from library.models.family import SD1, SD2, SDXL
from library.options.groups import NetworkOptions, OptimizerOptions
from library.training.network_saving import save_network
from library.training.network_setup import build_network
from networks.contract import check_network, import_network_module
from networks.lycoris_notices import lycoris_notices
from networks.module_lookup import explain_missing_module, require_module
from networks.unread_arguments import unread_arguments
from networks.verification.saved_file import verify_saved_file
from tests.models.full_size import full_size_views
from tests.models.tiny_families import tiny_adapter_of

TABLES = Path(__file__).resolve().parents[1] / "models"
SD15_LISTS, SDXL_LISTS = (
    {name: set(names) for name, names in json.loads((TABLES / file).read_text(encoding="utf-8")).items()}
    for file in ("module_lists_sd15.json", "module_lists_sdxl.json")
)

IN_3X3 = (
    "_conv1",
    "_conv2",
    "_conv_in",
    "_conv_out",
    "samplers_0_conv",
    "_in_layers_2",
    "_out_layers_3",
    "_op",
    "_conv",
)
TEXT_LAYERS = ("mlp_fc1", "mlp_fc2", *(f"self_attn_{part}_proj" for part in ("k", "out", "q", "v")))


def without_3x3(names: set[str]) -> set[str]:
    return {name for name in names if not name.endswith(IN_3X3)}


def of_unet(names: set[str]) -> set[str]:
    return {name for name in names if name.startswith("lora_unet_")}


SDXL_TEXT = SDXL_LISTS["text_encoders"]
SD2_TEXT = {f"lora_te_text_model_encoder_layers_{block}_{layer}" for block in range(23) for layer in TEXT_LAYERS}

LAYERS = [
    ("sd15", "full", 354, SD15_LISTS["full"]),
    ("sd15", "full-lin", 302, without_3x3(SD15_LISTS["full"])),
    ("sd15", "attn-mlp", 264, SD15_LISTS["lora"]),
    ("sd15", "attn-only", 176, SD15_LISTS["attention"]),
    ("sd15", "unet-only", 282, of_unet(SD15_LISTS["full"])),
    ("sd15", "unet-transformer-only", 192, of_unet(SD15_LISTS["lora"])),
    ("sd15", "unet-convblock-only", 88, SD15_LISTS["convolution_preset"]),
    ("sd21", "full", 420, of_unet(SD15_LISTS["full"]) | SD2_TEXT),
    ("sd21", "full-lin", 368, without_3x3(of_unet(SD15_LISTS["full"])) | SD2_TEXT),
    ("sd21", "attn-only", 220, of_unet(SD15_LISTS["attention"]) | {name for name in SD2_TEXT if "_attn_" in name}),
    ("sd21", "unet-only", 282, of_unet(SD15_LISTS["full"])),
    ("sd21", "unet-transformer-only", 192, of_unet(SD15_LISTS["lora"])),
    ("sd21", "attn-mlp", 330, of_unet(SD15_LISTS["lora"]) | SD2_TEXT),
    ("sd21", "unet-convblock-only", 88, SD15_LISTS["convolution_preset"]),
    ("sdxl", "full", 1052, SDXL_LISTS["full"] | SDXL_TEXT),
    ("sdxl", "full-lin", 1014, without_3x3(SDXL_LISTS["full"]) | SDXL_TEXT),
    ("sdxl", "attn-mlp", 986, SDXL_LISTS["lora"] | SDXL_TEXT),
    ("sdxl", "attn-only", 736, SDXL_LISTS["attention"] | SDXL_LISTS["text_attention"]),
    ("sdxl", "unet-only", 788, SDXL_LISTS["full"]),
    ("sdxl", "unet-transformer-only", 722, SDXL_LISTS["lora"]),
    ("sdxl", "unet-convblock-only", 66, SDXL_LISTS["convolution_preset"]),
]


def _named(value: object) -> str:
    """Test ids must not depend on the order of sets, which differs from process to process."""
    return "names" if isinstance(value, (set, frozenset)) else str(value)


@pytest.mark.parametrize(("family", "preset", "size", "expected"), LAYERS, ids=_named)
def test_layers_of_full_size_models(family, preset, size, expected):
    views = full_size_views(family)
    module = import_network_module("lycoris.kohya")
    encoders = views.text_encoders_as_kohya()
    network = module.create_network(1.0, 1, 1.0, views.vae, encoders, views.unet, preset=preset, dropout=None)
    check_network(network, "lycoris.kohya")
    names = [layer.lora_name for layer in network.loras]
    assert len(names) == size
    assert set(names) == expected


# ---- training


LORA = {"lora_down.weight", "lora_up.weight", "alpha"}
LOHA = {"hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "alpha"}
LOKR = {"lokr_w1", "lokr_w2", "lokr_w2_a", "lokr_w2_b", "alpha"}
OFT = {"oft_blocks", "alpha"}
ALGOS = {
    "lora": ([], LORA),
    "locon": (["algo=locon", "conv_dim=2", "conv_alpha=1"], LORA),
    "tucker": (["use_tucker=True", "use_scalar=True"], LORA | {"lora_mid.weight"}),
    "loha": (["algo=loha"], LOHA),
    "lokr": (["algo=lokr", "factor=4"], LOKR),
    "lokr full": (["algo=lokr", "factor=4", "full_matrix=True"], {"lokr_w1", "lokr_w2", "alpha"}),
    "dora": (["dora_wd=True"], LORA | {"dora_scale"}),
    "dora on inputs": (["dora_wd=True", "wd_on_output=False"], LORA | {"dora_scale"}),
    "dora of loha": (["algo=loha", "dora_wd=True", "wd_on_output=False"], LOHA | {"dora_scale"}),
    "dora of lokr": (["algo=lokr", "factor=4", "dora_wd=True"], LOKR | {"dora_scale"}),
    "oft": (["algo=diag-oft"], OFT),
    "boft": (["algo=boft", "constraint=0.1"], OFT),
    "ia3": (["algo=ia3"], {"weight", "on_input"}),
    "full": (["algo=full"], {"diff", "diff_b"}),
    "glora": (["algo=glora"], {"a1.weight", "a2.weight", "b1.weight", "b2.weight", "alpha"}),
    "norms": (["train_norm=True"], LORA | {"w_norm", "b_norm"}),
    "bypass": (["bypass_mode=True", "rs_lora=True"], LORA),
}
SIZES = {SD1: (12, 281), SD2: (12, 281), SDXL: (24, 257)}
"""Of tiny models with preset=full: layers of the text encoders, and of the U-Net without norms."""


def build(family, arguments, **options):
    model = tiny_adapter_of(family)
    given = NetworkOptions(
        network_module="lycoris.kohya", network_dim=4, network_args=("preset=full", *arguments), **options
    )
    rates = OptimizerOptions(learning_rate=1e-3)
    return model, build_network(import_network_module("lycoris.kohya"), model, given, rates, {}, 1, False)


def prediction(model) -> torch.Tensor:
    text = model.encode_text(model.tokenize(["a cat"]))
    sizes = torch.tensor([[64.0, 64.0, 0.0, 0.0, 64.0, 64.0]])
    return model.predict(torch.linspace(-2, 2, 256).view(1, 4, 8, 8), torch.tensor([300]), text, sizes)


@pytest.mark.parametrize(
    ("family", "algo"),
    [(SDXL, algo) for algo in ALGOS] + [(family, algo) for family in (SD1, SD2) for algo in ("lora", "dora", "full")],
    ids=lambda value: getattr(value, "name", value),
)
def test_every_algorithm_is_trained_saved_and_loaded(family, algo, tmp_path):
    arguments, suffixes = ALGOS[algo]
    base = prediction(tiny_adapter_of(family)).detach()
    model, trainable = build(family, arguments)
    in_text, in_unet = SIZES[family]
    assert len(trainable.network.text_encoder_loras) == in_text
    assert len(trainable.network.unet_loras) >= in_unet
    torch.testing.assert_close(prediction(model), base, rtol=0, atol=1e-5)

    optimizer = torch.optim.AdamW(trainable.groups)
    assert [group["lr"] for group in optimizer.param_groups] == [1e-3] * len(trainable.groups)
    trainable.before_epoch()
    for _ in range(2):
        trainable.before_batch()
        (prediction(model) - 1).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    trained = prediction(model).detach()
    assert (trained - base).abs().max() > 1e-3

    limit = 1e-5 if "use_scalar=True" in arguments else 1e-2  # a scalar that starts at 0 has not come far yet
    scaled, mean, largest = trainable.network.apply_max_norm_regularization(limit, torch.device("cpu"))
    if algo in ("ia3", "full", "glora"):  # which LyCORIS does not limit
        assert (scaled, mean, largest) == (0, 0, 0)
    else:
        assert scaled > 0
        assert mean <= largest <= limit * 1.01
    trained = prediction(model).detach()

    file = tmp_path / "trained ü.safetensors"
    save_network(trainable.network, file, None, {"ss_x": "1"})
    weights = load_file(file)
    assert {name.partition(".")[2] for name in weights} == suffixes
    prefixes = {"lora_unet", "lora_te1", "lora_te2"} if family is SDXL else {"lora_unet", "lora_te"}
    assert {"_".join(name.split("_")[:2]) for name in weights} == prefixes
    again, _ = build(family, arguments, network_weights=str(file))
    torch.testing.assert_close(prediction(again), trained, rtol=0, atol=1e-4)


def test_a_part_with_a_rate_of_zero_is_left_out():
    model = tiny_adapter_of(SDXL)
    options = NetworkOptions(network_module="lycoris.kohya", network_dim=2)
    rates = OptimizerOptions(learning_rate=1e-3, text_encoder_lr=(0.0,))
    trainable = build_network(kohya, model, options, rates, {}, 1, False)
    assert trainable.descriptions == ["unet"]
    assert (len(trainable.network.text_encoder_loras), len(trainable.network.unet_loras)) == (0, 257)
    assert all(name.startswith("lora_unet_") for name in trainable.network.state_dict())


def test_a_part_with_a_rate_of_zero_that_was_loaded_is_kept(tmp_path):
    file = str(tmp_path / "network.safetensors")
    _, first = build(SDXL, [])
    save_network(first.network, tmp_path / "network.safetensors", None, {})
    options = NetworkOptions(
        network_module="lycoris.kohya", network_dim=4, network_args=("preset=full",), network_weights=file
    )
    rates = OptimizerOptions(learning_rate=1e-3, text_encoder_lr=(0.0,))
    trainable = build_network(kohya, tiny_adapter_of(SDXL), options, rates, {}, 1, False)
    still = {name for name, value in trainable.network.named_parameters() if not value.requires_grad}
    assert len(still) == 2 * 24
    assert all(name.startswith(("lora_te1_", "lora_te2_")) for name in still)


def test_parts_that_are_left_out():
    _, trainable = build(SDXL, [], network_train_unet_only=True)
    assert (len(trainable.network.text_encoder_loras), len(trainable.network.unet_loras)) == (0, 257)


def test_a_preset_that_finds_nothing():
    expected = (
        r"nothing would be trained: lycoris\.kohya adapts no layer of the model: "
        r"check --network_args algo=ia3 preset=ia3$"
    )
    options = NetworkOptions(network_module="lycoris.kohya", network_args=("algo=ia3", "preset=ia3"))
    with pytest.raises(UserError, match=expected):
        build_network(kohya, tiny_adapter_of(SDXL), options, OptimizerOptions(learning_rate=1e-3), {}, 1, False)


@pytest.mark.parametrize(
    ("argument", "reason"),
    [
        ("algo=lorra", "KeyError: 'lorra'"),
        ("conv_dim=four", r"ValueError: invalid literal for int\(\) with base 10: 'four'"),
        ("preset=no such preset.toml", "AssertionError"),
    ],
)
def test_what_it_refuses_is_one_line(argument, reason):
    with pytest.raises(
        UserError,
        match=rf"^--network_module lycoris\.kohya: its create_network failed with {reason} \(.*"
        rf"; check --network_args {argument}$",
    ):
        build(SDXL, [argument])


# ---- files of other layers


def saved(arguments, folder) -> str:
    """The file of a network with random numbers."""
    _, trainable = build(SDXL, arguments)
    with torch.no_grad():
        for parameter in trainable.network.parameters():
            parameter.normal_()
    file = folder / "file.safetensors"
    save_network(trainable.network, file, None, {})
    return str(file)


OTHERS = [
    ([], ["algo=loha"], "did not take over 562 of its tensors", "the file's layers are LoRA, the network's are LoHa: "),
    (
        ["algo=loha"],
        [],
        "did not take over 1124 of its tensors",
        "the file's layers are LoHa, the network's are LoRA: ",
    ),
    (["dora_wd=True"], [], "did not take over 281 of its tensors", "the file's layers are LoRA and DoRA per output, "),
    ([], ["algo=full"], "does not fit this network: 843 of its", "the file's layers are LoRA, the network's are full "),
    (
        [],
        ["conv_dim=8"],
        "does not fit this network: 76 of its",
        "; the rank of its convolutions is 4: conv_dim=4, or ",
    ),
    (
        ["algo=loha"],
        ["algo=loha", "conv_dim=8"],
        "does not fit this network: 152 of",
        "; some of its layers have other ",
    ),
    # whose state has the file's names, without taking the tensors over
    ([], ["algo=dylora"], "did not take over 562 of its tensors", "; give the arguments that it was trained with, or "),
]


@pytest.mark.parametrize(("in_file", "arguments", "what", "advice"), OTHERS)
def test_what_a_network_does_not_take_over_ends_the_run(tmp_path, in_file, arguments, what, advice):
    file = saved(in_file, tmp_path)
    with pytest.raises(UserError) as caught:
        build(SDXL, arguments, network_weights=file)
    (problem,) = caught.value.problems
    assert problem.startswith(f"--network_weights '{file}'")
    assert what in problem
    assert advice in problem
    assert "\n" not in problem


def test_another_rank(tmp_path):
    file = saved([], tmp_path)
    options = NetworkOptions(network_module="lycoris.kohya", network_dim=8, network_weights=file)
    with pytest.raises(UserError, match=r"; its rank is 4: --network_dim 4; the rank of its convolutions is 4: conv_d"):
        build_network(kohya, tiny_adapter_of(SDXL), options, OptimizerOptions(learning_rate=1e-3), {}, 1, False)


def test_a_lora_becomes_dora(tmp_path):
    """What the network has besides the file stays as it begins."""
    build(SDXL, ["dora_wd=True"], network_weights=saved([], tmp_path))


# ---- the check of what was saved


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["algo=loha"], "281 layers compute what was trained (to 0.01% of a change)"),
        (["algo=full"], "281 layers not compared, since this network keeps the model's weights to itself"),
        (
            ["algo=full", "train_norm=True"],
            "96 layers compute what was trained (to 0.01% of a change); 281 layers not compared, since this network "
            "keeps the model's weights to itself",
        ),
    ],
)
def test_files_are_compared_as_far_as_the_models_weights_can_be_seen(tmp_path, arguments, said):
    model, trainable = build(SDXL, arguments)
    file = tmp_path / "trained.safetensors"
    save_network(trainable.network, file, None, {})
    trainable.network.eval()
    views = model.views()
    verification = verify_saved_file(file, views.text_encoders_as_kohya(), views.unet)
    assert verification.problems() == []
    assert str(verification) == said


# ---- several runs in one process


def test_a_preset_does_not_outlive_its_run(tmp_path):
    preset = tmp_path / "mine.toml"
    preset.write_text('exclude_name = ["input_blocks.*"]\nunet_target_module = ["CrossAttention"]\n', encoding="utf-8")
    _, first = build(SDXL, [f"preset={preset}"])
    assert not any("input_blocks" in layer.lora_name for layer in first.network.loras)
    kept = len(first.network.loras)
    _, second = build(SDXL, [])
    assert len(second.network.loras) == 24 + 257 > kept


# ---- arguments

DOCUMENTED = (
    "algo", "preset", "conv_dim", "conv_alpha", "dropout", "rank_dropout", "module_dropout", "use_tucker",
    "use_conv_cp", "use_cp", "disable_conv_cp", "use_scalar", "rank_dropout_scale", "block_size", "train_norm",
    "constraint", "constrain", "rescaled", "dora_wd", "wd_on_output", "full_matrix", "decompose_both", "factor",
    "bypass_mode", "rs_lora", "unbalanced_factorization", "loraplus_lr_ratio", "loraplus_unet_lr_ratio",
    "loraplus_text_encoder_lr_ratio", "train_t5xxl", "train_llm_adapter", "warn_on_unmatched",
)  # fmt: skip


def test_arguments_that_it_knows_raise_no_alarm():
    assert len(DOCUMENTED) == 32
    assert unread_arguments(kohya, DOCUMENTED) == []


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("conv_dmi", " Did you mean conv_dim?"),
        ("use_tuker", " Did you mean use_tucker?"),
        ("block_alphas", ""),
        ("block_lr_zero_threshold", ""),
        ("conv_block_dims", ""),
    ],
)
def test_arguments_that_nothing_reads(name, hint):
    expected = f"--network_args {name}: lycoris.kohya does not read this argument; it has no effect.{hint}"
    assert unread_arguments(kohya, ["algo", name]) == [expected]


@pytest.mark.parametrize(
    ("arguments", "warned"),
    [
        ({"dora_wd": "True"}, "dora_wd=True"),
        ({"dora_wd": "true", "wd_on_output": "True", "algo": "loha"}, "dora_wd=True"),
        ({"algo": "tlora"}, "algo=tlora"),
        ({"algo": "lokr", "use_tucker": "True"}, "use_tucker=True"),
        ({"algo": "LoKr", "decompose_both": "False"}, "decompose_both=False"),
        ({"preset": "ia3"}, "preset=ia3"),
        ({"rank_dropout_scale": "True"}, "rank_dropout_scale=True"),
    ],
)
def test_what_users_should_know(arguments, warned):
    (notice,) = lycoris_notices("lycoris.kohya", arguments)
    assert notice.startswith(f"--network_args {warned}: ")
    assert lycoris_notices("networks.lora", arguments) == []


def test_the_preset_of_ia3_has_a_cure():
    (notice,) = lycoris_notices("lycoris.kohya", {"preset": "ia3"})
    assert notice.endswith("; use algo=ia3 with preset=attn-mlp")


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"dora_wd": "False"},
        {"dora_wd": "True", "wd_on_output": "False"},
        {"algo": "lokr", "use_tucker": "False"},
        {"algo": "loha", "use_tucker": "True"},
        {"preset": "full", "dropout": None},
    ],
)
def test_ordinary_arguments_need_no_words(arguments):
    assert lycoris_notices("lycoris.kohya", arguments) == []


NOT_INSTALLED = "--network_module lycoris.kohya: it needs the package lycoris-lora: pip install lycoris-lora"


def test_a_missing_package_is_named_as_pip_knows_it(monkeypatch):
    assert explain_missing_module("lycoris.kohya", "lycoris") == NOT_INSTALLED
    assert explain_missing_module("my_network", "lycoris").endswith("pip install lycoris-lora")
    require_module("lycoris.kohya")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError) as caught:
        require_module("lycoris.kohya")
    assert caught.value.problems == (NOT_INSTALLED,)
