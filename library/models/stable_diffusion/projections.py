"""SD 2.x with the projections that its networks expect."""

import torch
from diffusers import Transformer2DModel, UNet2DConditionModel
from torch import nn


def project_by_convolution(unet: UNet2DConditionModel) -> None:
    """Turns the linear projections around the U-Net's transformers into 1x1 convolutions of the same weights, in place.

    They compute the same. SD 2.x has linear ones in its files, but the networks that people share for it have the
    shapes of convolutions there, as SD 1.x has.
    """
    for transformer in unet.modules():
        if isinstance(transformer, Transformer2DModel) and transformer.use_linear_projection:
            transformer.proj_in = _as_convolution(transformer.proj_in)
            transformer.proj_out = _as_convolution(transformer.proj_out)
            transformer.use_linear_projection = False
            transformer.register_to_config(use_linear_projection=False)
    unet.register_to_config(use_linear_projection=False)


def _as_convolution(linear: nn.Linear) -> nn.Conv2d:
    with torch.device("meta"):
        convolution = nn.Conv2d(linear.in_features, linear.out_features, kernel_size=1)
    convolution.weight = nn.Parameter(linear.weight.detach()[:, :, None, None], requires_grad=False)
    convolution.bias = linear.bias
    return convolution
