"""What --network_args may say to each of our kinds, declared once.

Names and defaults are those of kohya's tool where it has the argument, else those of LyCORIS, except where a
docstring says otherwise.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from networks.arguments.declaration import argument
from networks.arguments.values import (
    PatternValues,
    block_weights,
    choice,
    flag,
    list_of,
    number,
    pattern_values,
    patterns,
    probability,
    text,
    whole_number,
)
from networks.targeting.block_curves import BlockCurve
from networks.targeting.presets import DEFAULT, PRESETS

DEFAULT_RANK = 4
"""Of a network without --network_dim."""

DEFAULT_CONV_ALPHA = 1.0
"""Where conv_dim is given, but neither conv_alpha nor a preset of LyCORIS."""

Numbers = tuple[float, ...]
WholeNumbers = tuple[int, ...]

_NO_NEURONS = "there is nothing between factors that it could drop"
_NO_RANK = "networks of this kind have no rank"


@dataclass(frozen=True, kw_only=True)
class NetworkArguments:
    """What every kind takes."""

    ALGOS: ClassVar[frozenset[str]] = frozenset()
    """LyCORIS's names of the kind, as its argument `algo` has them."""
    OLDER_NAMES: ClassVar[Mapping[str, str]] = {}
    """What LyCORIS called an argument, or still does -> its name here."""
    OPPOSITE_NAMES: ClassVar[Mapping[str, str]] = {}
    """The same for switches that say the opposite."""
    WITHOUT_EFFECT: ClassVar[Mapping[str, str]] = {}
    """Arguments that mean nothing to the kind -> why; giving them is no error, since many configurations do."""
    ALPHA_IS_CONSTRAINT: ClassVar[bool] = False
    """Whether --network_alpha limits the change instead of scaling it, so that 0 does not mean the rank."""
    GROWS_WITH_RANK: ClassVar[bool] = False
    """Whether a layer's factors grow with any rank, also with one that is larger than a weight can have."""

    preset: str = argument(
        "default", text(),
        f"Which layers: {', '.join(PRESETS)}, or a TOML file as LyCORIS reads it; {DEFAULT} is kohya's choice.",
    )  # fmt: skip
    include_patterns: tuple[str, ...] = argument(
        (), patterns(),
        "Regular expressions searched in the paths and key names of layers: only those layers, or, with "
        "exclude_patterns, the exceptions to these.",
    )  # fmt: skip
    exclude_patterns: tuple[str, ...] = argument(
        (), patterns(), "Regular expressions searched in the paths and key names of layers that are left out."
    )
    train_norm: bool = argument(False, flag(), "Train the normalisation layers among them, too.")
    conv_dim: int | None = argument(
        None, whole_number(least=0),
        "Rank for 3x3 convolutions; with it, residual blocks and resampling layers of the U-Net are trained as well. "
        "0 = none.",
    )  # fmt: skip
    conv_alpha: float | None = argument(
        None, number(least=0), "Alpha for 3x3 convolutions; 0 = the rank. Default: 1, or --network_alpha with a preset."
    )
    dropout: float | None = argument(None, probability(), "Dropout of values inside the network; as --network_dropout.")
    rank_dropout: float | None = argument(
        None, probability(), "Dropout of whole ranks, for each image; LoHa, LoKr and GLoRA: of outputs of the change."
    )
    rank_dropout_scale: bool = argument(True, flag(), "Scale what remains, so that the mean stays the same.")
    module_dropout: float | None = argument(None, probability(), "Dropout of whole layers of the network.")
    block_dims: WholeNumbers | None = argument(
        None, list_of(whole_number(least=0)),
        "Rank of each block of the U-Net: 25 numbers for SD 1.x and 2.x, 23 for SDXL; 0 = not trained.",
    )  # fmt: skip
    block_alphas: Numbers | None = argument(
        None, list_of(number(least=0)), "Alpha of each block of the U-Net. Default: --network_alpha."
    )
    conv_block_dims: WholeNumbers | None = argument(
        None, list_of(whole_number(least=0)), "Rank for 3x3 convolutions in each block of the U-Net. Default: conv_dim."
    )
    conv_block_alphas: Numbers | None = argument(
        None, list_of(number(least=0)), "Alpha for 3x3 convolutions in each block of the U-Net. Default: conv_alpha."
    )
    network_reg_dims: PatternValues[int] = argument(
        (), pattern_values(whole_number(least=0)),
        "Rank of layers whose path or key name holds a regular expression: expression=rank,expression=rank.",
    )  # fmt: skip
    network_reg_lrs: PatternValues[float] = argument(
        (), pattern_values(number(least=0)), "Learning rates in the same form: expression=rate,expression=rate."
    )
    down_lr_weight: BlockCurve | Numbers | None = argument(
        None, block_weights(),
        "What each block on the way down multiplies --unet_lr by: 12 numbers (SDXL: 9), or cosine, sine, linear, "
        "reverse_linear or zeros, perhaps with a number added, as in cosine+.25. 0 = not trained.",
    )  # fmt: skip
    mid_lr_weight: Numbers | None = argument(
        None, list_of(number(least=0)), "The same for the middle block, of which SDXL has 3; no curves."
    )
    up_lr_weight: BlockCurve | Numbers | None = argument(
        None, block_weights(), "The same for the blocks on the way up."
    )
    block_lr_zero_threshold: float = argument(
        0.0, number(least=0), "Blocks whose factor is at most this are not trained."
    )
    verbose: bool = argument(
        False, flag(), "Name every layer of the network in the log, with its size and its optimizer group."
    )
    algo: str | None = argument(None, text(), "LyCORIS's name of the kind; must fit --network_module.")
    bypass_mode: bool = argument(
        False, flag(), "How LyCORIS computes; accepted and without effect, since the fastest way is always taken here."
    )

    @property
    def options_without_effect(self) -> Mapping[str, str]:
        """Options of the run that mean nothing to the network -> why."""
        return {}

    @property
    def preset_of_layers(self) -> str:
        """The preset that chooses the layers."""
        return self.preset

    @property
    def adds_convolutions(self) -> bool:
        """Whether residual blocks and resampling layers join what the preset chooses."""
        return self.preset == DEFAULT and bool(self.conv_dim or any(self.conv_block_dims or ()))

    def alpha_of_convolutions(self, network_alpha: float) -> float:
        """Of 3x3 convolutions, unless their block has its own."""
        if self.conv_alpha is not None:
            return self.conv_alpha
        return DEFAULT_CONV_ALPHA if self.preset == DEFAULT else network_alpha


