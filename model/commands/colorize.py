"""Color photographs: into a folder, into a file, or through a pipe. And show them side by side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from typer import Argument, BadParameter, Option, Typer

from model.commands.coloring import PIPE, Asked, check_place
from model.commands.colorize_file import into_file, is_one_file
from model.commands.colorize_folder import into_folder
from model.commands.options import Device, Net, Out
from model.commands.terminal import quiet_libraries

if TYPE_CHECKING:
    from model.folder.recipe import Recipe
    from model.image_headers import Limits

app = Typer()


@app.command(short_help="color photographs")
def colorize(
    photos: Annotated[
        list[Path],
        Argument(
            metavar="PHOTO_OR_DIR", help="files, folders with all that is in them, or - for standard input"
        ),
    ],
    out: Annotated[
        Path | None,
        Option(
            "--out",
            "-o",
            metavar="OUT",
            help="a folder for the results; for one photo also a file, or - for standard output",
        ),
    ] = None,
    net: Net = "lite",
    temperature: Annotated[
        float | None,
        Option(help="0, the likeliest color, to 1, the mean of all; default: the net's own"),
    ] = None,
    vividness: Annotated[float, Option(help="factor on the chroma, 0 to 2")] = 1.0,
    if_color: Annotated[
        Literal["colorize", "keep", "refuse"],
        Option(help="a photo that is in color already: color it anew, copy it as it is, or give an error"),
    ] = "colorize",
    negative: Annotated[bool, Option("--negative", help="photos are negatives: invert them first")] = False,
    rotate: Annotated[
        Literal["0", "90", "180", "270"], Option(help="turn photos so many degrees clockwise first")
    ] = "0",
    crop_border: Annotated[
        bool, Option("--crop-border", help="cut off the page around the photograph, which else stays gray")
    ] = False,
    page: Annotated[
        str | None, Option(metavar="N|all", help="of a TIFF with several; default: the photograph among them")
    ] = None,
    partial: Annotated[
        bool, Option("--partial", help="color what is there of files that are cut off; the rest stays gray")
    ] = False,
    format: Annotated[
        str | None, Option(help="jpeg, png, tiff, webp or avif; default: each photo's own, or the nearest")
    ] = None,
    quality: Annotated[int, Option(help="of JPEG, WebP and AVIF, 1 to 100")] = 92,
    strip: Annotated[
        bool, Option("--strip", help="drop the photo's record: EXIF, XMP, IPTC, comments, file time")
    ] = False,
    location: Annotated[
        bool, Option("--location/--no-location", help="keep where the photo was taken")
    ] = True,
    disclosure: Annotated[
        bool,
        Option("--disclosure/--no-disclosure", help="say in the file's record that its colors are guessed"),
    ] = True,
    mark: Annotated[bool, Option("--mark", help="put a mark into a corner of the picture")] = False,
    sidecar: Annotated[bool, Option("--sidecar", help="write a JSON file beside each result")] = False,
    separate: Annotated[
        bool, Option("--separate", help="write the colors as a file of their own, beside the untouched gray")
    ] = False,
    max_megapixels: Annotated[
        float | None, Option(metavar="N", help="refuse larger photos; default: what memory holds")
    ] = None,
    max_bytes: Annotated[int | None, Option(metavar="N", help="refuse larger files; default: none")] = None,
    overwrite: Annotated[bool, Option("--overwrite", help="color anew what is done already")] = False,
    jobs: Annotated[
        int | None, Option("--jobs", "-j", metavar="N", min=1, help="photos at once; default: one a core")
    ] = None,
    device: Device = "auto",
    dry_run: Annotated[
        bool, Option("--dry-run", "-n", help="say what would be done, and do nothing")
    ] = False,
    quiet: Annotated[bool, Option("--quiet", "-q", help="say only what is wrong")] = False,
) -> int:
    """Color photos. Into a folder, each under a name of its own, past bad ones, which are named; the same command again does what is left.

    No file that is no result of an earlier run is ever replaced. The exit status is 0; 1 when a photo failed; 3 when none did, but
    something was left alone, such as files of other kinds; 130 when interrupted.
    """
    if out is None and photos == [PIPE]:
        out = PIPE
    if out is None:
        raise BadParameter(
            "Missing option '--out' / '-o': a folder, a file for one photo, or - for standard output"
        )
    is_file = is_one_file(photos, out)
    if not dry_run:
        check_place(out, is_file)
    with quiet_libraries():
        recipe = _recipe(
            color=(temperature, vividness),
            inspection={
                "if_color": if_color,
                "negative": negative,
                "rotate": int(rotate),
                "crop_border": crop_border,
            },
            save={"format": _format(format), "quality": quality, "metadata": not strip, "location": location}
            | {"disclosure": disclosure, "mark": mark},
            limits=(max_megapixels, max_bytes),
            page=_page(page),
            partial=partial,
            sidecar=sidecar,
            separate=separate,
            keeps_time=not strip,
        )
        asked = Asked(photos, out, net, device, recipe, overwrite, jobs, dry_run, quiet)
        try:
            return into_file(asked) if is_file else into_folder(asked)
        except KeyboardInterrupt:
            return 130


@app.command(short_help="photographs side by side: gray, colored, true")
def gallery(
    out: Out,
    photos: Annotated[
        list[Path],
        Option(metavar="DIR...", help="scikit-image: the photographs of that package"),
    ] = [Path("scikit-image")],
    net: Net = "lite",
    device: Device = "auto",
) -> int:
    """Write photographs side by side as a person would see them: gray, colored, ground truth."""
    from model.colorizer import Colorizer
    from model.evaluate import color, figures
    from model.image_io import Photo
    from model.training import data

    colorizer = Colorizer.load(net, device)
    out.mkdir(parents=True, exist_ok=True)
    for path in data.find(photos):
        truth = data.read(path)
        [colored] = colorizer.colorize([Photo(truth, None, "PNG")])
        picture = figures.gray_colored_true(truth, color.gray(truth), colored.pixels)
        figures.save(picture, out / f"{path.stem}.jpg")
    return 0


def _recipe(
    color: tuple[float | None, float],
    inspection: Mapping[str, Any],
    save: Mapping[str, Any],
    limits: tuple[float | None, int | None],
    **others: Any,
) -> Recipe:
    from model.colorizer import ColorOptions
    from model.folder.recipe import Recipe
    from model.image_io import SaveOptions

    known = {field.name for field in fields(SaveOptions)}
    return Recipe(
        color=ColorOptions(*color),
        inspection=_inspection(inspection),
        save=SaveOptions(**{name: value for name, value in save.items() if name in known}),
        limits=_limits(*limits),
        **others,
    )


def _inspection(options: Mapping[str, Any]) -> Any:
    if find_spec("model.inspection") is None:
        return None
    return import_module("model.inspection").InspectionOptions(**options)


def _format(word: str | None) -> str | None:
    """By Pillow's name."""
    from model.image_io import WRITABLE

    if word is None:
        return None
    format = {"JPG": "JPEG", "TIF": "TIFF"}.get(word.upper(), word.upper())
    if format not in WRITABLE:
        raise BadParameter(
            f"{word!r} cannot be written; choose one of {', '.join(WRITABLE).lower()}",
            param_hint="'--format'",
        )
    return format


def _page(word: str | None) -> int | Literal["all"] | None:
    if word is None:
        return None
    if word == "all":
        return "all"
    if not word.isdecimal() or int(word) < 1:
        raise BadParameter(f"{word!r} is neither a page's number nor all", param_hint="'--page'")
    return int(word)


def _limits(max_megapixels: float | None, max_bytes: int | None) -> Limits:
    """None but those that were given: the memory of this machine is the bound."""
    from model.image_headers import Limits

    # Before `Limits.none`: numbers that no photo reaches.
    none = Limits.none() if hasattr(Limits, "none") else Limits(2**62, 2**62, 2**62, 1, 2.0**62)
    pixels = none.max_pixels if max_megapixels is None else int(max_megapixels * 1e6)
    return replace(none, max_pixels=pixels, max_bytes=none.max_bytes if max_bytes is None else max_bytes)
