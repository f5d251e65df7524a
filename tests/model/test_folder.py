"""`colorize` into a folder: what is done is done, nothing is lost, and what was left alone is said."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from PIL import Image
from skimage import data

from model import image_headers, image_io, palette
from model.__main__ import main
from model.cards import NetInput, NetOutput, OnnxCard
from model.colorizer import Colorizer
from model.folder import manifest, results, sources
from model.folder.results import Name

GRAY = Image.fromarray(data.coffee()).convert("L").resize((96, 64))
OTHER = Image.fromarray(data.chelsea()).convert("L").resize((96, 64))


class KilledError(BaseException):
    """Ends a run as a kill does: nothing handles it."""


@pytest.fixture(autouse=True)
def loaded(monkeypatch: pytest.MonkeyPatch, lite: Colorizer) -> None:
    monkeypatch.setattr(Colorizer, "load", lambda *_, **__: lite)


@pytest.fixture
def box(tmp_path: Path) -> Path:
    """Two gray photographs."""
    folder = tmp_path / "box"
    folder.mkdir()
    GRAY.save(folder / "a.jpg", quality=95)
    OTHER.save(folder / "b.png")
    return folder


@pytest.fixture
def nine(tmp_path: Path) -> Path:
    """`0.png` to `8.png`."""
    folder = tmp_path / "nine"
    folder.mkdir()
    for number in range(9):
        GRAY.save(folder / f"{number}.png")
    return folder


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def colorize(*words: object) -> int:
    return main(["colorize", *map(str, words)])


def pixels(path: Path) -> np.ndarray[Any, Any]:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB")).astype(int)


def is_colored(path: Path) -> bool:
    rgb = pixels(path)
    return bool(np.abs(rgb[..., 0] - rgb[..., 2]).mean() > 3)


def shows(path: Path, picture: Image.Image) -> bool:
    """Whether the file has this picture's lightness."""
    gray = np.asarray(Image.fromarray(pixels(path).astype(np.uint8)).convert("L")).astype(int)
    return bool(np.abs(gray - np.asarray(picture)).mean() < 6)


def listed(folder: Path) -> list[str]:
    """The files in a folder of results, without the manifest."""
    return sorted(
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and path.name != manifest.NAME
    )


def hashes(folder: Path) -> dict[str, str]:
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in listed(folder)}


def entries(folder: Path) -> dict[str, manifest.Entry]:
    return {Path(entry.source).name: entry for entry in manifest.read(folder).entries()}


# A name of its own for each


