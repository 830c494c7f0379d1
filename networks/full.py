"""--network_module networks.full: full differences: the whole weights of layers are trained."""

from networks.network.creation import NetworkModule

_MODULE = NetworkModule(__name__)
create_network = _MODULE.create_network
create_network_from_weights = _MODULE.create_network_from_weights
