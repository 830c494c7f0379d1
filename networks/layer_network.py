"""The network all of our own kinds share: adapted layers, applied, trained and saved together."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from library.errors import UserError
from networks.adapted_layer import AdaptedLayer
from networks.targets import (
    TEXT_ENCODER_CLASSES,
    UNET_CLASSES,
    UNET_PREFIX,
    Target,
    find_targets,
    text_encoder_prefixes,
)
from networks.weights_file import read_network_file, write_network_file


@dataclass(frozen=True)
class DiscoveredTargets:
    text_encoder: list[Target]
    unet: list[Target]


def discover(text_encoder: nn.Module | Sequence[nn.Module] | None, unet: nn.Module) -> DiscoveredTargets:
    """The targets of a model. One text encoder is given as it is, several as a list."""
    encoders = _as_list(text_encoder)
    in_encoders = [
        target
        for prefix, encoder in zip(text_encoder_prefixes(len(encoders)), encoders, strict=True)
        for target in find_targets(encoder, prefix, TEXT_ENCODER_CLASSES)
    ]
    return DiscoveredTargets(in_encoders, find_targets(unet, UNET_PREFIX, UNET_CLASSES))


def _as_list(text_encoder: nn.Module | Sequence[nn.Module] | None) -> list[nn.Module]:
    if text_encoder is None:
        return []
    return [text_encoder] if isinstance(text_encoder, nn.Module) else list(text_encoder)


def ranks_from_weights(weights: Mapping[str, torch.Tensor]) -> dict[str, tuple[int, float]]:
    """Layer name -> (rank, alpha) of a file; a missing alpha means alpha = rank."""
    ranks = {}
    for name, tensor in weights.items():
        if name.endswith(".lora_down.weight"):
            layer, rank = name.removesuffix(".lora_down.weight"), tensor.shape[0]
            alpha = weights.get(f"{layer}.alpha")
            ranks[layer] = (rank, float(alpha) if alpha is not None else float(rank))
    return ranks


class LayerNetwork(nn.Module):
    """Implements the contract (contract.py) for any kind of adapted layer.

    Children are named as in files, so that the state dict is the file's content.
    """

    def __init__(self, targets: DiscoveredTargets, build: Callable[[Target], AdaptedLayer | None]):
        super().__init__()
        self.text_encoder_loras = _build_all(targets.text_encoder, build)
        self.unet_loras = _build_all(targets.unet, build)

    def apply_to(
        self, text_encoder: Any, unet: nn.Module, apply_text_encoder: bool = True, apply_unet: bool = True
    ) -> None:
        if not apply_text_encoder:
            self.text_encoder_loras = []
        if not apply_unet:
            self.unet_loras = []
        for layer in self._layers():
            layer.hook_into_layer()
            self.add_module(layer.lora_name, layer)

    def _layers(self) -> Iterable[AdaptedLayer]:
        yield from self.text_encoder_loras
        yield from self.unet_loras

    def set_multiplier(self, multiplier: float) -> None:
        for layer in self._layers():
            layer.multiplier = multiplier

    def load_weights(self, file: str) -> str:
        """
        Returns:
            What matched and what did not.

        Raises:
            UserError: nothing in the file fits this network, or its ranks are others.
        """
        weights = read_network_file(file)
        try:
            result = self.load_state_dict(weights, strict=False)
        except RuntimeError as error:
            misfit = str(error).splitlines()[-1].strip().rstrip(".")
            raise UserError(f"network file '{file}' does not fit this network: {misfit}; use the file's rank") from None
        total = len(self.state_dict())
        if len(result.missing_keys) == total:
            raise UserError(f"network file '{file}': none of its tensors fits this network")
        return f"{total - len(result.missing_keys)} of {total} tensors loaded, {len(result.unexpected_keys)} not used"

    def enable_gradient_checkpointing(self) -> None:
        """Nothing to do: the layers recompute together with the blocks that contain them."""

    def prepare_grad_etc(self, text_encoder: Any, unet: nn.Module) -> None:
        """Nothing to do: prepare_optimizer_params decided what is trained."""

    def on_epoch_start(self, text_encoder: Any, unet: nn.Module) -> None:
        self.train()

    def prepare_optimizer_params(
        self, text_encoder_lr: float | None, unet_lr: float | None, default_lr: float | None
    ) -> tuple[list[dict[str, Any]], list[str]]:
        """One group per part; see prepare_optimizer_params_with_multiple_te_lrs."""
        rates = [] if text_encoder_lr is None else [text_encoder_lr]
        return self.prepare_optimizer_params_with_multiple_te_lrs(rates, unet_lr, default_lr)

    def prepare_optimizer_params_with_multiple_te_lrs(
        self, text_encoder_lr: Sequence[float] | None, unet_lr: float | None, default_lr: float | None
    ) -> tuple[list[dict[str, Any]], list[str]]:
        """One group per part. A part whose rate is 0 is frozen, so that its gradients are neither computed nor
        counted when gradients are clipped.

        Args:
            text_encoder_lr: none, one for all text encoders, or one for each.
        """
        groups: list[dict[str, Any]] = []
        descriptions = []
        parts = [*self._text_encoder_parts(text_encoder_lr), ("unet", self.unet_loras, unet_lr)]
        for description, layers, rate in parts:
            effective = default_lr if rate is None else rate
            parameters = [parameter for layer in layers for parameter in layer.parameters()]
            for parameter in parameters:
                parameter.requires_grad_(bool(effective))
            if parameters and effective:
                groups.append({"params": parameters, "lr": effective})
                descriptions.append(description)
        return groups, descriptions

    def _text_encoder_parts(
        self, rates: Sequence[float] | None
    ) -> Iterable[tuple[str, Sequence[AdaptedLayer], float | None]]:
        """(description, layers, rate) of the text encoders: together as long as their rates are the same."""
        if len(set(rates or ())) < 2:
            yield "textencoder", self.text_encoder_loras, rates[0] if rates else None
            return
        prefixes = text_encoder_prefixes(2)
        for number, (prefix, rate) in enumerate(zip(prefixes, rates or (), strict=True), 1):
            layers = [layer for layer in self.text_encoder_loras if layer.lora_name.startswith(f"{prefix}_")]
            yield f"textencoder{number}", layers, rate

    def get_trainable_params(self) -> Iterable[nn.Parameter]:
        return (parameter for parameter in self.parameters() if parameter.requires_grad)

    def save_weights(self, file: str, dtype: torch.dtype | None, metadata: Mapping[str, str] | None) -> None:
        write_network_file(file, self.state_dict(), dtype, metadata)

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
        for layer in self._layers():
            prefix = f"{layer.lora_name}."
            if weights_sd is not None:
                tensors = {key[len(prefix) :]: value for key, value in weights_sd.items() if key.startswith(prefix)}
                layer.load_state_dict(tensors, strict=False)
            layer.to(device).merge(dtype)


def _build_all(targets: Sequence[Target], build: Callable[[Target], AdaptedLayer | None]) -> list[AdaptedLayer]:
    return [layer for layer in map(build, targets) if layer is not None]
