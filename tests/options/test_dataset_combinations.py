"""What datasets and the options of the run contradict in each other."""

from pathlib import Path

import pytest

from library.options.dataset_combinations import contradictions
from library.options.dataset_settings import DatasetSettings, SubsetSettings
from library.options.groups import CacheOptions

CHANGES = {"color_aug": True, "random_crop": True, "face_crop_aug_range": (1.0, 2.0)}


def datasets_with(**rules) -> list[DatasetSettings]:
    """Two, of which one subset each has these rules."""
    return [
        DatasetSettings(
            subsets=(
                SubsetSettings(image_dir=Path(f"ünchanged {n}")),
                SubsetSettings(image_dir=Path(f"own {n}"), **rules),
            )
        )
        for n in (1, 2)
    ]


@pytest.mark.parametrize(
    ("cache", "shown"),
    [
        ({"cache_latents": True}, "--cache_latents"),
        ({"cache_latents_to_disk": True}, "--cache_latents_to_disk"),
        ({"cache_latents": True, "cache_latents_to_disk": True}, "--cache_latents and --cache_latents_to_disk"),
    ],
)
@pytest.mark.parametrize("name", CHANGES)
def test_cached_pictures_cannot_be_drawn_anew(name, cache, shown):
    (finding,) = contradictions(datasets_with(**{name: CHANGES[name]}), CacheOptions(**cache))
    assert finding.startswith(f"{name} of 'own 1', 'own 2' changes ")
    assert f"with {shown} only" in finding
    assert finding.endswith(f"leave out {name}, or {shown}")


def test_every_contradiction_is_told():
    findings = contradictions(datasets_with(**CHANGES), CacheOptions(cache_latents=True))
    assert [finding.split()[0] for finding in findings] == list(CHANGES)


def test_what_caches_can_hold():
    assert not list(contradictions(datasets_with(**CHANGES), CacheOptions()))
    rules = {"flip_aug": True, "alpha_mask": True, "resize_interpolation": "box"}
    assert not list(contradictions(datasets_with(**rules), CacheOptions(cache_latents=True)))


def test_a_network_without_strength_learns_nothing():
    problems = list(contradictions([DatasetSettings(), DatasetSettings(network_multiplier=0)], CacheOptions()))
    assert problems == [
        "dataset 2: network_multiplier 0: the network would have no part in these images, and learn nothing from them; "
        "give another strength, or leave the dataset out"
    ]
    assert list(contradictions([DatasetSettings(network_multiplier=-1)], CacheOptions())) == []
