"""A model with a U-Net and a text encoder so small that every kind of network can be tried on it in every way."""

import copy
from collections.abc import Iterator
from functools import cache, partial

import torch
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel

from library.models.eight_bit_weights import store_in_eight_bits
from library.models.network_view import view_of_clip, view_of_unet
from networks.layers.adapted_layer import AdaptedLayer
from networks.network.creation import NetworkModule
from networks.network.layer_network import LayerNetwork
from tests.models.two_level_unet import TEXT_WIDTH, two_level_unet
from tests.networks.network_cases import ALPHA, RANK, NetworkCase

# The layers are so small that more threads would only wait for each other.
torch.set_num_threads(1)

SOME_LAYERS = "layers_0_|down_blocks_0_downsamplers|down_blocks_1_"
"""Of the text encoder, and of the U-Net some of every kind: linear with and without bias, convolutions of one pixel,
of 3x3 and with stride 2, norms. The others stay as they are, which saves time."""

Gradients = dict[str, torch.Tensor]


class AdaptedModel:
    """Random and frozen; always the same one, but for its precision."""

    def __init__(self, dtype: torch.dtype = torch.float32, rounded_to: torch.dtype | None = None):
        # diffusers' own `to` warns that some modules of some models should not be converted
        parts = (nn.Module.to(copy.deepcopy(part), rounded_to or dtype) for part in _parts())
        self.unet, self.text_encoder = (nn.Module.to(part, dtype) for part in parts)
        self.dtype = dtype

    def store_in_eight_bits(self) -> None:
        for part in (self.unet, self.text_encoder):
            store_in_eight_bits(part, self.dtype)

    def views(self) -> tuple[nn.Module, nn.Module]:
        """(text encoder, U-Net) as networks see them"""
        return view_of_clip(self.text_encoder), view_of_unet(self.unet)

    def create(self, case: NetworkCase, multiplier: float = 1.0, **more: str | None) -> LayerNetwork:
        """A new network, not applied."""
        arguments = {"include_patterns": SOME_LAYERS, **case.arguments, **more}
        alpha = 0.0 if case.module in _WITHOUT_ALPHA else ALPHA
        return NetworkModule(case.module).create_network(multiplier, RANK, alpha, None, *self.views(), **arguments)

    def apply(self, case: NetworkCase, change: float | None = None, seed: int = 5, **more: str) -> LayerNetwork:
        """A new network that is applied; with a change of this size relative to the weights, if it is given.

        It is not in training mode.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = self.create(case, **more)
            network.apply_to(*self.views())
            if change is not None:
                as_if_trained(network, change)
        return network.to(torch.promote_types(self.dtype, torch.float32)).eval()

    def remove(self, network: LayerNetwork) -> None:
        """Of networks that are applied, the only one."""
        for adapted in network.layers():
            del adapted.layer.forward

    def output(self) -> torch.Tensor:
        """What the U-Net predicts for a caption; both parts have an influence."""
        generator = torch.Generator().manual_seed(3)
        latents = torch.randn(1, 4, 8, 8, generator=generator).to(self.dtype)
        states = self.text_encoder(torch.tensor([[1, 5, 7, 9, 2]])).last_hidden_state
        return self.unet(latents, torch.tensor([300]), states).sample

    def gradients(self, network: LayerNetwork) -> tuple[torch.Tensor, Gradients]:
        """Of a function of the output; for each parameter that is trained. And the output."""
        network.zero_grad()
        output = self.output()
        direction = torch.linspace(-1, 1, output.numel(), dtype=torch.float64).view(output.shape)
        (output * direction.to(output.dtype)).float().sum().backward()
        found = {name: weight.grad for name, weight in network.named_parameters() if weight.grad is not None}
        return output.detach(), found

    def weights(self) -> dict[str, torch.Tensor]:
        states = {"unet": self.unet.state_dict(), "text_encoder": self.text_encoder.state_dict()}
        return {f"{part}.{name}": value.clone() for part, state in states.items() for name, value in state.items()}


_WITHOUT_ALPHA = ("networks.oft", "networks.boft")
"""Where it limits the change instead of scaling it."""


@cache
def _parts() -> tuple[nn.Module, nn.Module]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        configuration = CLIPTextConfig(
            vocab_size=16,
            hidden_size=TEXT_WIDTH,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            max_position_embeddings=8,
            bos_token_id=1,
            eos_token_id=2,
        )
        text_encoder = CLIPTextModel(configuration)
        for parameter in text_encoder.parameters():  # transformers starts them too close to zero
            if parameter.ndim == 2:
                nn.init.normal_(parameter, std=0.2)
    return two_level_unet().eval(), text_encoder.requires_grad_(False).eval()


@torch.no_grad()
def as_if_trained(network: LayerNetwork, size: float) -> None:
    """Every layer's change away from its start, of this size relative to the layer's weight."""
    for layer in network.layers():
        for name, parameter in layer.named_parameters():
            if name == "scalar":
                parameter.fill_(0.7)
            elif name not in _FACTORS_AROUND_NORMS:
                parameter.add_(0.1 * torch.randn_like(parameter))
        for _ in range(2):  # not every kind's change is in proportion
            layer.shrink(size * layer.base_weight().float().norm() / layer.delta_weight().norm())
        for name in _FACTORS_AROUND_NORMS:
            parameter = getattr(layer, name, None)
            if parameter is not None:
                parameter.mul_(1 + size * torch.randn_like(parameter))


_FACTORS_AROUND_NORMS = ("dora_scale", "rescale")


def use_reference(network: LayerNetwork, strength: float = 1.0) -> None:
    """From now on the model computes with the definition of each change, by plain autograd."""
    for layer in network.layers():
        layer.layer.forward = partial(layer.reference_output, strength=strength)


def inputs_of_layers(network: LayerNetwork) -> Iterator[tuple[AdaptedLayer, torch.Tensor]]:
    """Each layer of the network with an input that suits it."""
    generator = torch.Generator().manual_seed(4)
    for adapted in network.layers():
        layer = adapted.layer
        is_picture = isinstance(layer, nn.Conv2d | nn.GroupNorm)
        width = layer.weight.shape[1] if layer.weight.ndim > 1 else len(layer.weight)
        yield adapted, torch.randn((1, width, 16, 16) if is_picture else (256, width), generator=generator)


def relative_difference(first: torch.Tensor, second: torch.Tensor) -> float:
    return float((first.detach().double() - second.detach().double()).norm() / second.detach().double().norm())


def all_gradients(gradients: Gradients) -> torch.Tensor:
    """As one vector, in which each parameter has the same weight; but for those whose gradients are nothing but
    rounding, as of the biases of keys, which attention ignores."""
    largest = max(gradient.norm() for gradient in gradients.values())
    return torch.cat(
        [gradient.flatten() / gradient.norm().clamp(min=1e-3 * largest) for gradient in gradients.values()]
    )
