"""What a check finds."""

from pathlib import Path

from library.dataset.findings import Findings, SkippedImage


def test_what_was_found_already_is_not_told_again():
    one, other = (SkippedImage(Path(name), "the file is empty") for name in ("a.png", "b.png"))
    findings = Findings(["p1"], ["w1", "w2"], [one])
    findings.add(Findings(["p2", "p1", "p2"], ["w0", "w2", "w3"], [other, one]))
    assert findings == Findings(["p1", "p2"], ["w1", "w2", "w0", "w3"], [one, other])
