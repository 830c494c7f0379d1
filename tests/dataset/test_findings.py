"""What a check finds."""

from pathlib import Path

from library.dataset.findings import EXAMPLES_SHOWN, Findings, SkippedImage, examples


def test_what_was_found_already_is_not_told_again():
    one, other = (SkippedImage(Path(name), "the file is empty") for name in ("a.png", "b.png"))
    findings = Findings(["p1"], ["w1", "w2"], [one])
    findings.add(Findings(["p2", "p1", "p2"], ["w0", "w2", "w3"], [other, one]))
    assert findings == Findings(["p1", "p2"], ["w1", "w2", "w0", "w3"], [one, other])


def test_examples_are_names_without_folders():
    paths = [Path("folder") / f"{number}.png" for number in range(EXAMPLES_SHOWN + 2)]
    assert examples(paths[:1]) == "0.png"
    assert examples(paths[:EXAMPLES_SHOWN]) == "0.png, 1.png, 2.png, 3.png, 4.png"
    assert examples(paths) == "0.png, 1.png, 2.png, 3.png, 4.png, and 2 more"
