"""Show a net pictures without objects, and one object many ways."""

from __future__ import annotations

import argparse
import json

from model.commands import selection
from model.evaluate import cues as measure
from model.evaluate.stimuli import stimuli


def cues(arguments: argparse.Namespace) -> int:
    """Print the findings of `evaluate.cues`; write them and JSON, and a figure of all stimuli and answers."""
    colorizer = selection.subject(arguments)
    shown = stimuli()
    answers = measure.ask(colorizer, shown)
    findings = measure.find(answers)
    text = f"{colorizer.name}\n\n{measure.table(answers, findings)}\n"
    print(text)
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "cues.md").write_text(text)
    facts = {"net": colorizer.name, "sha256": colorizer.sha256} | measure.as_json(answers, findings)
    (arguments.out / "cues.json").write_text(json.dumps(facts, indent=2) + "\n")
    measure.figure(shown, answers).save(arguments.out / "cues.jpg", quality=75)
    print(f"the figure: {arguments.out / 'cues.jpg'}")
    return 0