def test_photos_that_differ_by_their_ending_are_each_colored_under_a_name_of_their_own(
    tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    box = tmp_path / "box"
    box.mkdir()
    given = {}
    for number, ending in enumerate(("jpg", "jpeg", "tif", "tiff", "png", "bmp", "gif", "JPG")):
        picture = GRAY.rotate(90 * (number % 4)) if number < 4 else OTHER.rotate(90 * (number % 4))
        picture.save(box / f"scan.{ending}")
        given[f"scan.{ending}"] = picture
    assert colorize(box, "-o", out) == 0
    made = entries(out)
    assert {*made} == {*given}
    names = {source: [written.name for written in entry.written] for source, entry in made.items()}
    assert sorted(name for [name] in names.values()) == listed(out)
    assert len({name.lower() for name in listed(out)}) == len(given)  # on any file system
    assert all(shows(out / names[source][0], picture) for source, picture in given.items())
    before = hashes(out)
    capsys.readouterr()
    assert colorize(box, "-o", out) == 0
    assert "0 of 8 colored" in (said := capsys.readouterr().out)
    assert "8 done already" in said
    assert hashes(out) == before


def test_two_boxes_with_the_same_names_are_both_colored(tmp_path: Path, out: Path) -> None:
    for folder, picture in (("box1", GRAY), ("box2", OTHER)):
        (tmp_path / folder).mkdir()
        picture.save(tmp_path / folder / "001.png")
    assert colorize(tmp_path / "box1", tmp_path / "box2", "-o", out) == 0
    assert listed(out) == ["box1/001.png", "box2/001.png"]
    assert shows(out / "box2/001.png", OTHER)
    flat = tmp_path / "flat"
    assert colorize(tmp_path / "box1/001.png", tmp_path / "box2/001.png", "-o", flat) == 0
    assert listed(flat) == ["001 (2).png", "001.png"]
    assert shows(flat / "001 (2).png", OTHER)
    alone = tmp_path / "box2/001.png"  # which keeps its name all the same
    assert colorize(alone, "-o", flat, "--overwrite") == 0
    assert listed(flat) == ["001 (2).png", "001.png"]
    assert shows(flat / "001.png", GRAY)


def test_a_name_does_not_depend_on_which_photos_are_colored_first() -> None:
    def names(*paths: str) -> dict[str, Name]:
        return results.names([sources.Source(Path(p), f"/{p}", results.PurePosixPath(p)) for p in paths])

    chosen = names("scan.jpg", "scan.bmp", "SCAN.JPG", "alone.bmp", "no ending", "Vilna 12.5.1931")
    assert str(chosen["/scan.jpg"].saved_as("JPEG")) == "scan.jpg"
    assert str(chosen["/scan.jpg"].saved_as("PNG")) == "scan.jpg.png"  # a PNG that was named so
    assert str(chosen["/scan.bmp"].saved_as("PNG")) == "scan.bmp.png"
    assert str(chosen["/SCAN.JPG"].saved_as("JPEG")) == "SCAN (2).JPG"
    assert str(chosen["/alone.bmp"].saved_as("PNG")) == "alone.png"
    assert str(chosen["/no ending"].saved_as("JPEG")) == "no ending.jpg"
    assert str(chosen["/Vilna 12.5.1931"].saved_as("JPEG")) == "Vilna 12.5.1931.jpg"
    assert str(chosen["/alone.bmp"].saved_as("PNG", "page 2")) == "alone (page 2).png"


def test_no_two_threads_are_given_one_name_before_either_has_written(out: Path) -> None:
    with manifest.opened(out) as record:
        places = results.Places(record, {}, frozenset())
        wanted = results.PurePosixPath("a.jpg")
        assert places.claim("/one", wanted) == ("a.jpg", False)
        assert places.claim("/two", results.PurePosixPath("A.jpg")) == ("A (colored).jpg", False)
        assert places.claim("/one", wanted) == ("a.jpg", False)
        reserved = {"/three": Name(results.PurePosixPath("b.jpg"))}
        places = results.Places(record, reserved, frozenset())
        assert places.claim("/four", results.PurePosixPath("b.jpg")) == ("b (colored).jpg", False)
        assert places.claim("/three", results.PurePosixPath("b.jpg")) == ("b.jpg", False)


@pytest.mark.parametrize("name", ["x" * 251 + ".jpg", "ж" * 125 + "x.jpg", "x" * 251 + ".bmp"])
def test_a_name_may_be_as_long_as_the_file_system_allows(name: str, tmp_path: Path, out: Path) -> None:
    (tmp_path / "box").mkdir()
    GRAY.save(tmp_path / "box" / name)
    if name.endswith("bmp"):  # shares its stem: `.png` is put behind the name, which is cut for it
        GRAY.save(tmp_path / "box" / (name[:-4] + ".jpg"))
    assert colorize(tmp_path / "box", "-o", out) == 0
    assert all(is_colored(out / each) for each in listed(out))
    assert len(listed(out)) == (2 if name.endswith("bmp") else 1)


def test_names_that_no_terminal_can_show_are_colored_and_escaped(
    tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    box = tmp_path / "box"
    box.mkdir()
    odd = ["new\nline.png", "-o.png", "a[b]c.png", os.fsdecode(b"Fran\xe7ois 1931.png")]
    for name in odd:
        GRAY.save(box / name)
    (box / os.fsdecode(b"not a\n\xe9 photo.jpg")).write_text("text")
    assert colorize(box, "-o", out) == 1
    assert sorted(listed(out)) == sorted(odd)
    assert "not a\\n\\xe9 photo.jpg: The file is not a photo" in capsys.readouterr().err
    assert colorize(box, "-o", out) == 1
    assert sorted(listed(out)) == sorted(odd)


# Done means done


def test_a_name_that_is_there_is_no_result_and_is_never_replaced(
    box: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out.mkdir()
    (out / "a.jpg").write_bytes(b"somebody else's")
    for words in ([], ["--overwrite"]):
        assert colorize(box, "-o", out, *words) == 0
        assert "2 of 2 colored" in capsys.readouterr().out
        assert (out / "a.jpg").read_bytes() == b"somebody else's"
        assert listed(out) == ["a (colored).jpg", "a.jpg", "b.png"]
        assert shows(out / "a (colored).jpg", GRAY)


def test_other_options_color_anew_and_the_same_do_not(
    box: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert colorize(box, "-o", out) == 0
    first = hashes(out)
    capsys.readouterr()
    assert colorize(box, "-o", out, "--vividness", "0.2") == 0
    assert "2 of 2 colored" in capsys.readouterr().out
    assert {*hashes(out)} == {*first}
    assert not {*hashes(out).values()} & {*first.values()}
    assert colorize(box, "-o", out, "--vividness", "0.2", "--max-megapixels", "50", "--jobs", "1") == 0
    assert "2 done already" in capsys.readouterr().out


def test_another_net_colors_anew(
    box: Path, out: Path, lite: Colorizer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert colorize(box, "-o", out) == 0
    monkeypatch.setattr(Colorizer, "sha256", "0" * 64)
    capsys.readouterr()
    assert colorize(box, "-o", out) == 0
    assert "2 of 2 colored" in capsys.readouterr().out


EVEN = (1 / palette.COUNT,) * palette.COUNT
OTHER_PRIOR = (2 / (palette.COUNT + 1), *(1 / (palette.COUNT + 1),) * (palette.COUNT - 1))
BROUGHT = OnnxCard("mine", 256, NetInput("lightness"), NetOutput("logits"), "none", sha256="0" * 64)


@pytest.mark.parametrize(
    ("brought", "change", "is_done"),
    [
        (False, {"temperature": 0.9}, False),
        (False, {"size": 192}, False),
        (False, {"taken_back": 0.5}, False),
        (False, {"prior": OTHER_PRIOR}, False),
        (False, {"lam": 0.5}, False),
        (False, {"terms": "others", "notes": "more", "numbers": {"psnr": 1}}, True),
        (True, {"input": NetInput("lightness", mean=(50.0,))}, False),
        (True, {"temperature": 0.5}, False),
        (True, {"terms": "others", "notes": "more", "extra": {"psnr": 1}}, True),
    ],
)
def test_a_card_that_decides_the_colors_otherwise_colors_anew_and_its_words_do_not(
    brought: bool,
    change: dict[str, Any],
    is_done: bool,
    box: Path,
    out: Path,
    lite: Colorizer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    card = BROUGHT if brought else replace(lite.card, prior=EVEN, taken_back=0.2)
    monkeypatch.setattr(lite, "card", card)
    assert colorize(box / "a.jpg", "-o", out) == 0
    monkeypatch.setattr(lite, "card", replace(card, **change))
    capsys.readouterr()
    assert colorize(box / "a.jpg", "-o", out) == 0
    assert ("1 done already" if is_done else "1 of 1 colored") in capsys.readouterr().out


def test_another_format_leaves_the_first_results_which_are_no_sources_either(box: Path) -> None:
    assert colorize(box, "-o", box) == 0
    assert colorize(box, "-o", box, "--format", "png") == 0
    assert listed(box) == ["a (colored).jpg", "a.jpg", "a.png", "b (colored).png", "b.png"]
    assert colorize(box, "-o", box, "--format", "png") == 0
    assert len(listed(box)) == 5


def test_a_source_that_changed_is_colored_anew_even_with_the_same_size_and_time(
    box: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("L", (96, 64), 50).save(box / "c.bmp")
    status = (box / "c.bmp").stat()
    assert colorize(box, "-o", out) == 0
    before = hashes(out)
    Image.new("L", (96, 64), 200).save(box / "c.bmp")
    os.utime(box / "c.bmp", ns=(status.st_atime_ns, status.st_mtime_ns))
    (box / "a.jpg").touch()  # another time alone is no change
    capsys.readouterr()
    assert colorize(box, "-o", out) == 0
    assert "1 of 3 colored" in capsys.readouterr().out
    assert {name for name, sha256 in hashes(out).items() if before[name] != sha256} == {"c.png"}


def test_a_result_that_was_deleted_or_cut_is_made_again_and_one_that_was_retouched_is_left(
    box: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert colorize(box, "-o", out) == 0
    before = hashes(out)
    (out / "a.jpg").unlink()
    capsys.readouterr()
    assert colorize(box, "-o", out) == 0
    assert hashes(out) == before
    assert "1 of 2 colored" in capsys.readouterr().out
    (out / "b.png").write_bytes(b"retouched by hand")
    assert colorize(box, "-o", out) == 3
    assert (out / "b.png").read_bytes() == b"retouched by hand"
    said = capsys.readouterr()
    assert "1 changed by somebody since" in said.out
    assert "b.png was changed since it was made" in said.err
    assert colorize(box, "-o", out, "--overwrite") == 0
    assert (out / "b.png").read_bytes() == b"retouched by hand", "it may be a photograph of its own by now"
    assert hashes(out) | {"b.png": ""} == before | {"b.png": "", "b (colored).png": before["b.png"]}
    again = out / "b (colored).png"
    again.write_bytes(again.read_bytes() + b"retouched, and says still that its colors are guessed")
    assert colorize(box, "-o", out, "--overwrite") == 0
    assert hashes(out)["b (colored).png"] == before["b.png"]


def test_results_that_were_copied_to_another_disk_are_done(
    box: Path, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert colorize(box, "-o", out) == 0
    shutil.copytree(out, tmp_path / "copy", copy_function=shutil.copy)
    capsys.readouterr()
    assert colorize(box, "-o", tmp_path / "copy") == 0
    assert "2 done already" in capsys.readouterr().out


def test_photos_that_were_moved_are_known_by_their_bytes(
    box: Path, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert colorize(box, "-o", out) == 0
    before = hashes(out)
    moved = box.rename(tmp_path / "mounted elsewhere")
    OTHER.rotate(180).save(moved / "b.png")  # another photo of that name
    capsys.readouterr()
    for done in (1, 2):
        assert colorize(moved, "-o", out) == 0
        assert f"{done} done already" in capsys.readouterr().out
    assert before.items() <= hashes(out).items()
    assert listed(out) == ["a.jpg", "b (colored).png", "b.png"]
    assert colorize(moved, "-o", out, "--vividness", "0.1") == 0
    assert listed(out) == ["a.jpg", "b (colored).png", "b.png"]


def test_of_photos_that_are_alike_each_has_a_result_of_its_own_wherever_they_move(
    tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    box = tmp_path / "box"
    for folder in ("one", "two"):
        (box / folder).mkdir(parents=True)
        GRAY.save(box / folder / "a.png")
    assert colorize(box, "-o", out) == 0
    before = hashes(out)
    moved = box.rename(tmp_path / "mounted elsewhere")
    for done, folder in ((2, "three"), (3, "four")):  # in a run of its own each
        (moved / folder).mkdir()
        GRAY.save(moved / folder / "a.png")
        capsys.readouterr()
        assert colorize(moved, "-o", out) == 0
        said = capsys.readouterr().out
        assert f"1 of {done + 1} colored" in said
        assert f"{done} done already" in said
        there = [entry for entry in manifest.read(out).entries() if Path(entry.source).exists()]
        assert sorted(entry.written[0].name for entry in there) == listed(out)
        assert len(listed(out)) == done + 1
    assert before.items() <= hashes(out).items()


def test_two_threads_are_not_given_one_entry_of_a_photo_that_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    twins = [tmp_path / folder / "a.png" for folder in ("one", "two")]
    for path in twins:
        path.parent.mkdir()
        GRAY.save(path)
    stamp = manifest.Stamp.of(twins[0].stat(), manifest.hash_of(twins[0]))
    gone = manifest.Entry("/gone/a.png", stamp, "", "colored")
    both_read = threading.Barrier(2, timeout=20)
    hash_of = manifest.hash_of

    def together(path: Path) -> str:
        both_read.wait()
        return hash_of(path)

    monkeypatch.setattr(manifest, "hash_of", together)
    with manifest.opened(tmp_path / "out") as record, ThreadPoolExecutor(2) as threads:
        record.append(gone)
        given = [*threads.map(record.moved, twins)]
    assert given in ([gone, None], [None, gone])


def test_a_failed_photo_is_tried_again_once_it_is_mended(
    box: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (box / "c.jpg").write_text("no photo")
    assert colorize(box, "-o", out) == 1
    assert entries(out)["c.jpg"].code == "photo_unsupported"
    GRAY.save(box / "c.jpg")
    capsys.readouterr()
    assert colorize(box, "-o", out) == 0
    assert "1 of 3 colored" in capsys.readouterr().out


def test_the_manifest_says_of_each_photo_what_was_made_of_it_and_how(box: Path, out: Path) -> None:
    assert colorize(box, "-o", out, "--temperature", "0.5") == 0
    lines = [json.loads(line) for line in (out / manifest.NAME).read_text().splitlines()]
    last = {Path(line["source"]).name: line for line in lines}["a.jpg"]
    assert last["state"] == "colored"
    assert last["source"] == str(box.resolve() / "a.jpg")
    assert last["stamp"]["sha256"] == hashlib.sha256((box / "a.jpg").read_bytes()).hexdigest()
    assert last["written"][0]["name"] == "a.jpg"
    assert last["written"][0]["stamp"]["sha256"] == hashes(out)["a.jpg"]
    assert last["options"]["color"]["temperature"] == 0.5
    assert last["options"]["net"]["name"] == "lite"


def test_a_manifest_that_was_cut_off_holds_what_it_says_in_whole_lines(box: Path, out: Path) -> None:
    assert colorize(box, "-o", out) == 0
    before = hashes(out)
    text = (out / manifest.NAME).read_bytes()
    last_start = text.rstrip(b"\n").rfind(b"\n")
    (out / manifest.NAME).write_bytes(text[: last_start + 40])  # the last line is half written
    assert colorize(box, "-o", out) == 0
    assert hashes(out) == before
    assert {entry.state for entry in entries(out).values()} == {"colored"}


def test_a_manifest_does_not_grow_for_ever(box: Path, out: Path) -> None:
    for _ in range(30):
        with manifest.opened(out) as record:
            for number in range(10):
                record.append(manifest.Entry(f"/{number}", None, "", "failed"))
    assert len((out / manifest.NAME).read_text().splitlines()) <= 2 * 10 + 100 + 10
    assert len(manifest.read(out).entries()) == 10


def test_a_killed_run_goes_on_where_it_was_and_leaves_nothing_half_written(
    tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    box = tmp_path / "box"
    box.mkdir()
    for number in range(12):
        GRAY.save(box / f"{number:02}.png")
    words = [sys.executable, "-m", "model", "colorize", str(box), "-o", str(out), "--device", "cpu"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while len(list(out.glob("*.png"))) < 2:
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.002)
    process.kill()
    process.communicate()
    done = len(list(out.glob("*.png")))
    (out / "below").mkdir()
    (out / "below" / ".autochrome-1-2.part").write_bytes(b"half of a photo")
    assert colorize(box, "-o", out) == 0
    said = capsys.readouterr().out
    assert int(said.split()[0]) in (12 - done, 13 - done)  # one of them may have lacked its last line
    assert listed(out) == [f"{number:02}.png" for number in range(12)]
    assert all(is_colored(out / name) for name in listed(out))


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_run_that_ends_beside_the_last_step_leaves_no_second_result(
    moment: str, box: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the manifest's two lines about a photo: its result is not there yet, or the result of other options is still there."""
    assert colorize(box, "-o", out, "--vividness", "0") == 0

    put = results.put

    def killed(*arguments: Any) -> None:
        if moment == "after":
            put(*arguments)
        raise KilledError

    with monkeypatch.context() as patched:
        patched.setattr(results, "put", killed)
        with pytest.raises(KilledError):
            colorize(box, "-o", out)
    assert colorize(box, "-o", out) == 0
    assert listed(out) == ["a.jpg", "b.png"]
    assert all(is_colored(out / name) for name in listed(out))


@pytest.mark.parametrize("pages", [1, 2])
def test_a_run_that_is_killed_before_its_last_line_says_the_next_time_what_it_did(
    pages: int, tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A photo in color was kept; an album of which only one page was in color was colored."""
    album = tmp_path / "album.tif"
    more = [GRAY.convert("RGB")] * (pages - 1)
    Image.fromarray(data.coffee()).resize(GRAY.size).save(album, save_all=True, append_images=more)
    words = [album, "-o", out, "--page", "all", "--if-color", "keep"]

    append = manifest.Manifest.append

    def killed(record: manifest.Manifest, entry: manifest.Entry) -> None:
        if entry.is_done:
            raise KilledError
        append(record, entry)

    with monkeypatch.context() as patched:
        patched.setattr(manifest.Manifest, "append", killed)
        with pytest.raises(KilledError):
            colorize(*words)
    assert entries(out)["album.tif"].state == "saving"
    assert colorize(*words) == 0
    assert "1 done already" in capsys.readouterr().out
    assert entries(out)["album.tif"].state == ("kept" if pages == 1 else "colored")


def test_two_runs_into_one_folder_do_not_mix(
    box: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with manifest.opened(out):
        assert colorize(box, "-o", out) == 1
    assert "another process colors into" in capsys.readouterr().err
    assert listed(out) == []


# Originals


def test_into_its_own_folder_every_original_stays_and_no_result_is_colored_again(
    box: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = hashes(box)
    link = tmp_path / "also the box"
    link.symlink_to(box)
    ways = [(box, box), (link, box), (box, f"{box}/../box"), (box / "a.jpg", box)]
    for source, into in ways:
        for words in ([], ["--overwrite"]):
            assert colorize(source, "-o", into, *words) == 0
            assert hashes(box).items() >= before.items()
            assert listed(box) == ["a (colored).jpg", "a.jpg", "b (colored).png", "b.png"]
    assert is_colored(box / "a (colored).jpg")


def test_a_result_never_takes_the_place_of_another_photo(box: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    OTHER.save(other / "a.jpg")
    before = hashes(box)
    for words in ([], ["--overwrite"], ["--overwrite"]):
        assert colorize(other / "a.jpg", "-o", box, *words) == 0
        assert hashes(box).items() >= before.items()
        assert shows(box / "a (colored).jpg", OTHER)


@pytest.mark.parametrize("kind", ["hard", "soft"])
def test_a_link_to_an_original_is_not_replaced(kind: str, box: Path, out: Path) -> None:
    assert colorize(box, "-o", out) == 0
    (out / "a.jpg").unlink()
    if kind == "hard":
        os.link(box / "a.jpg", out / "a.jpg")
    else:
        (out / "a.jpg").symlink_to(box / "a.jpg")
    before = (box / "a.jpg").read_bytes()
    for words in ([], ["--overwrite"]):
        colorize(box, "-o", out, *words)
        assert (out / "a.jpg").samefile(box / "a.jpg")
        assert (box / "a.jpg").read_bytes() == before
    assert shows(out / "a (colored).jpg", GRAY)


def test_an_original_is_safe_where_letter_case_does_not_count(
    box: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such a file system finds `A.JPG` where `a.jpg` is: here by a link, as none is at hand."""
    shouted = tmp_path / "BOX"
    shouted.symlink_to(box)
    os.link(box / "a.jpg", box / "A.JPG")
    before = {name: (box / name).read_bytes() for name in ("a.jpg", "b.png")}
    assert colorize(box / "a.jpg", "-o", shouted, "--overwrite") == 0
    assert {name: (box / name).read_bytes() for name in before} == before
    assert (box / "A.JPG").samefile(box / "a.jpg")


def test_a_folder_of_results_within_the_photos_is_no_source_and_what_else_is_there_is_said(
    box: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inner = box / "colored"
    for _ in range(2):
        assert colorize(box, "-o", inner) == 0
    assert listed(inner) == ["a.jpg", "b.png"]
    OTHER.save(inner / "original.jpg")
    capsys.readouterr()
    assert colorize(box, "-o", inner) == 3
    assert "1 photograph in the folder of results, no source" in (said := capsys.readouterr().out)
    assert "original.jpg" in said


def test_a_place_that_is_taken_meanwhile_is_not_overwritten(
    box: Path, out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    put = results.put

    def late(target: Path, *rest: Any) -> manifest.Stamp:
        if target.name == "a.jpg":
            target.write_bytes(b"copied there this moment")
        return put(target, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(results, "put", late)
        assert colorize(box, "-o", out) == 1
    assert (out / "a.jpg").read_bytes() == b"copied there this moment"
    assert colorize(box, "-o", out) == 0
    assert (out / "a.jpg").read_bytes() == b"copied there this moment"
    assert shows(out / "a (colored).jpg", GRAY)


# What is left alone


def test_what_systems_put_beside_photos_is_passed_over_without_a_word(
    box: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("._a.jpg", ".DS_Store", "Thumbs.db", "desktop.ini"):
        (box / name).write_bytes(b"\0\5\x16\7")
    for folder in ("@eaDir", "__MACOSX", "#recycle"):
        (box / folder).mkdir()
        GRAY.save(box / folder / "thumbnail.jpg")
    assert colorize(box, "-o", out) == 0
    assert listed(out) == ["a.jpg", "b.png"]
    assert "left alone" not in capsys.readouterr().out


def test_files_of_other_kinds_are_counted_by_kind_and_named_with_status_3(
    box: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("letter.pdf", "notes.TXT", "more.txt", "README"):
        (box / name).write_bytes(b"?")
    GRAY.save(box / "untitled", "JPEG")  # as old systems named photos
    assert colorize(box, "-o", out) == 3
    said = capsys.readouterr().out
    assert "4 files of other kinds (.pdf 1, .txt 2, without an ending 1): " in said
    assert "letter.pdf" in said
    assert listed(out) == ["a.jpg", "b.png", "untitled.jpg"]
    (box / "bad.jpg").write_bytes(b"?")
    assert colorize(box, "-o", out) == 1  # a failed photo weighs more


def test_links_and_pipes_are_not_followed_for_ever(
    box: Path, tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (box / "linked.png").symlink_to(box / "b.png")
    (box / "loop").symlink_to(box)
    (tmp_path / "elsewhere").mkdir()
    (box / "elsewhere").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(box / "pipe.jpg")
    assert colorize(box, "-o", out) == 3
    said = capsys.readouterr().out
    assert "2 links to a folder, not followed" in said
    assert str(box / "elsewhere") in said
    assert "1 file of other kinds (.jpg 1)" in said
    assert listed(out) == ["a.jpg", "b.png", "linked.png"]
    (box / "dangling.jpg").symlink_to(tmp_path / "nowhere")
    (box / "itself.jpg").symlink_to(box / "itself.jpg")
    assert colorize(box, "-o", out) == 1
    error = capsys.readouterr().err
    assert f"{box / 'dangling.jpg'}: The link leads nowhere." in error
    assert f"{box / 'itself.jpg'}: " in error


def test_a_folder_that_cannot_be_read_is_named_and_the_rest_is_colored(
    box: Path, out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (box / "closed").mkdir()
    scandir = os.scandir

    def guarded(folder: Path) -> Any:
        if Path(folder).name == "closed":  # by root, whom no mode keeps out
            raise PermissionError(errno.EACCES, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", guarded)
    assert colorize(box, "-o", out) == 1
    assert f"1 folder not readable: {box / 'closed'} (Permission denied)" in capsys.readouterr().out
    assert listed(out) == ["a.jpg", "b.png"]


# What may go wrong


def test_one_bad_photo_does_not_stop_the_others_whatever_happens_to_it(
    box: Path, out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save = image_io.save

    def fails(photo: image_io.Photo, *options: Any) -> bytes:
        if photo.format == "JPEG":
            raise ZeroDivisionError("by a defect")
        return save(photo, *options)

    monkeypatch.setattr(image_io, "save", fails)
    assert colorize(box, "-o", out) == 1
    assert listed(out) == ["b.png"]
    error = capsys.readouterr().err
    assert "a.jpg: This is an error of the program, not of the photo: ZeroDivisionError: by a defect" in error
    assert 'raise ZeroDivisionError("by a defect")' in error  # where it is


def test_a_full_disk_ends_the_run_at_once(
    nine: Path, out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    put = results.put

    def full(target: Path, *rest: Any) -> manifest.Stamp:
        if target.name == "2.png":
            raise OSError(errno.ENOSPC, "No space left on device")
        return put(target, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(results, "put", full)
        assert colorize(nine, "-o", out, "--jobs", "1") == 1
    said = capsys.readouterr()
    assert "No space left on device: stopped; the same command goes on" in said.err
    assert "2 of 9 colored" in said.out
    assert "1 failed, 6 not done" in said.out
    assert colorize(nine, "-o", out) == 0
    assert "7 of 9 colored" in capsys.readouterr().out


def test_a_place_that_cannot_be_written_is_said_before_anything_is_loaded(
    box: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def loads(*_: object) -> None:
        pytest.fail("the net was loaded")

    monkeypatch.setattr(Colorizer, "load", loads)
    for place in ("/proc/out", "/proc/out.jpg"):  # which no one can write to, root neither
        photo = box if place == "/proc/out" else box / "a.jpg"
        assert colorize(photo, "-o", place) == 1
        assert "/proc cannot be written" in capsys.readouterr().err


def test_what_interrupts_a_run_leaves_whole_files_and_a_true_manifest(
    nine: Path, out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    put = results.put
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # as in no process in the background

    def interrupted(target: Path, *rest: Any) -> manifest.Stamp:
        if target.name == "2.png":
            signal.raise_signal(signal.SIGINT)
        return put(target, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(results, "put", interrupted)
        assert colorize(nine, "-o", out, "--jobs", "1") == 130
    assert "3 of 9 colored" in (said := capsys.readouterr().out)
    assert "6 not done (the same command goes on)" in said
    assert listed(out) == ["0.png", "1.png", "2.png"]
    assert all(is_colored(out / name) for name in listed(out))
    assert {name for name, entry in entries(out).items() if entry.state == "colored"} == {*listed(out)}
    assert signal.signal(signal.SIGINT, before) is signal.default_int_handler
    assert threading.active_count() < 9


# What is kept, and what is only said


def test_results_have_the_time_of_their_photos(box: Path, out: Path) -> None:
    os.utime(box / "a.jpg", (1_000_000_000, 1_000_000_000))
    assert colorize(box, "-o", out) == 0
    assert (out / "a.jpg").stat().st_mtime == 1_000_000_000
    assert colorize(box, "-o", out, "--strip") == 0
    assert (out / "a.jpg").stat().st_mtime > 1_500_000_000


def test_a_dry_run_says_where_everything_would_go_and_writes_nothing(
    box: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    GRAY.save(box / "b.bmp")
    (box / "notes.txt").write_text("?")
    assert colorize(box, "-o", out, "--dry-run") == 3
    said = capsys.readouterr().out
    assert f"{box / 'a.jpg'} -> {out / 'a.jpg'}" in said
    assert f"{box / 'b.bmp'} -> {out / 'b.bmp.png'}" in said
    assert "notes.txt" in said
    assert not out.exists()
    assert colorize(box, "-o", out) == 3
    before = hashes(out)
    capsys.readouterr()
    assert colorize(box, "-o", out, "-n") == 3
    assert f"{box / 'a.jpg'}: done already" in capsys.readouterr().out
    assert hashes(out) == before
    (box / "bad.jpg").write_text("?")
    assert colorize(box, "-o", out, "-n") == 1


def test_a_photo_in_color_is_noticed_kept_or_refused(
    box: Path, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = box / "c.jpg"
    Image.fromarray(data.coffee()).resize((300, 200)).save(photo, quality=95)
    assert colorize(box, "-o", out) == 0
    assert "noticed: photo_in_color 1: " in capsys.readouterr().out
    assert colorize(box, "-o", out, "--if-color", "keep") == 0
    assert "1 in color already and kept as they are" in capsys.readouterr().out
    assert (out / "c.jpg").read_bytes() == photo.read_bytes()
    for _ in range(2):
        assert colorize(box, "-o", tmp_path / "second", "--if-color", "refuse") == 1
        assert "1 in color already and refused" in capsys.readouterr().out
    assert listed(tmp_path / "second") == ["a.jpg", "b.png"]
    assert colorize(box, "-o", box, "--if-color", "keep") == 0
    assert "c (colored).jpg" not in listed(box)


def test_what_stands_beside_a_result_is_made_again_when_it_is_lost(
    box: Path, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--sidecar", "--separate"]
    assert colorize(box / "a.jpg", "-o", out, *words) == 0
    before = hashes(out)
    assert {*before} == {"a (color layer).tif", "a (gray).tif", "a.jpg", "a.jpg.json"}
    said = json.loads((out / "a.jpg.json").read_text())
    assert said["result"]["sha256"] == before["a.jpg"]
    assert said["source"]["sha256"] == hashlib.sha256((box / "a.jpg").read_bytes()).hexdigest()
    (out / "a.jpg.json").unlink()
    assert colorize(box / "a.jpg", "-o", out, *words) == 0
    assert hashes(out) == before
    capsys.readouterr()
    assert colorize(box / "a.jpg", "-o", out, *words) == 0
    assert "1 done already" in capsys.readouterr().out
    assert colorize(box / "a.jpg", "-o", tmp_path / "one.png", *words) == 1  # two pictures more than one name
    assert colorize(box / "a.jpg", "-o", tmp_path / "one.png", "--sidecar") == 0
    assert (tmp_path / "one.png.json").exists()


def test_every_page_of_a_tiff_is_colored_into_a_file_of_its_own(tmp_path: Path, out: Path) -> None:
    # Copies: others have saved these as PNG, which Pillow would go by for the second page.
    first, second = GRAY.copy(), OTHER.copy()
    first.save(tmp_path / "album.tif", save_all=True, append_images=[second])
    assert colorize(tmp_path / "album.tif", "-o", out, "--page", "all") == 0
    assert listed(out) == ["album (page 1).tif", "album (page 2).tif"]
    assert shows(out / "album (page 1).tif", GRAY)
    assert shows(out / "album (page 2).tif", OTHER)


def test_of_an_album_in_its_own_folder_the_page_in_color_is_kept_and_the_gray_one_colored(
    tmp_path: Path,
) -> None:
    album = tmp_path / "album.tif"
    in_color = Image.fromarray(data.coffee()).resize(GRAY.size)
    in_color.save(album, save_all=True, append_images=[GRAY.convert("RGB")])
    assert colorize(album, "-o", tmp_path, "--page", "all", "--if-color", "keep") == 0
    assert listed(tmp_path) == ["album (page 1).tif", "album (page 2).tif", "album.tif"]
    assert np.abs(pixels(tmp_path / "album (page 1).tif") - np.asarray(in_color)).max() == 0
    assert is_colored(tmp_path / "album (page 2).tif")


def test_of_one_page_that_is_kept_the_others_do_not_come_along(tmp_path: Path) -> None:
    album = tmp_path / "album.tif"
    in_color = Image.fromarray(data.coffee()).resize(GRAY.size)
    GRAY.convert("RGB").save(album, save_all=True, append_images=[in_color])
    assert colorize(album, "-o", tmp_path / "out", "--page", "2", "--if-color", "keep") == 0
    [kept] = (tmp_path / "out").glob("*.tif")
    assert np.abs(pixels(kept) - np.asarray(in_color)).max() == 0
    with Image.open(kept) as opened:
        assert opened.n_frames == 1


def test_a_dry_run_knows_16_bits_and_memory_by_the_header(
    tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    deep = np.asarray(GRAY).astype(np.uint16) * 257
    (tmp_path / "deep.jp2").write_bytes(imagecodecs.jpeg2k_encode(deep, codecformat="jp2", reversible=True))
    (tmp_path / "deep.jxl").write_bytes(imagecodecs.jpegxl_encode(deep, lossless=True, effort=1))
    assert colorize(tmp_path / "deep.jxl", "-o", out, "-n") == 0
    assert f"-> {out / 'deep.tif'}" in capsys.readouterr().out  # as JPEG it would lose 8 bits
    assert colorize(tmp_path / "deep.jxl", "-o", out) == 0
    assert listed(out) == ["deep.tif"]
    monkeypatch.setattr(image_headers, "memory_available", lambda: 10_000)
    assert colorize(tmp_path / "deep.jp2", "-o", out, "-n") == 1
    assert "GiB are free" in capsys.readouterr().out
