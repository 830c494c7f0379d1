"""--network_module networks.ia3: (IA)^3: outputs or inputs of layers are scaled."""

from networks.network.creation import NetworkModule

_MODULE = NetworkModule(__name__)
create_network = _MODULE.create_network
create_network_from_weights = _MODULE.create_network_from_weights
