"""--network_module networks.oft: OFT: the outputs of layers are rotated in blocks."""

from networks.network.creation import NetworkModule

_MODULE = NetworkModule(__name__)
create_network = _MODULE.create_network
create_network_from_weights = _MODULE.create_network_from_weights
