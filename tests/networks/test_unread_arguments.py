"""Arguments of network modules that nothing reads."""

from types import ModuleType

import pytest

from networks.contract import import_network_module
from networks.unread_arguments import unread_arguments
from tests.networks.third_party import THIRD_PARTY, build, module_of


def test_arguments_that_nothing_reads_are_named(caplog):
    build(THIRD_PARTY, ("block=6", "blokc=3", "conv_dim=4"))
    assert [record.message for record in caplog.records] == [
        "--network_args blokc: their_network does not read this argument; it has no effect. Did you mean block?",
        "--network_args conv_dim: their_network does not read this argument; it has no effect.",
    ]


READERS = {
    "get": "def create_network(*a, **k): return k.get('mine')",
    "subscript": "def create_network(*a, **k): return k['mine']",
    "parameter": "def create_network(*a, mine=1, **k): return mine",
    "forwarded": "def inner(mine=1, **k): ...\ndef create_network(*a, **k): return inner(**k)",
    "class": "class Inner:\n    def __init__(self, mine=1): ...\ndef create_network(*a, **k): return Inner(**k)",
    "base class": "class Base:\n    def __init__(self, mine=1): ...\nclass Inner(Base): ...\n"
    "def create_network(*a, **k): return Inner(**k)",
    "table": "KNOWN = {'a': ['mine']}\ndef create_network(*a, **k): return [k[name] for name in KNOWN['a']]",
    "tuple": "def create_network(*a, **k): return [k.get(name) for name in ('a', 'mine')]",
    "attribute": "import types\ndef create_network(*a, **k): return types.SimpleNamespace(**k).mine",
    "dataclass": "import dataclasses\n@dataclasses.dataclass\nclass Options:\n    mine: int = 1\n"
    "def create_network(*a, **k): return Options(**k)",
    "closure": "def make(name):\n    def create(*a, **k): return k[name]\n    return create\n"
    "create_network = make('mine')",
    "decorated": "import functools\ndef around(f):\n    @functools.wraps(f)\n    def g(*a, **k): return f(*a, **k)\n"
    "    return g\n@around\ndef create_network(*a, **k): return k['mine']",
    "partial": "import functools\ndef make(*a, **k): return k['mine']\ncreate_network = functools.partial(make)",
    "nested": "def create_network(*a, **k):\n    def inner(): return k['mine']\n    return inner()",
    "method": "class Maker:\n    @staticmethod\n    def make(k): return k['mine']\n"
    "def create_network(*a, **k): return Maker.make(k)",
    "object": "class Maker:\n    def __init__(self, name): self.name = name\n"
    "    def make(self, k): return k[self.name]\nmaker = Maker('mine')\n"
    "def create_network(*a, **k): return maker.make(k)",
}


@pytest.mark.parametrize("code", READERS.values(), ids=READERS.keys())
def test_ways_to_read_an_argument(code):
    warnings = unread_arguments(module_of(code), ["mine", "not_mine"])
    assert [warning.split(":")[0] for warning in warnings] == ["--network_args not_mine"]


@pytest.mark.parametrize(
    "imports", ["from {package}.inner import make", "from . import inner", "from .inner import make"]
)
@pytest.mark.parametrize("late", [False, True])
def test_arguments_that_other_modules_of_a_package_read(working_directory, imports, late):
    package = working_directory / "their_package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "inner.py").write_text("def make(k): return k['mine']\n", encoding="utf-8")
    line = imports.format(package="their_package")
    call = "inner.make(k)" if line.endswith("inner") else "make(k)"
    body = f"    {line}\n    return {call}" if late else f"    return {call}"
    code = f"{'' if late else line}\ndef create_network(*a, **k):\n{body}\ncreate_network_from_weights = None\n"
    (package / "outer.py").write_text(code.replace("= None", "= create_network"), encoding="utf-8")
    module = import_network_module("their_package.outer")
    assert module.create_network(mine=3) == 3
    assert len(unread_arguments(module, ["mine", "other"])) == 1


def test_code_that_cannot_be_seen_raises_no_alarm():
    module = ModuleType("compiled")
    module.create_network = print
    assert unread_arguments(module, ["anything"]) == []
