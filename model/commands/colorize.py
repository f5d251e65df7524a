"""Color photographs: into a folder, into a file, or through a pipe. And show them side by side."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any, Literal

from typer import Argument, BadParameter, Option, Typer

from model.commands.options import Device, Net, Out
from model.commands.terminal import ProgressLog, quiet_libraries, shown
from model.errors import InputError, PhotoError

if TYPE_CHECKING:
    from concurrent.futures import Future

    from model.colorizer import Colorizer
    from model.folder import Outcome
    from model.image_headers import Limits
    from model.manifest import Manifest
    from model.recipe import Output, Recipe
    from model.sources import Found

_PIPE = Path("-")
_NAMED = 5
"""Names of one kind in a summary, at most; the others are counted."""
_MOST_NOTICES = 20
"""Lines of one notice; further ones are counted."""
_MOST_JOBS = 16

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
    if out is None and photos == [_PIPE]:
        out = _PIPE
    if out is None:
        raise BadParameter(
            "Missing option '--out' / '-o': a folder, a file for one photo, or - for standard output"
        )
    is_file = _is_one_file(photos, out)
    if not dry_run:
        _check_place(out, is_file)
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
        asked = _Asked(photos, out, net, device, recipe, overwrite, jobs, dry_run, quiet)
        try:
            return _into_file(asked) if is_file else _into_folder(asked)
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


@dataclass(frozen=True, slots=True)
class _Asked:
    """A command line, understood."""

    photos: Sequence[Path]
    out: Path
    net: str
    device: str
    recipe: Recipe
    overwrite: bool
    jobs: int | None
    dry_run: bool
    quiet: bool


def _recipe(
    color: tuple[float | None, float],
    inspection: Mapping[str, Any],
    save: Mapping[str, Any],
    limits: tuple[float | None, int | None],
    **others: Any,
) -> Recipe:
    from model.colorizer import ColorOptions
    from model.image_io import SaveOptions
    from model.recipe import Recipe

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
    if word is None:
        return None
    return {"JPG": "JPEG", "TIF": "TIFF"}.get(word.upper(), word.upper())


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


def _check_place(out: Path, is_file: bool) -> None:
    """Before anything is loaded: that OUT, or the folder in which it is to be made, can be written to."""
    from model import results

    if out == _PIPE:
        return
    if not is_file and out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file; name a folder for the results")
    place = out.parent if is_file else out
    while not place.exists() and place != place.parent:
        place = place.parent
    try:
        results.check_writable(place)
    except OSError as error:
        raise InputError(f"{place} cannot be written: {error.strerror}") from error


# Into a folder


def _into_folder(asked: _Asked) -> int:
    from model import manifest, sources

    if _PIPE in asked.photos:
        raise InputError("a photo from standard input has no name: give -o a file or -")
    found = sources.find(asked.photos, asked.out, frozenset(manifest.read(asked.out).results()))
    if not found.photos:
        said = "; ".join(_left_alone(found))
        where = ", ".join(map(shown, asked.photos))
        raise InputError(f"there are no photographs in {where}{f' ({said})' if said else ''}")
    if asked.dry_run:
        return _plan(asked, found)
    with _writable(asked.out) as record:
        return _color_all(asked, found, record)


@contextlib.contextmanager
def _writable(out: Path) -> Iterator[Manifest]:
    """The manifest of OUT. What nothing can be written to is said before any work is done."""
    from model import manifest, results

    with contextlib.ExitStack() as stack:
        try:
            record = stack.enter_context(manifest.opened(out))
            results.sweep(out)
        except OSError as error:
            raise InputError(f"{out} cannot be written: {error.strerror}") from error
        yield record


def _color_all(asked: _Asked, found: Found, record: Manifest) -> int:
    from model import pipeline
    from model.folder import Run

    jobs = min(asked.jobs or min(pipeline.cores(), _MOST_JOBS), len(found.photos))
    room = pipeline.Room(pipeline.memory_at_once(jobs))
    telling = _Telling(len(found.photos), asked)
    with _loading(asked, jobs) as loading:
        run = Run(record, found.photos, asked.recipe, loading.result, room, asked.overwrite, alone=jobs == 1)
        with _interruptible(run.stop) as interrupted, telling.log:
            outcomes = pipeline.run(run.sources, run.color, jobs, run.stop)
            try:
                loading.result()
            except BaseException:
                run.stop.set()
                raise
            for outcome in outcomes:
                telling.tell(outcome)
    if run.stopped_by is not None:
        print(
            f"{shown(asked.out)}: {run.stopped_by.strerror}: stopped; the same command goes on",
            file=sys.stderr,
        )
    telling.sum_up(found)
    if interrupted:
        return 128 + interrupted[0]
    return telling.status(found)


def _plan(asked: _Asked, found: Found) -> int:
    """What a run would do. The formats are those that the files' headers promise."""
    from model import manifest, pipeline, recipe
    from model.folder import Run

    record = manifest.read(asked.out)
    failed = bool(found.closed)
    with _loading(asked, jobs=1) as loading:
        loading.result()
        run = Run(record, found.photos, asked.recipe, loading.result, pipeline.Room(1), asked.overwrite)
        for source in found.photos:
            if done := run.done(source):
                print(f"{shown(source.path)}: {done.detail or 'done already'}")
                continue
            try:
                with source.path.open("rb") as file:
                    format = recipe.likely_format(file, asked.recipe)
            except (PhotoError, OSError) as error:
                failed = True
                said = error.detail if isinstance(error, PhotoError) else error.strerror
                print(f"{shown(source.path)}: {said}")
                continue
            print(f"{shown(source.path)} -> {shown(asked.out / run.planned(source, format))}")
    for line in _left_alone(found):
        print(f"left alone: {line}")
    return 1 if failed else 3 if _is_any_left(found) else 0


