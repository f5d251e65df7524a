"""What `contrast` measured, in words and a table, with the targets and by how much they are missed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.benchmarks.contrast import WITH_OURS
from tests.benchmarks.figures import median, place_line, table

TARGETS = {"augment": 2.0, "step": 1.15}
SAME = 1e-5
_WORDS = {"augment": "augmentation alone", "step": "a whole step"}


def text(found: dict[str, Any]) -> str:
    """Markdown, the verdicts first."""
    extent, loss, measured = found["extent"], found["loss"], found["measured"]
    lines = [f"- {line}" for line in verdicts(measured)]
    same = "met" if loss["loss"] <= SAME else "**missed**"
    lines.append(
        f"- the loss on the same embeddings: {loss['loss']:.1e} apart at most, its gradient {loss['gradient']:.1e} "
        f"(of up to {loss['largest_gradient']:.1e}); {SAME:.0e} asked for, {same}"
    )
    rows = [
        [
            _WORDS[what],
            subject + (f", {workers} workers" if workers else ", no workers" if subject == "lightly" else ""),
            extent["photos"] / median([of["seconds"] for of in here]),
            _spread([extent["photos"] / of["seconds"] for of in here]),
            median([of["memory_mib"] for of in here]),
        ]
        for what in TARGETS
        for subject, workers in dict.fromkeys((of["subject"], of["workers"]) for of in measured)
        if (
            here := [
                of
                for of in measured
                if (of["what"], of["subject"], of["workers"]) == (what, subject, workers)
            ]
        )
    ]
    intro = (
        f"{extent['photos']} photos of 160 pixels, already decoded, two views of {extent['side']} each; ResNet-18 in "
        f"bf16; {extent['cores']} cores for each side, torch {measured[0]['torch']}; medians of {extent['rounds']} interleaved rounds. "
        "Ratios are to lightly's "
        "better way, with workers or without, round by round, in brackets the least and the most. Memory is the peak "
        "of the process with its imports, and what its workers do not share."
    )
    parts = [
        "# SimCLR here and in lightly 1.6\n",
        place_line(found["place"]) + "\n",
        intro + "\n",
        "\n".join(lines) + "\n",
    ]
    parts.append(table(["what", "who", "photos a second", "least…most", "MiB"], rows))
    return "\n".join(parts)


def verdicts(measured: Sequence[dict[str, Any]]) -> list[str]:
    """One line a target."""
    lines = []
    for what, target in TARGETS.items():
        ratios = _faster(measured, what, "lightly")
        said = "met" if median(ratios) >= target else f"**missed** by {1 - median(ratios) / target:.0%}"
        line = f"{_WORDS[what]}: {median(ratios):.2f} of lightly's speed ({_spread(ratios)}); {target} asked for, {said}"
        if fair := _faster(measured, what, WITH_OURS):
            line += f"; were lightly given the huge pages that `python -m model` asks for: {median(fair):.2f} ({_spread(fair)})"
        lines.append(line)
    return lines


def _faster(measured: Sequence[dict[str, Any]], what: str, than: str) -> list[float]:
    """Round by round."""
    found = []
    for turn in sorted({of["round"] for of in measured}):
        here = [of for of in measured if of["what"] == what and of["round"] == turn]
        ours, theirs = (
            [of["seconds"] for of in here if of["subject"] == subject] for subject in ("autochrome", than)
        )
        if theirs:
            found.append(min(theirs) / min(ours))
    return found


def _spread(values: Sequence[float]) -> str:
    return f"{min(values):.3g}…{max(values):.3g}"
