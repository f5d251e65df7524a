"""Which photographs a command is to look at."""

from __future__ import annotations

import argparse
from pathlib import Path

from model import datasets


def selected(arguments: argparse.Namespace) -> list[Path]:
    """The photos that `--photos`, `--exclude`, `--only`, `--held-out` and `--limit` ask for.

    Raises FileNotFoundError for a source that holds none.
    """
    photos = datasets.find(arguments.photos, arguments.exclude)
    if arguments.only:
        photos = [path for path in photos if path.match(arguments.only)]
    if arguments.held_out:
        photos = datasets.split(photos, arguments.held_out)[1]
    if 0 < arguments.limit < len(photos):
        photos = [photos[index * len(photos) // arguments.limit] for index in range(arguments.limit)]
    return photos
