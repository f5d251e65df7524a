"""Color photographs: into a folder, into a file, or through a pipe. And show them side by side."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

from typer import Argument, BadParameter, Option, Typer

from model.commands.coloring import PIPE, Asked, check_place
from model.commands.colorize_file import into_file, is_one_file
from model.commands.colorize_folder import into_folder
from model.commands.options import Device, Net, Out
from model.commands.terminal import quiet_libraries, shown
from model.errors import InputError, PhotoError

if TYPE_CHECKING:
    from model.hints import Hint
    from model.image_headers import Limits

app = Typer()

_DEGREES: Final[dict[str, Literal[0, 90, 180, 270]]] = {"0": 0, "90": 90, "180": 180, "270": 270}


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
        Option(help="0 (the likeliest color) to 1 (the mean of all); default: the net's own"),
    ] = None,
    vividness: Annotated[float, Option(help="factor on the chroma, 0 to 2")] = 1.0,
    hint: Annotated[
        list[str],
        Option(
            "--hint",
            metavar="X,Y,#RRGGBB[,RADIUS]...",
            help="what color is at a place of one photo; x and y 0 to 1 across and down, the radius in shorter sides; gray stays gray",
        ),
    ] = [],
    alternatives: Annotated[
        int,
        Option(
            metavar="N",
            min=0,
            max=8,
            help="write also at most so many pictures of what else it could have been",
        ),
    ] = 0,
    boldness: Annotated[
        float, Option(help="-1 (safer: calm, likely colors) to 1 (bolder: rare and vivid ones)")
    ] = 0.0,
    detail: Annotated[
        Literal["off", "auto", "on"],
        Option(help="a second, closer look at large photos: where it is the surer one, or always"),
    ] = "off",
    palette: Annotated[
        str | None,
        Option(metavar="#RRGGBB,...", help="up to 16 colors that the photos are known to have somewhere"),
    ] = None,
    reference: Annotated[
        Path | None,
        Option(metavar="PHOTO", help="a photograph in color whose main colors the photos have, as a palette"),
    ] = None,
    if_color: Annotated[
        Literal["colorize", "keep", "refuse"],
        Option(help="a photo that is in color already: color it anew, copy it as it is, or refuse it"),
    ] = "colorize",
    negative: Annotated[bool, Option("--negative", help="photos are negatives: invert them first")] = False,
    rotate: Annotated[
        Literal["0", "90", "180", "270"], Option(help="turn photos by so many degrees clockwise first")
    ] = "0",
    crop_border: Annotated[
        bool,
        Option("--crop-border", help="cut off the page around the photograph; otherwise it stays, in gray"),
    ] = False,
    page: Annotated[
        str | None,
        Option(
            metavar="N|all", help="which page of a TIFF, or all of them; default: the photograph among them"
        ),
    ] = None,
    partial: Annotated[
        bool, Option("--partial", help="color what is there of files that are cut off; the rest stays gray")
    ] = False,
    format: Annotated[
        str | None,
        Option(help="jpeg, png, tiff, webp or avif; default: each photo's own, or the nearest to it"),
    ] = None,
    quality: Annotated[int, Option(help="of JPEG, WebP and AVIF, 1 to 100")] = 92,
    strip: Annotated[
        bool, Option("--strip", help="drop the photo's record: EXIF, XMP, IPTC, comments, file time")
    ] = False,
    location: Annotated[
        bool, Option("--location/--no-location", help="keep in it where the photo was taken (GPS)")
    ] = True,
    disclosure: Annotated[
        bool,
        Option("--disclosure/--no-disclosure", help="say in each file that its colors are guessed"),
    ] = True,
    mark: Annotated[
        bool, Option("--mark", help="write the word colorized into a corner of the picture")
    ] = False,
    sidecar: Annotated[
        bool, Option("--sidecar", help="write JSON beside each result: net, options, notices")
    ] = False,
    separate: Annotated[
        bool, Option("--separate", help="write also the untouched gray and the colors as files of their own")
    ] = False,
    confidence: Annotated[
        bool,
        Option("--confidence", help="write beside each result a picture hatched where the colors are unsure"),
    ] = False,
    distribution: Annotated[
        bool, Option("--distribution", help="write beside each result the net's whole answer, to decode anew")
    ] = False,
    max_megapixels: Annotated[
        float | None, Option(metavar="N", help="refuse larger photos; by default memory is the limit")
    ] = None,
    max_bytes: Annotated[
        int | None, Option(metavar="N", help="refuse larger files; no limit by default")
    ] = None,
    overwrite: Annotated[
        bool, Option("--overwrite", help="color anew what is done already; replace the file that -o names")
    ] = False,
    jobs: Annotated[
        int | None,
        Option("--jobs", "-j", metavar="N", min=1, help="photos at once; default: one a core, 16 at most"),
    ] = None,
    device: Device = "auto",
    dry_run: Annotated[
        bool, Option("--dry-run", "-n", help="say what would be done, and write nothing")
    ] = False,
    quiet: Annotated[bool, Option("--quiet", "-q", help="say only what is wrong")] = False,
) -> int:
    """Color photographs: a box of them into a folder, one into a file, or through a pipe.

    In a folder, each result has its photo's name. Photos that fail are named and passed over, and the same command again does what is
    left. Originals are never replaced. The exit status is 0; 1 when a photo failed; 3 when none did, but something was left alone, such
    as files of other kinds; 130 when interrupted.
    """
    if out is None and photos == [PIPE]:
        out = PIPE
    if out is None:
        raise BadParameter(
            "Missing option '--out' / '-o': a folder, a file for one photo, or - for standard output"
        )
    is_file = is_one_file(photos, out)
    if hint and (len(photos) > 1 or photos[0].is_dir()):
        raise BadParameter(
            "hints are places of one photo, and several are to be colored", param_hint="'--hint'"
        )
    if palette is not None and reference is not None:
        raise BadParameter("--palette and --reference exclude each other")
    if not dry_run:
        check_place(out, is_file)
    with quiet_libraries():
        from model.colorizer import ColorOptions
        from model.folder.recipe import Recipe
        from model.image_io import SaveOptions
        from model.inspection import InspectionOptions

        recipe = Recipe(
            color=ColorOptions(
                temperature, vividness, tuple(map(_hint, hint)), boldness, _palette(palette, reference)
            ),
            detail=detail,
            inspection=InspectionOptions(
                crop_border=crop_border, if_color=if_color, negative=negative, rotate=_DEGREES[rotate]
            ),
            save=SaveOptions(
                format=_format(format),
                quality=quality,
                metadata=not strip,
                location=location,
                disclosure=disclosure,
                mark=mark,
            ),
            page=_page(page),
            partial=partial,
            sidecar=sidecar,
            separate=separate,
            alternatives=alternatives,
            confidence=confidence,
            distribution=distribution,
            keeps_time=not strip,
            limits=_limits(max_megapixels, max_bytes),
        )
        asked = Asked(photos, out, net, device, recipe, overwrite, jobs, dry_run, quiet)
        try:
            return into_file(asked) if is_file else into_folder(asked)
        except KeyboardInterrupt:
            return 130


@app.command(short_help="show photographs side by side: gray, colored, ground truth")
def gallery(
    out: Out,
    photos: Annotated[
        list[Path],
        Option(metavar="DIR...", help="scikit-image: the photographs of that package"),
    ] = [Path("scikit-image")],
    net: Net = "lite",
    device: Device = "auto",
    apart: Annotated[
        bool,
        Option(
            "--apart", help="files of their own, NAME-gray.jpg and NAME-color.jpg, without the ground truth"
        ),
    ] = False,
) -> int:
    """Write photographs side by side as a person would see them: gray, colored, ground truth. Or each apart."""
    from PIL import Image

    from model.colorizer import Colorizer
    from model.evaluate import color, figures
    from model.image_io import Photo
    from model.training import data

    colorizer = Colorizer.load(net, device)
    out.mkdir(parents=True, exist_ok=True)
    for path in data.find(photos):
        truth = data.read(path)
        [colored] = colorizer.colorize([Photo(truth, None, "PNG")])
        gray = color.gray(truth)
        if apart:
            figures.save(Image.fromarray(gray).convert("L"), out / f"{path.stem}-gray.jpg")
            figures.save(Image.fromarray(colored.pixels), out / f"{path.stem}-color.jpg")
        else:
            figures.save(figures.gray_colored_true(truth, gray, colored.pixels), out / f"{path.stem}.jpg")
    return 0


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


def _hint(words: str) -> Hint:
    """X,Y,#RRGGBB[,RADIUS]"""
    from model.hints import Hint

    parts = words.split(",")
    try:
        numbers = [float(part) for place, part in enumerate(parts) if place != 2]
    except ValueError:
        numbers = []
    if not 3 <= len(parts) <= 4 or not numbers:
        raise BadParameter(
            f"{words!r} is no hint: write it as X,Y,#RRGGBB or X,Y,#RRGGBB,RADIUS", param_hint="'--hint'"
        )
    x, y, *radius = numbers
    return Hint(x, y, parts[2], *radius)


def _palette(words: str | None, reference: Path | None) -> tuple[str, ...]:
    """The colors, or those of the reference photo. Raises InputError for a reference that cannot be read or is not in color."""
    if reference is None:
        return () if words is None else tuple(word.strip() for word in words.split(","))

    from model import image_io, inspection
    from model.reference import palette_of

    try:
        photo = image_io.open(reference.read_bytes())
    except OSError as error:
        raise InputError(
            f"the reference {shown(reference)} cannot be read: {error.strerror or error}"
        ) from error
    except PhotoError as error:
        raise InputError(f"the reference {shown(reference)} cannot be read: {error.detail}") from error
    if not inspection.is_in_color(photo):
        raise InputError(
            f"the reference {shown(reference)} is gray or of one tone: name a photograph in color, or colors by --palette"
        )
    return tuple(color for color, _ in palette_of(photo.pixels))


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

    most = None if max_megapixels is None else int(max_megapixels * 1e6)
    return replace(Limits.none(), max_pixels=most, max_bytes=max_bytes)
