"""Warnings about arguments that do nothing, or not what may be expected."""

import pytest

from networks.arguments import notices

SOME = [
    ("lora", {"conv_alpha": "1"}, "conv_alpha has no effect without conv_dim: no 3x3 convolution is trained"),
    ("lora", {"conv_block_alphas": "1"}, "conv_block_alphas has no effect without conv_dim"),
    ("lora", {"use_tucker": "True"}, "use_tucker has no effect without conv_dim"),
    ("lora", {"conv_dim": "4", "preset": "attn-mlp"}, "conv_dim has no effect with preset=attn-mlp"),
    ("lora", {"conv_dim": "4", "conv_block_dims": "4"}, "conv_dim has no effect, since conv_block_dims is given"),
    (
        "lora",
        {"conv_dim": "4", "conv_alpha": "2", "conv_block_alphas": "4"},
        "conv_alpha has no effect, since conv_block_alphas is given",
    ),
    ("lora", {"block_lr_zero_threshold": ".1"}, "block_lr_zero_threshold has no effect without down_lr_weight"),
    ("lora", {"rank_dropout_scale": "False"}, "rank_dropout_scale has no effect without rank_dropout"),
    ("lora", {"bypass_mode": "True"}, "bypass_mode has no effect"),
    ("lora", {"wd_on_output": "True"}, "wd_on_output has no effect without dora_wd"),
    ("loha", {"norm_gradient": "True"}, "norm_gradient has no effect without dora_wd"),
    (
        "lora",
        {"loraplus_lr_ratio": "4", "loraplus_unet_lr_ratio": "2", "loraplus_text_encoder_lr_ratio": "3"},
        "loraplus_lr_ratio has no effect",
    ),
    ("lokr", {"full_matrix": "True", "decompose_both": "True"}, "decompose_both has no effect with full_matrix"),
    ("lokr", {"use_tucker": "True", "conv_dim": "4"}, "use_tucker has no effect: ComfyUI cannot read"),
    ("lokr", {"dropout": "0.1"}, "dropout (or --network_dropout) has no effect"),
    ("loha", {"dropout": "0.1"}, "dropout (or --network_dropout) has no effect: there is nothing between factors"),
    ("ia3", {"rank_dropout": "0.1"}, "rank_dropout has no effect"),
    ("full", {"conv_alpha": "1"}, "conv_alpha has no effect: networks of this kind have no rank"),
    ("full", {"block_dims": ",".join(["8"] * 25)}, "block_dims: networks of this kind have no rank, so that only 0"),
    ("full", {"conv_dim": "4"}, "conv_dim: networks of this kind have no rank; it only adds convolutions"),
    ("lora", {"network_reg_lrs": "a=1,b=2,a=3"}, "network_reg_lrs: 'a' is there more than once; only the first has"),
    ("lora", {"network_reg_dims": "a=1,a=1"}, "network_reg_dims: 'a' is there more than once"),
    ("ia3", {"network_reg_dims": "to_k=8"}, "network_reg_dims: networks of this kind have no rank"),
    ("oft", {"enable_conv": "True", "preset": "full"}, "enable_conv has no effect with preset=full"),
    ("oft", {"algo": "diag-oft", "constraint": "0"}, "give network_dim_is=block_size"),
    ("oft", {"algo": "oft", "network_dim_is": "block_size"}, "without a limit, as in LyCORIS, give constraint=0"),
    ("oft", {"block_alphas": "1", "constraint": "0.1"}, "block_alphas has no effect with constraint"),
    ("boft", {"block_alphas": "1"}, "block_alphas has no effect: use constraint"),
    ("dylora", {"rank_dropout": "0.1"}, "rank_dropout has no effect"),
    ("lora", {"mid_lr_weight": "0.5", "down_lr_weight": "1,2"}, "down_lr_weight: has 2 numbers for 12 blocks"),
]
NONE = [
    ("lora", {"conv_dim": "4", "conv_alpha": "2", "use_tucker": "True", "dropout": "0.1", "rank_dropout": "0.1"}),
    ("lora", {"preset": "full", "conv_alpha": "2", "conv_dim": "4"}),
    ("lora", {"conv_block_dims": "1", "conv_alpha": "2"}),
    ("lora", {"bypass_mode": "False", "dropout": "0", "block_lr_zero_threshold": "0"}),
    ("lora", {"dora_wd": "True", "norm_gradient": "True"}),
    ("dora", {"wd_on_output": "True"}),
    ("lora", {"network_reg_lrs": "a=1,b=1"}),
    ("full", {"conv_dim": "0"}),
    ("lora", {"mid_lr_weight": "0.5", "block_lr_zero_threshold": ".1", "down_lr_weight": "sine"}),
    ("lora", {"loraplus_lr_ratio": "4", "loraplus_unet_lr_ratio": "2"}),
    ("lokr", {"full_matrix": "True", "dropout": "0", "module_dropout": "0.1", "rank_dropout": "0.2"}),
    ("oft", {"algo": "diag-oft", "network_dim_is": "block_size", "constraint": "0.1"}),
    ("oft", {"enable_conv": "True", "enable_all_linear": "True", "block_alphas": "1", "conv_alpha": "2"}),
    ("ia3", {"module_dropout": "0.1", "train_on_input": "True"}),
]


@pytest.mark.parametrize(("kind", "arguments", "message"), SOME)
def test_notices(kind, arguments, message):
    (notice,) = notices(f"networks.{kind}", arguments, 25)
    assert notice.startswith("--network_args ")
    assert message in notice


@pytest.mark.parametrize(("kind", "arguments"), NONE)
def test_no_notice(kind, arguments):
    assert notices(f"networks.{kind}", arguments, 25) == []


@pytest.mark.parametrize(
    ("kind", "arguments", "without_effect"),
    [
        ("lora", {}, []),
        ("ia3", {}, ["network_alpha", "network_dim"]),
        ("full", {}, ["network_alpha", "network_dim"]),
        ("boft", {}, ["network_alpha"]),
        ("oft", {}, []),
        ("oft", {"constraint": "0"}, ["network_alpha"]),
    ],
)
def test_options_of_the_run_without_effect(kind, arguments, without_effect):
    assert notices(f"networks.{kind}", arguments) == []
    found = notices(f"networks.{kind}", arguments, options_given={"network_dim", "network_alpha", "output_dir"})
    assert sorted(notice.split(" has no effect: ")[0] for notice in found) == [f"--{name}" for name in without_effect]
