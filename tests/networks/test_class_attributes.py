"""Several runs in one process, with a module that writes to its own classes."""

from networks.class_attributes import restore_class_attributes
from tests.networks.third_party import module_of

STATEFUL = """
class Base:
    SHARED = ["a"]

class Network(Base):
    TARGETS = ["Transformer2DModel"]
    NAMES = {"x": ["y"]}
    LIMIT = 3

def create_network(*arguments, **keywords):
    Network.TARGETS += ["ResnetBlock2D"]
    Network.NAMES["x"].append("z")
    Network.LIMIT = 5
    Network.NEW = "left over"
    Base.SHARED = []
    return Network
"""


def test_classes_are_as_they_were_in_the_next_run():
    module = module_of(STATEFUL)
    for kind in (module.Network, module.Base):
        kind.__module__ = module.__name__
    restore_class_attributes(module)
    for _ in range(2):
        module.create_network()
        assert module.Network.TARGETS == ["Transformer2DModel", "ResnetBlock2D"]
        assert module.Network.NAMES == {"x": ["y", "z"]}
        restore_class_attributes(module)
        assert module.Network.TARGETS == ["Transformer2DModel"]
        assert module.Network.NAMES == {"x": ["y"]}
        assert module.Network.LIMIT == 3
        assert module.Base.SHARED == ["a"]
        assert not hasattr(module.Network, "NEW")
