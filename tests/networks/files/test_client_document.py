"""docs/clients.md."""

from pathlib import Path

from networks.files.client_document import clients_document
from networks.files.client_support import CLIENTS, Form

DOCUMENT = clients_document()


def test_the_file_is_current():
    path = Path(__file__).parents[3] / "docs" / "clients.md"
    assert path.read_text(encoding="utf-8") == DOCUMENT, "run: python tools/generate_docs.py"


def test_one_row_for_each_form_and_one_column_for_each_client():
    rows = [line.strip("|").split("|") for line in DOCUMENT.splitlines() if line.startswith("| ")]
    assert [cell.strip() for cell in rows[0]] == ["", *CLIENTS]
    assert [row[0].strip() for row in rows[1:]] == [form.value for form in Form]
    assert {len(row) for row in rows} == {len(CLIENTS) + 1}
    (lora,) = [row for row in rows if row[0].strip() == "LoRA"]
    assert {cell.strip() for cell in lora[1:]} == {"exact"}
