"""A network module of somebody else, and ways to have the trainer use it."""

import linecache
from types import ModuleType

from library.options.groups import NetworkOptions, OptimizerOptions
from library.training.network_setup import TrainableNetwork, build_network
from tests.models.tiny import tiny_adapter

THIRD_PARTY = '''
"""A network that follows the contract and knows nothing of this program."""
import torch


class Bias(torch.nn.Module):
    def __init__(self, layer, multiplier):
        super().__init__()
        self.layer = [layer]
        self.multiplier = multiplier
        self.value = torch.nn.Parameter(torch.zeros(()))

    def apply_to(self, text_encoder, unet, apply_text_encoder, apply_unet):
        original = self.layer[0].forward
        self.layer[0].forward = lambda x: original(x) + self.value * self.multiplier

    def load_weights(self, file):
        self.load_state_dict(torch.load(file))

    def enable_gradient_checkpointing(self):
        pass

    def prepare_optimizer_params(self, text_encoder_lr, unet_lr, default_lr):
        return [{"params": self.parameters(), "lr": unet_lr or default_lr}]

    def prepare_grad_etc(self, text_encoder, unet):
        self.requires_grad_(True)

    def on_epoch_start(self, text_encoder, unet):
        self.train()

    def get_trainable_params(self):
        return self.parameters()

    def save_weights(self, file, dtype, metadata):
        torch.save(self.state_dict(), file)


def create_network(multiplier, network_dim, network_alpha, vae, text_encoder, unet, neuron_dropout=None, **kwargs):
    # found the way kohya's own networks find their layers
    attention = [module for module in unet.modules() if module.__class__.__name__ == "Transformer2DModel"]
    return Bias(attention[int(kwargs["block"])].proj_in, multiplier)


def create_network_from_weights(multiplier, file, vae, text_encoder, unet, weights_sd=None, **kwargs):
    return create_network(multiplier, None, None, vae, text_encoder, unet, block=0), weights_sd
'''


def module_of(code: str, name: str = "their_network") -> ModuleType:
    """A module that lies in no folder, but whose code can be read."""
    module, file = ModuleType(name), f"{name}.py"
    module.__file__ = file
    linecache.cache[file] = (len(code), None, code.splitlines(keepends=True), file)
    exec(compile(code, file, "exec"), vars(module))
    return module


def build(code: str, arguments: tuple[str, ...] = ("block=6",), model=None, **rates) -> TrainableNetwork:
    model = model or tiny_adapter()
    options = NetworkOptions(network_module="their_network", network_args=arguments)
    return build_network(module_of(code), model, options, OptimizerOptions(**rates), {"seed": 7}, 1, True)
