"""Captions to tokens, tokenizers kept in a folder, and prompts of previews."""

import json
import logging
import pickle

import pytest
import torch

from library.errors import UserError
from library.models.clip_tokenizer import CaptionTokenizer, TokenizeForEach, read_tokenizer, standard_clip_tokenizer
from library.models.weighted_captions import split_by_weight
from tests.models.tiny import tiny_tokenizer

START, END = 49406, 49407
CAT, DOG = 2368, 1929


@pytest.fixture(scope="module")
def standard():
    return standard_clip_tokenizer()


@pytest.fixture
def both(standard) -> TokenizeForEach:
    """As SDXL has them."""
    return TokenizeForEach((CaptionTokenizer(standard), CaptionTokenizer(standard, pads_with_end=False)))


@pytest.mark.parametrize(
    ("caption", "fragments"),
    [
        ("()", [("", 1.0)]),
        ("a()b", [("ab", 1.0)]),
        ("a) b]", [("a) b]", 1.0)]),
        ("a:1.3)", [("a:1.3)", 1.0)]),
        ("(a:b:1.5)", [("a:b", 1.5)]),
        ("(a: 1.5)", [("a: 1.5", 1.1)]),
        ("(a:1.5.2)", [("a:1.5.2", 1.1)]),
        ("(a:.)", [("a:.", 1.1)]),
        ("(a:.5)", [("a", 0.5)]),
        ("(a:-1)", [("a", -1.0)]),
        ("[a:1.5]", [("a:1.5", 1 / 1.1)]),
        ("(a [b)]", [("a ", 1.1), ("b", 1.0)]),
        ("((a)", [("a", 1.21)]),
        ("[a", [("a", 1 / 1.1)]),
        (r"\\(a)", [("\\", 1.0), ("a", 1.1)]),
        (r"(\(a\))", [("(a)", 1.1)]),
        (r"x\y", [("xy", 1.0)]),
        ("a\nb (c)", [("a\nb ", 1.0), ("c", 1.1)]),
    ],
)
def test_syntax_for_weights(caption, fragments):
    found = split_by_weight(caption)
    assert [text for text, _ in found] == [text for text, _ in fragments]
    assert [weight for _, weight in found] == pytest.approx([weight for _, weight in fragments])


def test_brackets_are_text_where_weights_are_not_understood(standard):
    (plain,), (weighted,) = (CaptionTokenizer(standard, weighted=flag)(["(cat:1.5)"])[0] for flag in (False, True))
    assert weighted[0, :3].tolist() == [START, CAT, END]
    assert plain[0, :3].tolist() != [START, CAT, END]


def test_text_is_cleaned(standard):
    tokenize = CaptionTokenizer(standard)
    ids, _ = tokenize(["it’s a cat", "it's a cat", "schön", "schÃ¶n"])
    assert torch.equal(ids[0], ids[1])
    assert torch.equal(ids[2], ids[3])


def test_counts_know_no_limit(standard):
    captions = ["", "cat", "cat " * 300, "(cat:1.5) dog", "(cat)" * 80]
    assert CaptionTokenizer(standard, chunks=3).count(captions)[:3] == [0, 1, 300]
    assert CaptionTokenizer(standard, weighted=True).count(captions) == [0, 1, 300, 2, 80]
    assert CaptionTokenizer(standard).count([]) == []


def test_more_captions_than_are_counted_at_once(standard):
    lengths = [number % 7 for number in range(2500)]
    assert CaptionTokenizer(standard).count(["cat " * length for length in lengths]) == lengths


def test_no_captions(standard):
    ids, weights = CaptionTokenizer(standard, chunks=2, weighted=True)([])
    assert ids.shape == weights.shape == (0, 2, 77)


def test_a_long_caption_is_no_cause_for_a_warning(standard, caplog):
    logging.getLogger("transformers").addHandler(caplog.handler)
    try:
        CaptionTokenizer(standard)(["cat " * 500])
    finally:
        logging.getLogger("transformers").removeHandler(caplog.handler)
    assert caplog.records == []


def test_loader_processes_get_the_same_tokenizer():
    tokenize = TokenizeForEach((CaptionTokenizer(tiny_tokenizer(), chunks=2, weighted=True),))
    copy = pickle.loads(pickle.dumps(tokenize))
    ours, theirs = tokenize(["a (cat:1.5)"]), copy(["a (cat:1.5)"])
    assert torch.equal(ours.ids[0], theirs.ids[0])
    assert torch.equal(ours.weights[0], theirs.weights[0])


def test_each_encoder_has_its_own_padding(both):
    tokens = both(["cat", "dog"])
    assert tokens.weights is None
    assert [ids.shape for ids in tokens.ids] == [(2, 1, 77)] * 2
    assert tokens.ids[0][1, 0].tolist() == [START, DOG, *[END] * 75]
    assert tokens.ids[1][1, 0].tolist() == [START, DOG, END, *[0] * 74]
    assert both.limit == 75


