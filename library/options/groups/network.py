"""The network that is trained."""

from typing import ClassVar

from library.options.declaration import OptionGroup, option
from library.options.option_types import KeyValues, NumberList, TextList


class NetworkOptions(OptionGroup):
    title: ClassVar[str] = "Network"

    network_module: str | None = option(
        help="Import path of the network module. Required. Ours are networks.lora, networks.locon, networks.dora, "
        "networks.loha, networks.lokr, networks.ia3, networks.oft, networks.boft, networks.glora, networks.full, "
        "networks.dylora and networks.lora_fa; docs/networks.md tells what they do."
    )
    network_dim: int | None = option(ge=1, help="Rank of the network; the module's default is 4.")
    network_alpha: float = option(1, ge=0, help="Alpha; the network is scaled by alpha / rank. 0 means alpha = rank.")
    network_args: KeyValues | None = option(
        help="Further arguments of the network module, as key=value; docs/network_arguments.md lists those of ours."
    )
    network_dropout: float | None = option(
        ge=0, lt=1, unit="probability", help="Dropout of the values inside the network while training."
    )
    network_train_unet_only: bool = option(False, help="Train the U-Net's part of the network only.")
    network_train_text_encoder_only: bool = option(False, help="Train the text encoder's part of the network only.")
    network_weights: str | None = option(help="Network file to start from; its own alphas count.")
    dim_from_weights: bool = option(False, help="Take each layer's kind, rank and alpha from --network_weights.")
    base_weights: TextList | None = option(
        help="Network files of any kind, merged into the base model before training."
    )
    base_weights_multiplier: NumberList | None = option(
        help="Strength of each of --base_weights; 1 where none is given."
    )
    scale_weight_norms: float | None = option(
        gt=0,
        help="Scale down weight changes whose Frobenius norm exceeds this, layer by layer after each step; usually 1.",
    )
