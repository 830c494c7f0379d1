"""Which pictures are taken for the same."""

import cv2
import numpy as np
import pytest

from library.linting.likeness import alike, likeness_of, mirrored
from tests.linting.linted import picture

CHANGES = {
    "smaller": lambda values: cv2.resize(values, (48, 32), interpolation=cv2.INTER_AREA),
    "larger": lambda values: cv2.resize(values, (210, 140), interpolation=cv2.INTER_CUBIC),
    "jpeg": lambda values: cv2.imdecode(cv2.imencode(".jpg", values, [1, 30])[1], cv2.IMREAD_COLOR),
    "brighter": lambda values: cv2.convertScaleAbs(values, alpha=0.8, beta=50),
    "trimmed": lambda values: values[1:-1, 1:-1],
}


@pytest.mark.parametrize("change", CHANGES)
def test_changed_copies_are_recognised(change):
    pictures = [picture(seed) for seed in range(40)]
    copies = [CHANGES[change](values) for values in pictures[:10]]
    likenesses = [likeness_of(np.ascontiguousarray(values)) for values in (*pictures, *copies)]
    assert alike(likenesses) == [[number, 40 + number] for number in range(10)]
    assert mirrored(likenesses) == []


def test_mirror_images_are_told_apart_from_copies():
    pictures = [picture(seed) for seed in range(20)]
    likenesses = [likeness_of(values) for values in (*pictures, np.ascontiguousarray(pictures[3][:, ::-1]))]
    assert alike(likenesses) == []
    assert mirrored(likenesses) == [(3, 20)]


def test_symmetric_pictures_are_no_mirror_images_of_their_copies():
    half = picture(1)[:, :48]
    symmetric = np.concatenate([half, half[:, ::-1]], axis=1)
    likenesses = [likeness_of(symmetric), likeness_of(symmetric.copy())]
    assert alike(likenesses) == [[0, 1]]
    assert mirrored(likenesses) == []


def test_different_things_on_a_white_background_are_different():
    """Most bits of their hashes are the same, since nothing changes on the background."""
    likenesses = []
    for place in ((12, 16), (48, 40), (80, 20)):
        values = np.full((64, 96, 3), 255, np.uint8)
        cv2.circle(values, place, 6, (0, 0, 0), -1)
        likenesses.append(likeness_of(values))
    assert np.bitwise_count(likenesses[0].hash ^ likenesses[1].hash) <= 6
    assert alike(likenesses) == []


def test_the_same_drawing_in_other_colours_is_another_picture():
    """Their hashes are the same."""
    likenesses = []
    for paper, pen in [((0, 0, 0), (245, 150, 190)), ((45, 160, 65), (245, 135, 30)), ((255, 255, 255), (30, 80, 210))]:
        values = np.full((64, 96, 3), paper, np.uint8)
        cv2.rectangle(values, (20, 10), (60, 50), pen, -1)
        likenesses.append(likeness_of(values))
    assert likenesses[0].hash == likenesses[1].hash
    assert alike(likenesses) == []
    assert mirrored(likenesses) == []


@pytest.mark.parametrize("colour", [0, 128, 255, (255, 0, 0)])
def test_plain_pictures_have_nothing_to_be_recognised_by(colour):
    assert likeness_of(np.full((64, 96, 3), colour, np.uint8)) is None


def test_nothing_to_compare():
    assert alike([]) == []
    assert mirrored([]) == []


def test_a_film_does_not_become_one_group():
    """Each frame is like the next, the last not like the first."""
    first, last = picture(1).astype(np.float32), picture(2).astype(np.float32)
    frames = [(first * (1 - share) + last * share).astype(np.uint8) for share in np.linspace(0, 1, 30)]
    groups = alike([likeness_of(frame) for frame in frames])
    assert groups[0][0] == 0
    assert 29 not in groups[0]
    grouped = [index for group in groups for index in group]
    assert len(grouped) == len(set(grouped))
