"""Recall of proposals."""

from __future__ import annotations

import numpy as np
import pytest

from detection.evaluation.proposal_recall import proposal_recall

A, B = [0.0, 0, 10, 10], [20.0, 0, 30, 10]
NOWHERE = [50.0, 50, 60, 60]
NONE = np.zeros((0, 4))


def test_counts_cut_the_list_of_each_image() -> None:
    truth = [np.array([A, B]), np.array([A]), NONE]
    proposals = [np.array([NOWHERE, A, B]), NONE, np.array([A])]
    # First covered at rank 2 and 3; the object of the second image never.
    recall = proposal_recall(truth, proposals, counts=(1, 2, 3, 100))
    assert recall == {"recall@1": 0.0, "recall@2": 1 / 3, "recall@3": 2 / 3, "recall@100": 2 / 3}


def test_one_proposal_may_cover_two_objects() -> None:
    assert proposal_recall([np.array([A, A])], [np.array([A])], counts=(1,)) == {"recall@1": 1.0}


def test_ignored_objects_are_left_out() -> None:
    ignore = [np.array([True, False])]
    assert proposal_recall([np.array([A, B])], [np.array([B])], gt_ignore=ignore, counts=(1,)) == {"recall@1": 1.0}
    assert proposal_recall([np.array([A])], [np.array([A])], gt_ignore=[np.array([True])], counts=(1,)) == {
        "recall@1": None
    }


def test_overlap_equal_to_the_threshold_suffices() -> None:
    tall = [0.0, 0, 10, 20]
    assert proposal_recall([np.array([A])], [np.array([tall])], counts=(1,))["recall@1"] == 1.0
    assert proposal_recall([np.array([A])], [np.array([tall])], counts=(1,), iou_threshold=0.51)["recall@1"] == 0.0


def test_nothing_to_find_is_none_and_lengths_must_agree() -> None:
    assert proposal_recall([], [], counts=(10,)) == {"recall@10": None}
    assert proposal_recall([NONE], [np.array([A])]) == dict.fromkeys(
        ("recall@10", "recall@50", "recall@100", "recall@200")
    )
    with pytest.raises(ValueError, match="zip"):
        proposal_recall([np.array([A])], [])