@contextlib.contextmanager
def _loading(asked: _Asked, jobs: int) -> Iterator[Future[Colorizer]]:
    """The net, loaded in a thread of its own while photos are opened."""
    from concurrent.futures import ThreadPoolExecutor

    from model.colorizer import Colorizer
    from model.pipeline import cores

    def load() -> Colorizer:
        colorizer = Colorizer.load(asked.net, asked.device)
        if jobs > 1 and (torch := sys.modules.get("torch")):
            torch.set_num_threads(max(1, cores() // jobs))  # each photo is colored by a thread of its own
        return colorizer

    with ThreadPoolExecutor(1) as thread:
        yield thread.submit(load)


@contextlib.contextmanager
def _interruptible(stop: threading.Event) -> Iterator[list[int]]:
    """On Ctrl-C, and where the process is asked to end, let what is being written be written. A second time ends at once."""
    interrupted: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield interrupted
        return

    def end(number: int, frame: object) -> None:
        if interrupted:
            os._exit(128 + number)
        interrupted.append(number)
        stop.set()

    signals = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
    heard = [number for number in signals if signal.getsignal(number) != signal.SIG_IGN]  # as nohup has it
    before = [signal.signal(number, end) for number in heard]
    try:
        yield interrupted
    finally:
        for number, handler in zip(heard, before, strict=True):
            signal.signal(number, handler)


class _Telling:
    """What is said of outcomes as they come, and in the end."""

    def __init__(self, total: int, asked: _Asked) -> None:
        self.log = ProgressLog(total, asked.quiet)
        self._total = total
        self._asked = asked
        self._kinds: Counter[str] = Counter()
        self._noticed: dict[str, list[Path]] = {}
        self._traced = False

    def tell(self, outcome: Outcome) -> None:
        path = shown(outcome.source.path)
        self._kinds[outcome.kind] += 1
        if outcome.trace and not self._traced:  # the first is enough to find the defect
            self._traced = True
            self.log.say(outcome.trace.rstrip())
        if outcome.kind in ("failed", "refused", "changed"):
            self.log.say(f"{path}: {outcome.detail}")
        for notice in outcome.notices:
            named = self._noticed.setdefault(notice.code, [])
            named.append(outcome.source.path)
            if len(named) <= _MOST_NOTICES and not self._asked.quiet:
                self.log.say(f"{path}: {notice.detail}")
        self.log.advance(outcome.kind == "failed")

    def sum_up(self, found: Found) -> None:
        if self._asked.quiet:
            return
        count = self._kinds
        said = [f"{count['colored']} of {self._total} colored into {shown(self._asked.out)}"]
        said += [
            f"{count[kind]} {words}"
            for kind, words in {
                "there": "done already (--overwrite colors anew)",
                "kept": "in color already and kept as they are",
                "refused": "in color already and refused",
                "changed": "changed by somebody since, and left as they are",
                "failed": "failed",
            }.items()
            if count[kind]
        ]
        if left := self._total - count.total():
            said.append(f"{left} not done (the same command goes on)")
        print(", ".join(said))
        for code, paths in sorted(self._noticed.items()):
            print(f"noticed: {code} {len(paths)}: {_few(paths)}")
        for line in _left_alone(found):
            print(f"left alone: {line}")

    def status(self, found: Found) -> int:
        if (
            self._kinds["failed"]
            or self._kinds["refused"]
            or found.closed
            or self._kinds.total() < self._total
        ):
            return 1
        return 3 if self._kinds["changed"] or _is_any_left(found) else 0


def _left_alone(found: Found) -> list[str]:
    """A line for each kind of thing that was found and is no source."""
    kinds = Counter(path.suffix.lower() or "without an ending" for path in found.others)
    counts = ", ".join(f"{shown(kind)} {count}" for kind, count in sorted(kinds.items()))
    lines = [
        (found.others, "file", f"of other kinds ({counts})"),
        (found.links, "link", "to a folder, not followed"),
        (found.within, "photograph", "in the folder of results, no source"),
    ]
    said = [f"{_count(len(paths), noun)} {words}: {_few(paths)}" for paths, noun, words in lines if paths]
    reasons = [f"{shown(path)} ({reason})" for path, reason in found.closed]
    if reasons:
        said.append(f"{_count(len(reasons), 'folder')} not readable: {', '.join(reasons)}")
    return said


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _is_any_left(found: Found) -> bool:
    return bool(found.others or found.links or found.within or found.closed)


def _few(paths: Sequence[Path]) -> str:
    more = f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
    return ", ".join(shown(path) for path in paths[:_NAMED]) + more


# Into a file, or through a pipe


def _is_one_file(photos: Sequence[Path], out: Path) -> bool:
    """Whether OUT is meant as a file: one photo goes in, and OUT is a pipe or has a photo's ending and is no folder."""
    from model.sources import endings

    if out != _PIPE and (out.is_dir() or out.suffix.lower() not in endings()):
        return False
    if len(photos) == 1 and not photos[0].is_dir():
        return True
    if out == _PIPE:
        raise InputError("only one photo goes through a pipe; name a folder for several")
    raise InputError(f"{out} is the name of one photo, and several are to be colored; name a folder")


def _into_file(asked: _Asked) -> int:
    from model import recipe as recipes

    [photo] = asked.photos
    recipe = asked.recipe if asked.out == _PIPE else _saved_as(asked)
    _check_target(asked)
    if asked.dry_run:
        print(f"{shown(photo)} -> {shown(asked.out)}")
        return 0
    try:
        with _loading(asked, jobs=1) as loading:
            data, times = _read(photo)
            made = recipes.make(data, recipe, loading.result, lambda: None, photo.name)
    except PhotoError as error:
        print(f"{shown(photo)}: {error.detail}", file=sys.stderr)
        return 1
    for notice in made.notices:
        if not asked.quiet:
            print(f"{shown(photo)}: {notice.detail}", file=sys.stderr)
    _write(asked, recipe, made.outputs, times if recipe.keeps_time else None)
    return 0


def _saved_as(asked: _Asked) -> Recipe:
    """The recipe with the format that the ending of OUT says. InputError where that cannot be written, or --format says another."""
    from model.image_io import WRITABLE
    from model.sources import endings_of

    ending = asked.out.suffix.lower()
    by_ending = [format for format in WRITABLE if ending in endings_of(format)]
    if not by_ending:
        raise InputError(
            f"{asked.out}: {ending} files cannot be written; choose one of {', '.join(WRITABLE)}"
        )
    wanted = asked.recipe.save.format
    if wanted not in (None, by_ending[0]):
        raise InputError(f"{asked.out} is no name for {wanted}; leave --format out, or change the ending")
    return replace(asked.recipe, save=replace(asked.recipe.save, format=by_ending[0]))


def _check_target(asked: _Asked) -> None:
    """That the result may be written, before any work is done."""
    from model import manifest, results, sources

    [photo] = asked.photos
    if asked.recipe.page == "all":
        raise InputError("all pages do not fit into one file; name a folder")
    if asked.out == _PIPE:
        if asked.recipe.sidecar or asked.recipe.separate:
            raise InputError(
                "only one file goes through a pipe: --sidecar and --separate need a name for OUT"
            )
        if sys.stdout.isatty() and not asked.dry_run:
            raise InputError("standard output is a terminal: lead it into a file, or name one by -o")
        return
    if photo != _PIPE and sources.identity(photo) == sources.identity(asked.out) is not None:
        raise InputError(f"{asked.out} is the photo itself, which is never written over; choose another name")
    originals = {entry.source for entry in manifest.read(asked.out.parent).entries()}
    if sources.absolute(asked.out) in originals:
        raise InputError(f"{asked.out} is a photo that was colored before, an original; choose another name")
    if os.path.lexists(asked.out) and not asked.overwrite:
        raise InputError(f"{asked.out} is there already; --overwrite replaces it")
    if asked.dry_run:
        return
    try:
        asked.out.parent.mkdir(parents=True, exist_ok=True)
        results.sweep(asked.out.parent, below=False)
    except OSError as error:
        raise InputError(f"{asked.out.parent} cannot be written: {error.strerror}") from error


def _read(photo: Path) -> tuple[bytes, tuple[int, int] | None]:
    """The bytes of a file and its times, or what comes from standard input."""
    if photo == _PIPE:
        return sys.stdin.buffer.read(), None
    with photo.open("rb") as file:
        status = os.fstat(file.fileno())
        return file.read(), (status.st_atime_ns, status.st_mtime_ns)


def _write(asked: _Asked, recipe: Recipe, outputs: Sequence[Output], times: tuple[int, int] | None) -> None:
    from model import results

    names: dict[str, Path] = {}
    for output in outputs:
        if asked.out == _PIPE:
            sys.stdout.buffer.write(output.data)
            sys.stdout.buffer.flush()
            return
        if output.beside:
            beside = results.beside(PurePosixPath(names[output.beside].name), output.ending)
            target = asked.out.parent / beside
        else:
            target = asked.out
            if output.format != recipe.save.format:
                raise InputError(
                    f"the photo cannot be saved as {recipe.save.format}, which does not hold its transparent parts or its size; "
                    f"as {output.format} it can: change the ending"
                )
        names[output.role] = target
        results.put(target, output.data, asked.overwrite, times)
    if not asked.quiet:
        print(f"1 of 1 colored into {shown(asked.out)}")
