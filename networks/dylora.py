"""--network_module networks.dylora: LoRA that may be cut down to a lower rank after training."""

from networks.network.creation import NetworkModule

_MODULE = NetworkModule(__name__)
create_network = _MODULE.create_network
create_network_from_weights = _MODULE.create_network_from_weights
