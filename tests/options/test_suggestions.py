"""Did you mean ...?"""

import pytest

from library.options.suggestions import suggest

NAMES = ("soft_min_snr", "min_snr_gamma", "min_snr_gamma_of_all", "Cosine", "cosine_with_restarts")


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("min_snr", "min_snr_gamma"),  # soft_min_snr is closer
        ("MIN_SNR_GAMMA", "min_snr_gamma"),
        ("soft_min_snt", "soft_min_snr"),
        ("cosin", "Cosine"),
        ("cosine_anneal", None),
        ("w", None),
        ("", None),
    ],
)
def test_what_is_suggested(word, meant):
    assert suggest(word, NAMES, prefix="--") == (f" Did you mean --{meant}?" if meant else "")
