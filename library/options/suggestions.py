"""Did you mean ...?"""

import difflib
from collections.abc import Iterable


def suggest(word: str, candidates: Iterable[str], prefix: str = "") -> str:
    """ " Did you mean X?" for the closest candidate, whatever the case, or nothing when none is close."""
    names = {name.lower(): name for name in candidates}
    word = word.lower()
    matches = difflib.get_close_matches(word, names, n=1, cutoff=0.7)
    if not matches and word:
        matches = sorted((name for name in names if name.startswith(word)), key=len)[:1]
    return f" Did you mean {prefix}{names[matches[0]]}?" if matches else ""
