"""Tables, paragraphs, sizes."""

import pytest

from library.training.planning.text_layout import WIDTH, counted, format_size, paragraph, shorten, table


def test_tables_are_aligned_and_leave_out_empty_columns():
    rows = [("1", "a", "", "12"), ("10", "long name", "", "3")]
    assert table(("", "name", "empty", "n"), rows, left=frozenset({1})) == [
        "    name        n",
        " 1  a          12",
        "10  long name   3",
    ]


def test_paragraphs_wrap_below_their_text_and_keep_lines_and_paths():
    path = "x" * 70
    lines = paragraph(f"first '{path}' second '{path}'\n    1: inner", bullet="  1. ")
    assert lines == [f"  1. first '{path}' second", f"     '{path}'", "         1: inner"]
    assert paragraph(f"{'y' * 200} z") == ["y" * 200, "z"]
    assert all(len(line) <= WIDTH for line in paragraph("word " * 100, bullet="  - "))


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 bytes"), (1023, "1023 bytes"), (1024, "1.0 KiB"), (10 * 1024**2, "10.0 MiB"), (150 * 1024**2, "150 MiB"),
        (3 * 2**30 // 2, "1.5 GiB"), (5000 * 2**40, "5000 TiB"),
    ],
)  # fmt: skip
def test_sizes(count, text):
    assert format_size(count) == text


def test_counts_and_shortened_texts():
    assert [counted(1, "batch", "batches"), counted(0, "step"), counted(2, "step")] == ["1 batch", "0 steps", "2 steps"]
    assert [shorten("12345678", 8), shorten("123456789", 8)] == ["12345678", "1234 ..."]
