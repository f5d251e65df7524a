"""Options that several commands share, each said once.

The modules of commands declare what the command line takes. They import torch, and what needs it, only inside the functions: `--help` and a
wrong command line do not wait for it.

An option that takes several values, as in `--photos A B`, is a list whose metavar ends in three dots. Where the metavar is in brackets,
as in `[GLOB]...`, the option may stand without a value.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from typer import Option

Photos = Annotated[
    list[Path],
    Option(
        "--photos",
        metavar="DIR...",
        help="folders, tars, VOC lists of photos, or scikit-image: the photographs of that package",
    ),
]
Exclude = Annotated[list[str], Option("--exclude", metavar="[GLOB]...", help="file names to leave out")]
Limit = Annotated[
    int, Option("--limit", metavar="N", show_default=False, help="at most so many, evenly chosen")
]

Net = Annotated[str, Option("--net", help="a net's name, or a .safetensors or .onnx file")]
Nets = Annotated[list[str], Option("--net", metavar="NET...", help="names, .safetensors or .onnx files")]
Device = Annotated[str, Option("--device", help="auto, cpu, cuda, cuda:1…")]

Runs = Annotated[
    list[Path],
    Option(
        "--runs",
        metavar="RUN...",
        help="folders of `train --net alexnet` and the like; an untrained net stands beside them",
    ),
]
Protocol = Literal["small", "zhang2016", "goyal2019"]
"""Of `model.evaluate.probes`, which imports torch."""
Probes = Annotated[
    Protocol,
    Option(
        "--protocol",
        help="of the probes: zhang2016 and goyal2019 are the papers', with crops of 227 and 224 out of photos of 256 pixels, "
        "for which the net runs anew in each epoch; small is for photos of 128, shown whole",
    ),
]
Cache = Annotated[Path, Option("--cache", metavar="DIR", help="for photos as squares")]
CACHE = Path("runs/cache")
Voc = Annotated[Path | None, Option("--voc", metavar="DIR", help="VOC2007 in its layout")]

Out = Annotated[Path, Option("--out", "-o", metavar="DIR", help="folder for the results")]


def out_of(files: str) -> Any:
    """The option `--out` of a command that writes these files."""
    return Option("--out", "-o", metavar="DIR", help=f"for {files}")
