"""What is known of a network file, in words."""

from collections import Counter

from networks.files.client_support import Form, Misreading
from networks.verification.block_strengths import BlockStrength, LayerNorms
from networks.verification.file_contents import FileContents
from networks.verification.report import (
    describe_clients,
    describe_contents,
    describe_families,
    describe_faults,
    describe_match,
    describe_strengths,
)


def contents_of(**changes) -> FileContents:
    whole = {
        "layers": ["a", "b", "c"],
        "forms": Counter({Form.LORA: 3}),
        "sizes": Counter({(4, 2.0): 2, (8, None): 1, None: 2}),
        "dtypes": Counter({"float16": 6, "float32": 3}),
        "not_finite": [],
        "unknown": [],
        "largest": 0.5,
    }
    return FileContents(**(whole | changes))


def test_contents():
    assert list(describe_contents(contents_of())) == [
        "3 layers: LoRA (3)",
        "tensors: 6 in float16, 3 in float32; largest value 0.5",
        "  rank  alpha  scale  layers",
        "     4      2    0.5       2",
        "     8      -      -       1",
        "  2 layers without a rank",
    ]


def test_families():
    assert list(describe_families(("SD 1.x", "SD 2.x"))) == ["for models of SD 1.x or SD 2.x"]
    assert list(describe_families(())) == []


def test_no_table_without_ranks_and_a_short_one_with_many():
    assert len(list(describe_contents(contents_of(sizes=Counter({None: 3}))))) == 2
    lines = list(describe_contents(contents_of(sizes=Counter({(rank, 1.0): 1 for rank in range(1, 15)}))))
    assert len(lines) == 2 + 1 + 12 + 1
    assert lines[-1] == "  and 2 other pairs"


def test_faults():
    assert list(describe_faults(contents_of())) == []
    faults = list(describe_faults(contents_of(not_finite=["a.x", "b.x", "c.x", "d.x"], unknown=["e"])))
    assert len(faults) == 2
    assert faults[0].startswith("NaN or infinity in 4 tensors: a.x, b.x, c.x")
    assert faults[0].endswith("pictures made with it will be black or noise")
    assert faults[1] == "1 layer of a kind that is not known here: e"


def test_match():
    assert list(describe_match(["a", "b"], {"a", "b", "c"})) == ["all 2 layers belong to layers of the model"]
    assert list(describe_match(["a", "b"], {"b"})) == ["1 of 2 layers belong to no layer of the model: a"]


def test_strengths():
    strong, weak = LayerNorms("x", 0.02, 1.0), LayerNorms("y", 0.001, 1.0)
    lines = list(
        describe_strengths([BlockStrength("mid_block", 3, 0.01, strong), BlockStrength("text encoder", 1, 0.001, weak)])
    )
    assert lines[1].split() == ["mid_block", "1.000%", "#" * 30, "3", "layers,", "at", "most", "2.000%"]
    assert lines[2].split() == ["text", "encoder", "0.100%", "#" * 3, "1", "layer,", "at", "most", "0.100%"]
    unchanged = list(describe_strengths([BlockStrength("mid_block", 1, 0.0, LayerNorms("x", 0.0, 1.0))]))
    assert "#" not in unchanged[1]
    assert len(list(describe_strengths([]))) == 1


def test_clients():
    lines = list(describe_clients([Misreading("diffusers", Form.LOHA, 2, "refuses the whole file")]))
    assert lines == [
        "  ComfyUI: exact",
        "  A1111: exact",
        "  Forge: exact",
        "  SD.Next: exact",
        "  diffusers: LoHa: refuses the whole file",
    ]
