"""Detections' average precision, counted out by hand."""

import math

import pytest

from model.evaluate.boxes import Detection, Object, detection_precision, overlap

HERE, THERE = (10, 10, 19, 19), (40, 40, 49, 49)


def test_overlap_counts_whole_pixels():
    assert overlap(HERE, HERE) == 1
    assert overlap(HERE, THERE) == 0
    assert overlap((0, 0, 9, 9), (5, 0, 14, 9)) == pytest.approx(50 / 150)
    assert overlap((0, 0, 9, 9), (10, 0, 19, 9)) == 0, "neighbors share no pixel"


def test_all_found_before_any_mistake_is_perfect():
    truth = {0: [Object(HERE), Object(THERE)], 3: [Object(HERE)]}
    found = [
        Detection(0, 0.9, HERE),
        Detection(3, 0.8, HERE),
        Detection(0, 0.7, THERE),
        Detection(1, 0.1, HERE),
    ]
    assert detection_precision(found, truth) == 1


def test_a_second_box_on_one_object_is_a_mistake_and_what_is_missed_costs_recall():
    truth = {0: [Object(HERE), Object(THERE)]}
    found = [Detection(0, 0.9, HERE), Detection(0, 0.8, HERE), Detection(0, 0.7, (12, 12, 30, 30))]
    # Recalls to .5 at a precision of 1: 6 of 11 points.
    assert detection_precision(found, truth) == pytest.approx(6 / 11)
    assert detection_precision([Detection(0, 1, (15, 10, 30, 19)), *found[1:2]], truth) == pytest.approx(
        6 / 11 / 2
    )


def test_what_is_difficult_counts_neither_way():
    truth = {0: [Object(HERE, difficult=True)], 1: [Object(HERE)]}
    assert detection_precision([Detection(0, 0.9, HERE), Detection(1, 0.8, HERE)], truth) == 1
    assert math.isnan(detection_precision([], {0: [Object(HERE, difficult=True)]}))
    assert detection_precision([], truth) == 0
