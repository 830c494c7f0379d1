"""Tables, paragraphs, sizes."""

from library.training.planning.text_layout import WIDTH, paragraph, shorten, table


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


def test_shortened_texts():
    assert [shorten("12345678", 8), shorten("123456789", 8)] == ["12345678", "1234 ..."]
