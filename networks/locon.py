"""--network_module networks.locon: LoRA under LyCORIS's name of it for 3x3 convolutions, which conv_dim adds."""

from networks.network.creation import NetworkModule

_MODULE = NetworkModule(__name__)
create_network = _MODULE.create_network
create_network_from_weights = _MODULE.create_network_from_weights
