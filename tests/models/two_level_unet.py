"""A U-Net of two levels with a LoRA on it: the least that has every kind of block, some of them several times."""

import torch
from diffusers import UNet2DConditionModel
from torch import nn

import networks.lora
from library.models.network_view import view_of_unet

TEXT_WIDTH = 16
BLOCKS = 4 + 8
"""transformer and residual blocks"""


def two_level_unet() -> UNet2DConditionModel:
    """Random, frozen, in training mode, without touching the global generator."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        unet = UNet2DConditionModel(
            block_out_channels=(16, 32),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            layers_per_block=1,
            norm_num_groups=8,
            cross_attention_dim=TEXT_WIDTH,
            attention_head_dim=2,
        )
    return unet.requires_grad_(False).train()


def apply_lora(unet: nn.Module, dropout: float | None = None) -> nn.Module:
    """A network that already changes something, with the gradients of its weights still to come."""
    view = view_of_unet(unet)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        network = networks.lora.create_network(1.0, 4, 4, None, None, view, neuron_dropout=dropout)
        network.apply_to(None, view, apply_text_encoder=False)
        for parameter in network.parameters():
            nn.init.normal_(parameter, std=0.1)
    return network


def forward_and_backward(
    unet: nn.Module, network: nn.Module, height: int = 16, width: int = 16, batch: int = 1
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The prediction and the gradient of each of the network's weights. Sizes in latent cells."""
    generator = torch.Generator().manual_seed(3)
    latents = torch.randn(batch, 4, height, width, generator=generator)
    text = torch.randn(batch, 7, TEXT_WIDTH, generator=generator)
    network.zero_grad()
    torch.manual_seed(4)  # of the dropouts
    prediction = unet(latents, torch.full((batch,), 10), text).sample
    prediction.float().square().mean().backward()
    return prediction.detach(), {name: weight.grad for name, weight in network.named_parameters()}
