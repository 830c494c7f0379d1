"""Texts of --network_args as values."""

import pytest

from networks.arguments.values import (
    block_weights,
    choice,
    flag,
    list_of,
    number,
    pattern_values,
    patterns,
    probability,
    text,
    whole_number,
)
from networks.targeting.block_curves import BlockCurve

RIGHT = [
    (text(), " full ", "full"),
    (flag(), "True", True),
    (flag(), "false", False),
    (flag(), " 1", True),
    (choice("default", "pissa"), "PiSSA", "pissa"),
    (whole_number(least=0), "08", 8),
    (whole_number(), "4.0", 4),
    (whole_number(least=-1, but_not=0), "-1", -1),
    (number(least=0), "1e-3", 0.001),
    (number(above=0), ".5", 0.5),
    (probability(), "0", 0.0),
    (list_of(whole_number()), "1, 2,3,", (1, 2, 3)),
    (list_of(number()), "1", (1.0,)),
    (block_weights(), "0,.5, 1", (0.0, 0.5, 1.0)),
    (block_weights(), "sine", BlockCurve("sine")),
    (block_weights(), "cosine+.25", BlockCurve("cosine", 0.25)),
    (patterns(), "attn1, attn2$", ("attn1", "attn2$")),
    (patterns(), "[qk]_proj", ("[qk]_proj",)),
    (patterns(), "[0]", ("[0]",)),
    (patterns(), "['a{1,2}', \"b\"]", ("a{1,2}", "b")),
    (patterns(), "'a,b'", ("a,b",)),
    (pattern_values(whole_number()), r"attn\.1=4, ff=8", ((r"attn\.1", 4), ("ff", 8))),
    (pattern_values(whole_number()), "a{1,2}(?=x)=4", (("a{1,2}(?=x)", 4),)),
    (pattern_values(number()), "a=1e-4,", (("a", 1e-4),)),
]
WRONG = [
    (text(), "  ", "must not be empty"),
    (flag(), "maybe", "must be True or False"),
    (choice("default", "pissa"), "pisa", "must be one of: default, pissa. Did you mean pissa?"),
    (whole_number(least=1), "0", "must be a whole number, at least 1"),
    (whole_number(), "1.5", "must be a whole number"),
    (whole_number(), "inf", "must be a whole number"),
    (whole_number(least=-1, but_not=0), "0", "must be a whole number, at least -1, and not 0"),
    (number(above=0), "0", "must be a number, greater than 0"),
    (number(), "nan", "must be a number"),
    (number(), "inf", "must be a number"),
    (number(least=0, below=2), "2", "must be a number, at least 0 and less than 2"),
    (probability(), "1", "must be a probability, a number from 0 to less than 1"),
    (list_of(whole_number()), "1,b", "must be a list such as 1,2,3: 'b' must be a whole number"),
    (list_of(whole_number()), "1,,2", "must be a list such as 1,2,3: '' must be a whole number"),
    (list_of(number()), "x", "must be a list such as 1,2,3: 'x' must be a number"),
    (block_weights(), "0.5", "must have a number for each block; zeros+0.5 is the same for all"),
    (block_weights(), "1,-1", "'-1' must be a number, at least 0"),
    (block_weights(), "cosin", "Did you mean cosine?"),
    (block_weights(), "cosine+x", "what stands behind the + must be a number, at least 0; as in cosine+.25"),
    (block_weights(), "sine+", "what stands behind the + must be a number, at least 0; as in sine+.25"),
    (patterns(), "a,,b", "none of them empty"),
    (patterns(), "a(", "'a(' is no regular expression"),
    (pattern_values(whole_number()), "attn", "must have the form expression=value"),
    (pattern_values(whole_number()), "=4", "must have the form expression=value"),
    (pattern_values(whole_number()), "attn=x", "must be a whole number"),
    (pattern_values(whole_number()), "attn=4,ff", "must have the form expression=value"),
]


@pytest.mark.parametrize(("parse", "value", "expected"), RIGHT)
def test_right(parse, value, expected):
    parsed = parse(value)
    assert parsed == expected
    assert type(parsed) is type(expected)


@pytest.mark.parametrize(("parse", "value", "message"), WRONG)
def test_wrong(parse, value, message):
    with pytest.raises(ValueError) as error:
        parse(value)
    assert message in str(error.value)
