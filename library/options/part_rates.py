"""The learning rate of each part of the network, as the options have it before --network_args change any."""

from collections.abc import Iterator
from dataclasses import dataclass

from library.options.groups.network import NetworkOptions
from library.options.groups.optimizer import OptimizerOptions

OF_UNET, OF_TEXT_ENCODERS = "U-Net", "text encoders"


@dataclass(frozen=True)
class PartRates:
    part: str
    own_option: str
    """that is made for it"""
    option: str
    """that the rates come from"""
    rates: tuple[float, ...]
    """one, or one for each text encoder"""

    @property
    def is_off(self) -> bool:
        return not any(self.rates)


def part_rates(network: NetworkOptions, optimizer: OptimizerOptions) -> Iterator[PartRates]:
    """Of the parts that are to be trained."""
    if not network.network_train_text_encoder_only:
        rates = None if optimizer.unet_lr is None else (optimizer.unet_lr,)
        yield _of(OF_UNET, "unet_lr", rates, optimizer.learning_rate)
    if not network.network_train_unet_only:
        yield _of(OF_TEXT_ENCODERS, "text_encoder_lr", optimizer.text_encoder_lr, optimizer.learning_rate)


def _of(part: str, own_option: str, rates: tuple[float, ...] | None, default: float) -> PartRates:
    if rates:
        return PartRates(part, own_option, own_option, rates)
    return PartRates(part, own_option, "learning_rate", (default,))