@dataclass(frozen=True, kw_only=True)
class RatioArguments(NetworkArguments):
    """Of LoRA+ (Hayou et al. 2024, arXiv 2402.12354)."""

    loraplus_lr_ratio: float | None = argument(
        None, number(above=0), "How many times faster the factors that start at zero are trained than the others."
    )
    loraplus_unet_lr_ratio: float | None = argument(None, number(above=0), "The same for the U-Net only.")
    loraplus_text_encoder_lr_ratio: float | None = argument(
        None, number(above=0), "The same for the text encoders only."
    )


@dataclass(frozen=True, kw_only=True)
class ScaledArguments(NetworkArguments):
    """Of the kinds that are scaled by alpha and rank."""

    GROWS_WITH_RANK: ClassVar[bool] = True

    rs_lora: bool = argument(
        False, flag(), "Scale by alpha / sqrt(rank) instead of alpha / rank (Kalajdzievski 2023, arXiv 2312.03732)."
    )


@dataclass(frozen=True, kw_only=True)
class FactorArguments(RatioArguments, ScaledArguments):
    """Of the kinds whose change is a product of factors, with or without DoRA."""

    OLDER_NAMES: ClassVar[Mapping[str, str]] = {"use_cp": "use_tucker", "use_conv_cp": "use_tucker"}
    OPPOSITE_NAMES: ClassVar[Mapping[str, str]] = {"disable_conv_cp": "use_tucker"}

    use_scalar: bool = argument(
        False, flag(), "Train a factor for each layer that starts at zero, instead of starting a matrix at zero."
    )
    use_tucker: bool = argument(
        False, flag(), "Split 3x3 convolutions into three factors (Tucker decomposition), which needs fewer numbers."
    )
    dora_wd: bool = argument(
        False, flag(), "Train magnitude and direction of the weights apart (DoRA; Liu et al. 2024, arXiv 2402.09353)."
    )
    wd_on_output: bool = argument(
        False, flag(),
        "DoRA with one magnitude for each output instead of each input. Few programs read that form right, so "
        "the default is not that of LyCORIS.",
    )  # fmt: skip
    norm_gradient: bool = argument(
        False, flag(), "DoRA: let gradients flow through the norm; as in the paper, they do not."
    )


