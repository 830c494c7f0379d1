"""Did you mean ...?"""

import difflib
from collections.abc import Iterable


def suggest(word: str, candidates: Iterable[str], prefix: str = "") -> str:
    """ " Did you mean X?" for the shortest candidate that begins with the word, or else for the closest, in any case;
    nothing when none is close."""
    names = {name.lower(): name for name in candidates}
    word = word.lower()
    longer = sorted((name for name in names if word and name.startswith(word)), key=len)
    matches = longer or difflib.get_close_matches(word, names, n=1, cutoff=0.7)
    return f" Did you mean {prefix}{names[matches[0]]}?" if matches else ""
