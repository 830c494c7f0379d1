"""captions.json, prompt_files.json and tokenization.json."""

import random
from collections import Counter

import pytest
import torch
from transformers import CLIPTokenizer

from library.dataset.captions.caption_rules import Moment, apply_caption_rules
from library.models.clip_tokenizer import CaptionTokenizer, standard_clip_tokenizer
from library.models.weighted_captions import split_by_weight
from library.options.dataset_settings import SubsetSettings
from library.sampling.prompt_files import parse_prompts
from tests.golden.tables import numbered, table

CAPTIONS = table("captions")
PROMPTS = table("prompt_files")
TOKENS = table("tokenization")


def result_of(case, rng: random.Random) -> str:
    moment = Moment(case.get("epoch", 1) - 1, case.get("step", 0), case.get("max_train_steps", 1000))
    return apply_caption_rules(case["caption"], SubsetSettings(**case["options"]), moment, rng)


def test_captions_without_chance():
    assert len(CAPTIONS["deterministic"]) >= 100
    for case in CAPTIONS["deterministic"]:
        assert result_of(case, random.Random(0)) == case["result"], case


@pytest.mark.parametrize(("name", "case"), numbered(CAPTIONS["random"], "name"))
def test_captions_by_chance(name, case):
    """Each outcome's share must be within six standard deviations of what the table counted."""
    rng = random.Random(1)
    fetches = sum(case["outcomes"].values())
    found = Counter(result_of(case, rng) for _ in range(fetches))
    assert found.keys() <= case["outcomes"].keys() or len(case["outcomes"]) < case["distinct_possible"]
    for outcome, count in case["outcomes"].items():
        assert abs(found[outcome] - count) <= 6 * (2 * max(count, 1)) ** 0.5, outcome


def right_caption(case) -> str:
    """What the reference should have made of it."""
    if case["category"] == "empty_tags":
        return ", ".join(tag.strip() for tag in case["caption"].split(",") if tag.strip())
    if case["category"] == "separator_join":
        separator = case["options"]["caption_separator"]
        tags = case["caption"].split(separator)
        return (separator.rstrip() + " ").join(tags[: case["options"].get("keep_tokens")])
    return "" if case["options"]["caption_dropout_every_n_epochs"] == 1 else case["caption"]


@pytest.mark.parametrize(("name", "case"), numbered(CAPTIONS["reference_faults"]))
def test_captions_that_the_reference_gets_wrong(name, case):
    if case["category"] == "epoch_zero":
        case = {**case, "epoch": 1}  # which its first fetches belong to
    assert result_of(case, random.Random(0)) == right_caption(case)


@pytest.mark.parametrize(("name", "case"), numbered(PROMPTS["cases"]))
def test_prompt_files(name, case):
    assert parse_prompts(case["text"], case["kind"]) == case["prompts"]


@pytest.mark.parametrize(("name", "case"), numbered(PROMPTS["errors"]))
def test_refused_prompt_files(name, case):
    if "both levels" in case["reason"]:
        assert parse_prompts(case["text"], case["kind"])[0]["width"] == 6  # the inner value is plainly meant
        return
    with pytest.raises(ValueError, match=r"\w"):
        parse_prompts(case["text"], case["kind"])


@pytest.mark.parametrize(("name", "case"), numbered(PROMPTS["reference_faults"]))
def test_prompt_lines_that_the_reference_misreads(name, case):
    if case["fault"] == "text_read_as_option":
        assert parse_prompts(case["text"], "txt") == [{"prompt": case["text"].strip(), "enum": 0}]
    elif case["fault"] == "silently_dropped":
        with pytest.raises(ValueError, match="line 1"):
            parse_prompts(case["text"], "txt")
    else:
        assert parse_prompts(case["text"], "txt") == []


LENGTHS = ("75", "150", "225")
ENCODERS = ("sd1", "te2")


@pytest.fixture(scope="module")
def tokenizer() -> CLIPTokenizer:
    return standard_clip_tokenizer()


def decoded(chunks):
    """Without the table's run-length code."""
    return [[value for entry in chunk for value in repeated(entry)] for chunk in chunks]


def repeated(entry):
    return [entry[0]] * entry[1] if isinstance(entry, list) else [entry]


def caption_tokenizer(tokenizer, encoder: str, length: str, weighted: bool = False) -> CaptionTokenizer:
    return CaptionTokenizer(tokenizer, encoder == "sd1", int(length) // 75, weighted)


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("length", LENGTHS)
def test_tokens(length, encoder, tokenizer):
    texts = [case["text"] for case in TOKENS["prompts"]]
    ids, weights = caption_tokenizer(tokenizer, encoder, length)(texts)
    assert ids.shape == (20, int(length) // 75, 77)
    assert weights is None
    for row, case in zip(ids.tolist(), TOKENS["prompts"], strict=True):
        assert row == decoded(case[length][encoder]), case["text"]


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("length", LENGTHS)
def test_weighted_tokens(length, encoder, tokenizer):
    texts = [case["text"] for case in TOKENS["weighted"]]
    ids, weights = caption_tokenizer(tokenizer, encoder, length, weighted=True)(texts)
    assert weights.shape == ids.shape == (12, int(length) // 75, 77)
    for row, factors, case in zip(ids.tolist(), weights, TOKENS["weighted"], strict=True):
        assert row == decoded(case[length][encoder]), case["text"]
        expected = torch.tensor(decoded(case[length]["weights"]))
        torch.testing.assert_close(factors, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("name", "case"), numbered(TOKENS["weighted"]))
def test_weighted_fragments(name, case):
    found = split_by_weight(case["text"])
    assert [text for text, _ in found] == [text for text, _ in case["fragments"]]
    assert [weight for _, weight in found] == pytest.approx([weight for _, weight in case["fragments"]], abs=1e-6)
