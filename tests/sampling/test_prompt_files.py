"""Prompt files: what is refused, and where. What is read is in tests/golden."""

import json

import pytest

from library.errors import UserError
from library.sampling.prompt_files import parse_prompts, read_prompt_file


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"width": 512.0}, "width = 512.0: must be a number that is whole and not negative"),
        ({"height": "512"}, "height = '512': must be a number that is whole"),
        ({"width": True}, "width = True: must be a number that is whole"),
        ({"sample_steps": 0}, "sample_steps = 0: must be a whole number from 1 to 1000"),
        ({"sample_steps": 1001}, "sample_steps = 1001: must be"),
        ({"sample_steps": 2.5}, "sample_steps = 2.5: must be"),
        ({"seed": -1}, "seed = -1: must be"),
        ({"seed": 2**64}, "seed = 18446744073709551616: must be"),
        ({"scale": -1.0}, "scale = -1.0: must be a number that is not negative"),
        ({"scale": float("inf")}, "scale = inf: must be"),
        ({"scale": float("nan")}, "scale = nan: must be"),
        ({"negative_prompt": None}, "negative_prompt = None: must be text"),
        ({"negative_prompt": 5}, "negative_prompt = 5: must be text"),
        ({"sample_sampler": ["ddim"]}, "sample_sampler = ['ddim']: must be text"),
    ],
)
def test_wrong_values_in_json(tmp_path, values, message):
    path = tmp_path / "prompts.json"
    path.write_text(json.dumps(["a cat", {"prompt": "a dog", **values}]))
    with pytest.raises(UserError) as error:
        read_prompt_file(path)
    assert error.value.problems[0].startswith(f"--sample_prompts '{path}': prompt 2: {message}")


@pytest.mark.parametrize("line", ["sample_steps = 0", "width = 512.0", "negative_prompt = 5", "seed = 1_000.5"])
def test_wrong_values_in_toml(line):
    with pytest.raises(ValueError, match=rf"prompt 1: {line.split()[0]} = .*: must be"):
        parse_prompts(f'[prompt]\n{line}\n[[prompt.subset]]\nprompt = "a cat"\n', "toml")


def test_toml_entries_that_are_no_tables():
    with pytest.raises(ValueError, match="must be a table"):
        parse_prompts("[prompt]\nsubset = [1]\n", "toml")


def test_whole_numbers_do_for_decimals_and_limits_are_included():
    entry = {"prompt": "a", "scale": 7, "sample_steps": 1000, "seed": 2**64 - 1, "flow_shift": 3.0}
    assert parse_prompts(json.dumps([entry]), "json") == [{**entry, "enum": 0}]


def test_seeds_in_lines_have_the_same_limit():
    with pytest.raises(ValueError, match="line 1: --d 18446744073709551616: must be a whole number from 0 to"):
        parse_prompts(f"a cat --d {2**64}", "txt")


def test_lines_end_at_newlines_only():
    prompts = parse_prompts("a\u2028cat\u0085here --w 64\r\nb\x0cd\n", "txt")
    assert [prompt["prompt"] for prompt in prompts] == ["a\u2028cat\u0085here", "b\x0cd"]
    assert prompts[0]["width"] == 64


def test_a_tab_ends_the_name_of_an_option():
    assert parse_prompts("a cat --w\t64", "txt") == [{"prompt": "a cat", "width": 64, "enum": 0}]


@pytest.mark.parametrize(
    ("name", "text", "places"),
    [
        ("p.txt", "a --w x\na dog\n# --w y\na --zz 1\n", ("line 1", "line 4")),
        ("p.json", '["a --w x", 5, {"width": 3}, "fine"]', ("prompt 1", "prompt 2", "prompt 3")),
        ("p.toml", "[prompt]\n[[prompt.subset]]\nwidth = 1\n[[prompt.subset]]\nprompt = 'a'\nheigth = 2\n",
         ("prompt 1", "prompt 2")),
    ],
)  # fmt: skip
def test_all_wrong_prompts_are_told_at_once(tmp_path, name, text, places):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(UserError) as error:
        read_prompt_file(path)
    found = [problem.removeprefix(f"--sample_prompts '{path}': ").split(":")[0] for problem in error.value.problems]
    assert tuple(found) == places
