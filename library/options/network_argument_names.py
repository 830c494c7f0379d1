"""Names that look like options but are arguments of our network modules."""

from collections.abc import Iterable

from library.options.suggestions import suggest

NETWORK_ARGUMENTS = frozenset({
    "algo", "block_alphas", "block_dims", "block_lr_zero_threshold", "block_size", "bypass_mode", "constrain",
    "constraint", "conv_alpha", "conv_block_alphas", "conv_block_dims", "conv_dim", "decompose_both",
    "disable_conv_cp", "dora_wd", "down_lr_weight", "dropout", "enable_all_linear", "enable_conv",
    "exclude_patterns", "factor", "full_matrix", "include_patterns", "init", "loraplus_lr_ratio",
    "loraplus_text_encoder_lr_ratio", "loraplus_unet_lr_ratio", "mid_lr_weight", "module_dropout", "network_dim_is",
    "network_reg_dims", "network_reg_lrs", "norm_gradient", "preset", "rank_dropout", "rank_dropout_scale",
    "rescaled", "rs_lora", "train_norm", "train_on_input", "unbalanced_factorization", "unit", "up_lr_weight",
    "use_conv_cp", "use_cp", "use_scalar", "use_tucker", "verbose", "wd_on_output",
})  # fmt: skip
"""All that --network_args of our modules may name, also by the names of LyCORIS."""


def explain_unknown_option(name: str, known: Iterable[str], prefix: str = "") -> str:
    """What is wrong with an option that does not exist, and what may be meant.

    Args:
        known: names of options.
        prefix: what stands before an option where this one was found.
    """
    problem = f"{prefix}{name}: there is no such option."
    if name.lower() not in NETWORK_ARGUMENTS:
        return problem + suggest(name, known, prefix)
    pair = f"{name.lower()}=VALUE"
    form = f"--network_args {pair}" if prefix else f'network_args = ["{pair}"]'
    return f"{problem} It is an argument of networks: {form}"
