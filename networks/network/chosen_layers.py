"""What the arguments of a network say about the layers to adapt."""

from dataclasses import replace

from networks.arguments.kinds import NetworkArguments
from networks.targeting.presets import CONVOLUTIONAL, PRESETS, find_preset
from networks.targeting.selection import Selection


def selection_of(arguments: NetworkArguments) -> Selection:
    """What --network_args say about the layers to adapt.

    Raises:
        UserError: there is no such preset, or its file is wrong.
    """
    name = arguments.preset_of_layers
    preset = find_preset(name)
    unet = preset.unet
    if arguments.adds_convolutions:
        unet = replace(unet, classes=(unet.classes or frozenset()) | CONVOLUTIONAL)
    return Selection(
        unet=unet,
        text_encoder=preset.text_encoder,
        convolutions=preset.convolutions or arguments.adds_convolutions,
        norms=arguments.train_norm,
        include=arguments.include_patterns,
        exclude=arguments.exclude_patterns,
        left_out_names=preset.left_out_names,
        file=None if name in PRESETS else name,
    )