def test_the_largest_count_over_the_encoders(standard):
    tokenize = TokenizeForEach((CaptionTokenizer(standard), CaptionTokenizer(tiny_tokenizer())))
    assert tokenize.count(["forest", ""]) == [6, 0]  # the tiny one spells


@pytest.mark.parametrize(
    ("trained_chunks", "words", "chunks"),
    [(1, 0, 1), (1, 75, 1), (1, 76, 2), (1, 151, 3), (1, 400, 3), (2, 3, 2), (2, 160, 3), (3, 3, 3)],
)
def test_prompts_get_the_chunks_they_need(standard, trained_chunks, words, chunks):
    tokenize = TokenizeForEach(
        (CaptionTokenizer(standard, chunks=trained_chunks), CaptionTokenizer(standard, False, trained_chunks))
    )
    tokens = tokenize.prompts(["", "cat " * words])
    assert [ids.shape for ids in tokens.ids] == [(2, chunks, 77)] * 2
    assert [weights.shape for weights in tokens.weights] == [(2, chunks, 77)] * 2
    assert (tokens.ids[0][1] == CAT).sum() == min(words, 75 * chunks)


def test_prompts_understand_weights_whatever_captions_do(both):
    tokens = both.prompts(["a (cat:1.5)", "(dog)"])
    assert tokens.ids[1][0, 0, :4].tolist() == [START, 320, CAT, END]
    assert tokens.weights[1][0, 0, :4].tolist() == [1, 1, 1.5, 1]
    assert tokens.weights[0][1, 0, :3].tolist() == pytest.approx([1, 1.1, 1])
    assert both.for_prompts(["cat"]).count(["(cat:1.5)"]) == [1]
    assert both(["a (cat:1.5)"]).weights is None


def test_a_tokenizer_is_kept_and_found_again(tmp_path, standard, monkeypatch):
    kept = tmp_path / "new" / "owner_name"
    standard_clip_tokenizer(kept.parent, "owner_name")
    assert [entry.name for entry in kept.parent.iterdir()] == ["owner_name"]
    monkeypatch.setattr("library.models.clip_tokenizer._build_tokenizer", lambda: pytest.fail("built again"))
    again = standard_clip_tokenizer(kept.parent, "owner_name")
    captions = ["a photo of sks dog", "num83r5, schön", ""]
    assert torch.equal(
        CaptionTokenizer(again, chunks=2)(captions)[0], CaptionTokenizer(standard, chunks=2)(captions)[0]
    )


def test_two_processes_may_write_at_the_same_time(tmp_path, standard, monkeypatch, caplog):
    def build_while_another_process_writes():
        standard.save_pretrained(tmp_path / "owner_name")
        return standard

    monkeypatch.setattr("library.models.clip_tokenizer._build_tokenizer", build_while_another_process_writes)
    assert standard_clip_tokenizer(tmp_path, "owner_name") is standard
    assert caplog.records == []
    assert [entry.name for entry in tmp_path.iterdir()] == ["owner_name"]
    assert len(read_tokenizer(tmp_path / "owner_name")) == 49408


def test_a_tokenizer_of_older_versions_is_read(tmp_path, standard):
    merges = json.loads(standard.backend_tokenizer.to_str())["model"]["merges"]
    (tmp_path / "vocab.json").write_text(json.dumps(standard.get_vocab()), encoding="utf-8")
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    (tmp_path / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    old = CaptionTokenizer(read_tokenizer(tmp_path))
    assert torch.equal(old(["num83r5, forest"])[0], CaptionTokenizer(standard)(["num83r5, forest"])[0])


@pytest.mark.parametrize(
    ("file", "content", "detail"),
    [
        ("other.txt", "", "neither tokenizer.json nor vocab.json"),
        ("tokenizer.json", "", "JSONDecodeError"),
        ("tokenizer.json", '{"version": "1.0"}', "KeyError"),
        ("vocab.json", "{}", "merges"),
    ],
)
def test_a_damaged_tokenizer_is_named(tmp_path, file, content, detail):
    folder = tmp_path / "owner_name"
    folder.mkdir()
    (folder / file).write_text(content)
    with pytest.raises(UserError) as caught:
        standard_clip_tokenizer(tmp_path, "owner_name")
    for part in ("--tokenizer_cache_dir", str(tmp_path), "'owner_name'", detail, "delete that folder"):
        assert part in str(caught.value)


def test_another_vocabulary_is_damage(tmp_path):
    tiny_tokenizer().save_pretrained(tmp_path / "owner_name")
    with pytest.raises(UserError, match="words instead of 49408"):
        standard_clip_tokenizer(tmp_path, "owner_name")


def test_a_folder_that_cannot_be_written_is_only_reported(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    assert len(standard_clip_tokenizer(tmp_path / "file")) == 49408
    assert "--tokenizer_cache_dir" in caplog.text


def test_a_full_disk_leaves_nothing_behind(tmp_path, monkeypatch, caplog):
    def fail(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    assert len(standard_clip_tokenizer(tmp_path)) == 49408
    assert "No space left on device" in caplog.text
    assert list(tmp_path.iterdir()) == []