@dataclass(frozen=True, kw_only=True)
class LoRAArguments(FactorArguments):
    ALGOS: ClassVar[frozenset[str]] = frozenset({"lora", "locon"})

    init: str = argument(
        "default", choice("default", "orthogonal", "pissa"),
        "What training starts from: default (one factor is zero), orthogonal (factors that are orthogonal to each "
        "other; even ranks only), pissa (the largest singular vectors of the weights; Meng et al. 2024, "
        "arXiv 2404.02948; saved at twice the rank).",
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class DoRAArguments(LoRAArguments):
    dora_wd: bool = argument(True, flag(), "Always True.")


@dataclass(frozen=True, kw_only=True)
class LoHaArguments(FactorArguments):
    ALGOS: ClassVar[frozenset[str]] = frozenset({"loha"})
    WITHOUT_EFFECT: ClassVar[Mapping[str, str]] = {"dropout": _NO_NEURONS}


@dataclass(frozen=True, kw_only=True)
class LoKrArguments(FactorArguments):
    ALGOS: ClassVar[frozenset[str]] = frozenset({"lokr"})
    WITHOUT_EFFECT: ClassVar[Mapping[str, str]] = {
        "dropout": _NO_NEURONS,
        "use_tucker": "ComfyUI cannot read that form of LoKr",
    }
    GROWS_WITH_RANK: ClassVar[bool] = False

    factor: int = argument(
        -1, whole_number(least=-1, but_not=0), "Size of the smaller matrix of the product; -1 = as large as possible."
    )
    full_matrix: bool = argument(False, flag(), "Do not split the larger matrix, whatever the rank.")
    decompose_both: bool = argument(False, flag(), "Split the smaller matrix, too, where the rank is small enough.")
    unbalanced_factorization: bool = argument(
        False, flag(), "Give the outputs of the smaller matrix to the larger one and vice versa."
    )


@dataclass(frozen=True, kw_only=True)
class RanklessArguments(NetworkArguments):
    """Of the kinds whose size is that of the layer; the rank 0 leaves a layer out, as everywhere."""

    WITHOUT_EFFECT: ClassVar[Mapping[str, str]] = {
        "dropout": _NO_NEURONS,
        "rank_dropout": _NO_RANK,
        "rank_dropout_scale": _NO_RANK,
        "conv_alpha": _NO_RANK,
        "block_alphas": _NO_RANK,
        "conv_block_alphas": _NO_RANK,
    }

    @property
    def options_without_effect(self) -> Mapping[str, str]:
        return {"network_dim": _NO_RANK, "network_alpha": _NO_RANK}


@dataclass(frozen=True, kw_only=True)
class IA3Arguments(RanklessArguments):
    """(IA)^3 scales keys, values and the inner layer of feed-forward blocks, unless told otherwise."""

    ALGOS: ClassVar[frozenset[str]] = frozenset({"ia3"})

    preset: str = argument("ia3", text(), "Which layers; see the other kinds.")
    train_on_input: bool | None = argument(
        None, flag(),
        "Scale the inputs of layers instead of their outputs. Default: the inputs of the last layer of feed-forward "
        "blocks, the outputs of all others.",
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class OFTArguments(NetworkArguments):
    """As in kohya's tool, --network_dim counts the blocks of the rotation, and attention layers of the U-Net are
    trained, unless told otherwise."""

    ALGOS: ClassVar[frozenset[str]] = frozenset({"oft", "diag-oft"})
    OLDER_NAMES: ClassVar[Mapping[str, str]] = {"constrain": "constraint"}
    ALPHA_IS_CONSTRAINT: ClassVar[bool] = True
    WITHOUT_EFFECT: ClassVar[Mapping[str, str]] = {
        "dropout": _NO_NEURONS,
        "rank_dropout": "without some of its parts, a rotation would no longer be one",
        "rank_dropout_scale": "there is no rank dropout",
    }

    network_dim_is: str = argument(
        "number_of_blocks", choice("number_of_blocks", "block_size"),
        "What --network_dim counts: the blocks of a layer's rotation, as in kohya's tool, or the rows of each block, "
        "as in LyCORIS.",
    )  # fmt: skip
    constraint: float | None = argument(
        None, number(least=0),
        "How far a rotation may go: the largest norm, for each output; 0 = without limit. Default: --network_alpha.",
    )  # fmt: skip
    rescaled: bool = argument(False, flag(), "Train a factor for each output as well.")
    enable_all_linear: bool = argument(
        False, flag(), "preset=default: all linear layers of the transformers, not only those of attention."
    )
    enable_conv: bool = argument(
        False, flag(), "preset=default: residual blocks and resampling layers, too, with their 3x3 convolutions."
    )

    @property
    def options_without_effect(self) -> Mapping[str, str]:
        return {} if self.constraint is None else {"network_alpha": "--network_args has a constraint"}

    @property
    def preset_of_layers(self) -> str:
        if self.preset != DEFAULT:
            return self.preset
        return "unet-transformer-only" if self.enable_all_linear else "unet-attn-only"

    @property
    def adds_convolutions(self) -> bool:
        return super().adds_convolutions or (self.preset == DEFAULT and self.enable_conv)

    def alpha_of_convolutions(self, network_alpha: float) -> float:
        return network_alpha if self.conv_alpha is None else self.conv_alpha


@dataclass(frozen=True, kw_only=True)
class BOFTArguments(NetworkArguments):
    """--network_dim is the size of the blocks, as in LyCORIS."""

    ALGOS: ClassVar[frozenset[str]] = frozenset({"boft"})
    OLDER_NAMES: ClassVar[Mapping[str, str]] = OFTArguments.OLDER_NAMES
    WITHOUT_EFFECT: ClassVar[Mapping[str, str]] = {
        **OFTArguments.WITHOUT_EFFECT,
        "conv_alpha": "use constraint",
        "block_alphas": "use constraint",
        "conv_block_alphas": "use constraint",
    }

    constraint: float = argument(
        0.0, number(least=0), "How far a rotation may go: the largest norm, for each output; 0 = without limit."
    )
    rescaled: bool = argument(False, flag(), "Train a factor for each output as well.")

    @property
    def options_without_effect(self) -> Mapping[str, str]:
        return {"network_alpha": "use --network_args constraint"}


@dataclass(frozen=True, kw_only=True)
class GLoRAArguments(RatioArguments, ScaledArguments):
    ALGOS: ClassVar[frozenset[str]] = frozenset({"glora"})
    WITHOUT_EFFECT: ClassVar[Mapping[str, str]] = {"dropout": _NO_NEURONS}


@dataclass(frozen=True, kw_only=True)
class FullArguments(RanklessArguments):
    ALGOS: ClassVar[frozenset[str]] = frozenset({"full"})


@dataclass(frozen=True, kw_only=True)
class DyLoRAArguments(RatioArguments):
    ALGOS: ClassVar[frozenset[str]] = frozenset({"dylora"})
    OLDER_NAMES: ClassVar[Mapping[str, str]] = {"block_size": "unit"}
    GROWS_WITH_RANK: ClassVar[bool] = True
    WITHOUT_EFFECT: ClassVar[Mapping[str, str]] = {
        "rank_dropout": "the rank is drawn anew each time as it is",
        "rank_dropout_scale": "there is no rank dropout",
    }

    unit: int = argument(
        1, whole_number(least=1), "Ranks are drawn in steps of this; --network_dim must be a multiple of it."
    )


@dataclass(frozen=True, kw_only=True)
class LoRAFAArguments(ScaledArguments):
    ALGOS: ClassVar[frozenset[str]] = frozenset({"lora_fa"})


MODULES: Mapping[str, type[NetworkArguments]] = {
    "networks.lora": LoRAArguments,
    "networks.locon": LoRAArguments,
    "networks.dora": DoRAArguments,
    "networks.loha": LoHaArguments,
    "networks.lokr": LoKrArguments,
    "networks.ia3": IA3Arguments,
    "networks.oft": OFTArguments,
    "networks.boft": BOFTArguments,
    "networks.glora": GLoRAArguments,
    "networks.full": FullArguments,
    "networks.dylora": DyLoRAArguments,
    "networks.lora_fa": LoRAFAArguments,
}
"""Our network modules -> the arguments of their kind."""
