"""Color photographs; train and measure the network that does; look after its weights.

autochrome colorize PHOTO_OR_DIR... -o OUT
autochrome train colorize --photos DIR... --run runs/first
autochrome evaluate color --photos DIR... -o out/evaluation
autochrome train simclr --net resnet18 --photos DIR... --run runs/simclr
autochrome evaluate probes --runs RUN... --photos DIR --judged DIR
autochrome lecture --photos DIR
autochrome weights show lite

From a checkout, `python -m model` is the same. Other packages add commands of their own by the entry points `autochrome.commands`: `serve`
and `bot`. Each is a main() that reads sys.argv and returns the exit status.
"""

from __future__ import annotations

import os
import re
import sys
from collections import deque
from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model.errors import AutochromeError

if TYPE_CHECKING:
    from typer.core import TyperGroup

_EXTRAS = {"serve": "all-in-one", "bot": "bot"}
"""Of pyproject.toml: what the commands of other packages need."""
_NUMBER = re.compile(r"-(\d+|\d*\.\d+)")


def main(words: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status: 0, 1 when something could not be done, 2 for a wrong command line."""
    words = sys.argv[1:] if words is None else words
    program = "autochrome" if Path(sys.argv[0]).stem == "autochrome" else "python -m model"
    others = entry_points(group="autochrome.commands")
    if words and words[0] in others.names:
        return _run(others[words[0]], program, words[1:])
    # Large tensors in huge pages: asking the kernel for memory anew, 4 KiB at a time, is a sixth of a training step on a CPU.
    # PyTorch reads it when it makes its first tensor.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    try:
        group = command_group(sorted(others.names))
        group.main(repeated(words, group), prog_name=program)
    except SystemExit as end:  # typer ends so, whatever happened
        return int(end.code or 0)
    except ModuleNotFoundError as missing:
        advice = "`make setup`, or `pip install '.[all]'`, has it all"
        print(f"{program}: {missing.name} is not installed; {advice}", file=sys.stderr)
        return 1
    except (AutochromeError, OSError) as error:  # any other is an error of ours, and shows where
        print(f"{program}: {error}", file=sys.stderr)
        return 1
    return 0


def command_group(others: Sequence[str] = ()) -> TyperGroup:
    """All commands. The help names `others` too, which other packages have."""
    # Not above: where typer is not installed, the commands of other packages run all the same.
    import typer

    from model.commands import (
        backbones,
        colorize,
        evaluate,
        experiments,
        opinions,
        realism,
        reference,
        train,
        weights,
    )

    def end(status: int) -> None:
        raise typer.Exit(status)

    app = typer.Typer(
        help="Color photographs; train and measure the network that does.",
        epilog=f"Beside these: {', '.join(others)}." if others else None,
        result_callback=end,
        rich_markup_mode=None,
        add_completion=False,
    )
    evaluation = typer.Typer(help="measure a net on photographs it has not seen")
    for of_evaluation in (evaluate.app, realism.app, opinions.app, reference.app, backbones.app):
        evaluation.add_typer(of_evaluation)
    app.add_typer(colorize.app)
    app.add_typer(train.app)
    app.add_typer(evaluation, name="evaluate")
    app.add_typer(experiments.app)
    app.add_typer(weights.app, name="weights", help="show, fetch, export or average weights")
    return typer.main.get_group(app)


def repeated(words: Sequence[str], group: TyperGroup) -> list[str]:
    """`--photos A B` as `--photos A --photos B`: typer's options take one value each.

    Only for options of the command that the first words name, and only those that are lists. One that may stand without a value, in the
    words of `model.commands.options`, is left out where it does.
    """
    from typer.core import TyperGroup, TyperOption

    command: Any = group
    for word in words:
        if not isinstance(command, TyperGroup) or word not in command.commands:
            break
        command = command.commands[word]
    lists = {
        flag: param
        for param in command.params
        if isinstance(param, TyperOption) and param.multiple
        for flag in param.opts
    }
    spread: list[str] = []
    rest = deque(words)
    while rest:
        word = rest.popleft()
        if word == "--":
            return [*spread, word, *rest]
        if word not in lists:
            spread.append(word)
            continue
        values = []
        while rest and (not rest[0].startswith("-") or _NUMBER.fullmatch(rest[0])):
            values.append(rest.popleft())
        may_be_empty = (lists[word].metavar or "").startswith("[")
        if not values and not may_be_empty:
            spread.append(word)  # typer says what is missing
        for value in values:
            spread += [word, value]
    return spread


def _run(other: EntryPoint, program: str, words: Sequence[str]) -> int:
    """A command of another package: a main() that reads sys.argv, as a script's does."""
    sys.argv = [f"{program} {other.name}", *words]
    try:
        return int(other.load()() or 0)
    except ModuleNotFoundError as missing:
        extra = _EXTRAS.get(other.name, "all")
        print(
            f"{sys.argv[0]}: {missing.name} is not installed; `pip install '.[{extra}]'` has what it needs",
            file=sys.stderr,
        )
        return 1


if __name__ == "__main__":
    sys.exit(main())
