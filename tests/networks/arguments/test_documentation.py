"""docs/network_arguments.md."""

from pathlib import Path

import pytest

from networks.arguments.declaration import declared_arguments
from networks.arguments.documentation import arguments_document
from networks.arguments.kinds import MODULES, NetworkArguments

DOCUMENT = arguments_document()


def section(title: str) -> str:
    return DOCUMENT.split(f"\n## {title}\n")[1].split("\n## ")[0]


def test_the_file_is_current():
    path = Path(__file__).parents[3] / "docs" / "network_arguments.md"
    assert path.read_text(encoding="utf-8") == DOCUMENT, "run: python tools/generate_docs.py"


def test_one_section_for_each_module():
    titles = [line[3:] for line in DOCUMENT.splitlines() if line.startswith("## ")]
    assert titles == ["All kinds", *MODULES]
    assert len(MODULES) == 12


@pytest.mark.parametrize("module", MODULES)
def test_every_argument_has_a_row_or_is_common(module):
    if "The same as" in section(module):
        return
    rows = section("All kinds") + section(module)
    for name in declared_arguments(MODULES[module]):
        assert f"| `{name}` |" in rows


def test_common_arguments_are_listed_once():
    for name in declared_arguments(NetworkArguments):
        assert section("All kinds").count(f"| `{name}` |") == 1
    assert "| `preset` | ia3 |" in section("networks.ia3")
    assert "| `conv_dim` |" not in section("networks.lora")


def test_what_has_no_effect_is_told():
    assert "Without effect: `dropout`" in section("networks.lokr")


def test_other_names_of_what_has_no_effect_are_left_out():
    assert "Other names: `use_cp` for `use_tucker`" in section("networks.loha")
    assert "Other names" not in section("networks.lokr")
    assert section("networks.lokr").count("`use_tucker`") == 2  # its row, and that it has no effect


def test_a_blank_default_is_explained():
    assert "default is blank" in DOCUMENT.split("\n## ")[0]
    assert "| `conv_dim` |  |" in section("All kinds")
