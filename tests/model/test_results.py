"""Results as files: computed once, resumed where they were stopped, of one kind."""

from __future__ import annotations

from pathlib import Path

import pytest

from model.experiments.results import Results


def test_what_was_computed_is_not_computed_again(tmp_path: Path) -> None:
    computed: list[int] = []
    for _ in range(2):
        assert Results(tmp_path).once("alexnet-knn", lambda: computed.append(1) or {"accuracy": 0.5}) == {
            "accuracy": 0.5
        }
    assert len(computed) == 1


def test_what_was_stopped_is_not_taken_for_done(tmp_path: Path) -> None:
    results = Results(tmp_path)

    def stopped() -> None:
        results.keep("curve", {"20 0": 0.25})
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        results.once("curve", stopped)
    assert results.unfinished("curve") == {"20 0": 0.25}, "but what it had is kept"
    assert results.once("curve", lambda: 3) == 3


def test_a_folder_holds_results_of_one_kind(tmp_path: Path) -> None:
    Results(tmp_path).begin({"plan": {"labels": (20, 90)}})
    Results(tmp_path).begin({"plan": {"labels": (20, 90)}})
    with pytest.raises(ValueError, match="begun with another plan"):
        Results(tmp_path).begin({"plan": {"labels": (20, 91)}})
