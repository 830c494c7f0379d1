"""How messages put counts, names and values."""

import pytest

from library.wording import as_in_file, counted, format_size, listed, visible, writable


def test_counts():
    assert [counted(number, "image") for number in (0, 1, 2)] == ["0 images", "1 image", "2 images"]
    assert [counted(number, "batch", "batches") for number in (1, 3)] == ["1 batch", "3 batches"]


@pytest.mark.parametrize(
    ("texts", "shown"),
    [("", ""), ("a", "a"), ("abc", "a, b, c"), ("abcd", "a, b, c, and 1 more"), ("abcde", "a, b, c, and 2 more")],
)
def test_lists_say_how_much_they_leave_out(texts, shown):
    assert listed(list(texts), 3) == shown
    assert listed(list(texts), 3, separator="; ") == shown.replace(", ", "; ")


@pytest.mark.parametrize(("value", "shown"), [("", "''"), (" ", "' '"), ("\t", "'\t'"), ("x y", "x y"), ("'", "'")])
def test_values_that_would_not_be_seen_have_quotes(value, shown):
    assert visible(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (True, "true"),
        (64, "64"),
        ("64", '"64"'),
        ("true", '"true"'),
        ("bogus", "bogus"),
        ("", "''"),
        ([True, "1"], '[true, "1"]'),
    ],
)
def test_values_of_a_file_show_what_is_wrong(value, shown):
    assert as_in_file(value) == shown


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 bytes"), (1023, "1023 bytes"), (1024, "1.0 KiB"), (10 * 1024**2, "10.0 MiB"), (150 * 1024**2, "150 MiB"),
        (3 * 2**30 // 2, "1.5 GiB"), (5000 * 2**40, "5000 TiB"),
    ],
)  # fmt: skip
def test_sizes(count, text):
    assert format_size(count) == text


def test_what_no_encoding_can_write_becomes_escapes():
    assert writable("für \udcff 犬") == "für \\udcff 犬"
