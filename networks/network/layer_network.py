"""The network all of our own kinds share: adapted layers, applied, trained and saved together."""

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from library.errors import UserError
from networks.files.weights_file import write_network_file
from networks.kinds.catalogue import tensors_by_layer
from networks.layers.adapted_layer import AdaptedLayer
from networks.network.description import describe_layers
from networks.network.input_sharing import share_inputs
from networks.network.loading import LoadReport, compare_layers, read_in_own_names
from networks.network.misfits import advice
from networks.network.optimizer_groups import (
    Groups,
    RatedLayers,
    RateRules,
    build_groups,
    parts_with_own_rates,
    unet_parts,
)
from networks.network.weight_norm_limit import NormReport, limit_norms
from networks.targeting.targets import text_encoder_prefixes

logger = logging.getLogger(__name__)

NO_RULES = RateRules()


class LayerNetwork(nn.Module):
    """Implements the contract (contract.py) for any kinds of adapted layers.

    Children are named as in files.
    """

    def __init__(
        self,
        text_encoder_layers: Sequence[AdaptedLayer],
        unet_layers: Sequence[AdaptedLayer],
        rules: RateRules = NO_RULES,
        is_verbose: bool = False,
    ):
        """
        Args:
            is_verbose: every layer is named in the log when its learning rate is known.
        """
        super().__init__()
        self.text_encoder_loras = list(text_encoder_layers)
        self.unet_loras = list(unet_layers)
        self._rules = rules
        self._is_verbose = is_verbose

    def apply_to(
        self, text_encoder: Any, unet: nn.Module, apply_text_encoder: bool = True, apply_unet: bool = True
    ) -> None:
        if not apply_text_encoder:
            self.text_encoder_loras = []
        if not apply_unet:
            self.unet_loras = []
        for layer in self.layers():
            layer.hook_into_layer()
            self.add_module(layer.lora_name, layer.train(self.training))
        share_inputs(self.layers())

    def leave_out(self, layers: Collection[AdaptedLayer]) -> None:
        """Takes layers out again, as if they had never been applied: the model computes without them, and files do not
        hold them."""
        names = {layer.lora_name for layer in layers}
        for layer in layers:
            layer.unhook_from_layer()
            delattr(self, layer.lora_name)
        self.text_encoder_loras = [layer for layer in self.text_encoder_loras if layer.lora_name not in names]
        self.unet_loras = [layer for layer in self.unet_loras if layer.lora_name not in names]
        share_inputs(self.layers())

    def layers(self) -> list[AdaptedLayer]:
        return [*self.text_encoder_loras, *self.unet_loras]

    def set_multiplier(self, multiplier: float) -> None:
        for layer in self.layers():
            layer.multiplier = multiplier

    def load_weights(self, file: str) -> LoadReport:
        """Takes over a file's weights and alphas, whatever its precision and its dialect of names.

        Raises:
            UserError: nothing in the file fits this network, or its layers are of other kinds or ranks.
        """
        own = {layer.lora_name: layer for layer in self.layers()}
        in_file = tensors_by_layer(read_in_own_names(file, own))
        report = compare_layers(own, in_file)
        if not report.loaded:
            raise UserError(f"network file '{file}': none of its {len(in_file)} layers belongs to this network")
        problems: list[str] = []
        for name in report.loaded:
            try:
                own[name].load_tensors(in_file[name])
            except UserError as error:
                problems += error.problems
        if problems:
            raise UserError(
                f"network file '{file}' does not fit this network: {problems[0]}"
                + (f" (and {len(problems) - 1} more)" if len(problems) > 1 else "")
                + f"; {advice({name: layer.file_tensors() for name, layer in own.items()}, in_file)}"
            )
        return report

    def enable_gradient_checkpointing(self) -> None:
        """Nothing to do: the layers recompute together with the blocks that contain them."""

    def prepare_grad_etc(self, text_encoder: Any, unet: nn.Module) -> None:
        """Nothing to do: prepare_optimizer_params decided what is trained."""

    def on_epoch_start(self, text_encoder: Any, unet: nn.Module) -> None:
        self.train()

    def prepare_optimizer_params(
        self, text_encoder_lr: float | None, unet_lr: float | None, default_lr: float | None
    ) -> Groups:
        """See prepare_optimizer_params_with_multiple_te_lrs."""
        rates = [] if text_encoder_lr is None else [text_encoder_lr]
        return self.prepare_optimizer_params_with_multiple_te_lrs(rates, unet_lr, default_lr)

    def prepare_optimizer_params_with_multiple_te_lrs(
        self, text_encoder_lr: Sequence[float] | None, unet_lr: float | None, default_lr: float | None
    ) -> Groups:
        """Groups of the text encoders, then of the U-Net or its blocks; each followed by what LoRA+ trains faster.

        Args:
            text_encoder_lr: none, one for all text encoders, or one for each.
        """
        default = default_lr or 0.0
        unet_rate = default if unet_lr is None else unet_lr
        groups, descriptions = build_groups(
            [
                *self._text_encoder_parts(text_encoder_lr or (), default),
                *unet_parts(self.unet_loras, unet_rate, self._rules),
            ]
        )
        if self._is_verbose:
            for line in describe_layers(self.layers(), groups, descriptions):
                logger.info(line)
        return groups, descriptions

    def _text_encoder_parts(self, rates: Sequence[float], default: float) -> Iterable[RatedLayers]:
        """The text encoders' layers, together as long as their rates are the same."""
        ratio = self._rules.text_encoder_plus_ratio
        apart, layers = parts_with_own_rates("textencoder", self.text_encoder_loras, ratio, self._rules)
        yield from apart
        if len(set(rates)) < 2:
            yield RatedLayers("textencoder", layers, rates[0] if rates else default, ratio)
            return
        for number, (prefix, rate) in enumerate(zip(text_encoder_prefixes(2), rates, strict=True), 1):
            of_encoder = [layer for layer in layers if layer.lora_name.startswith(f"{prefix}_")]
            yield RatedLayers(f"textencoder{number}", of_encoder, rate, ratio)

    def get_trainable_params(self) -> Iterable[nn.Parameter]:
        return (parameter for parameter in self.parameters() if parameter.requires_grad)

    def apply_max_norm_regularization(self, max_norm_value: float, device: Any = None) -> NormReport:
        """Of the layers that are trained: what is frozen stays as it is."""
        trained = [layer for layer in self.layers() if any(weight.requires_grad for weight in layer.parameters())]
        return limit_norms(trained, max_norm_value)

    def file_tensors(self) -> dict[str, torch.Tensor]:
        """What a file of this network holds, by full name."""
        return {
            f"{layer.lora_name}.{suffix}": tensor
            for layer in self.layers()
            for suffix, tensor in layer.file_tensors().items()
        }

    def save_weights(self, file: str, dtype: torch.dtype | None, metadata: Mapping[str, str] | None) -> None:
        write_network_file(file, self.file_tensors(), dtype, metadata)

    def is_mergeable(self) -> bool:
        return True

    def merge_to(
        self,
        text_encoder: Any,
        unet: nn.Module,
        weights_sd: Mapping[str, torch.Tensor] | None = None,
        dtype: torch.dtype | None = None,
        device: Any = None,
    ) -> None:
        """Adds the changes to the model's weights for good. The network must not be applied as well."""
        in_file = tensors_by_layer(weights_sd or {})
        for layer in self.layers():
            if layer.lora_name in in_file:
                layer.load_tensors(in_file[layer.lora_name])
            layer.to(device).merge(dtype)
