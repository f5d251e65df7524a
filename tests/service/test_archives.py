"""ZIPs that mean harm are read as far as they are harmless; ZIPs that are written can be read by others; names in them are safe."""

from __future__ import annotations

import io
import random
import shutil
import stat
import struct
import subprocess
import tracemalloc
import zipfile
from datetime import datetime
from pathlib import Path
from typing import IO

import pytest

from service.archives import SMALL, Bounds, Names, pack, safe_name, unpack
from service.errors import Problem

BOUNDS = Bounds(files=10, bytes=8 * 2**20, file_bytes=4 * 2**20)
DATE = datetime(2026, 11, 30, 12, 0, 2)
NOISE = random.Random(1).randbytes(5000)


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


def read(archive: bytes, bounds: Bounds = BOUNDS) -> dict[str, bytes | str]:
    return {
        name: found.code if isinstance(found, Problem) else found.read()
        for name, found in unpack(io.BytesIO(archive), bounds)
    }


def patched(archive: bytes, place: int, value: bytes, name: bytes) -> bytes:
    """The archive with some bytes of a member's entry in the list of contents replaced (APPNOTE.TXT 4.3.12)."""
    entry = archive.rindex(name) - 46
    assert archive[entry : entry + 4] == b"PK\1\2"
    return archive[: entry + place] + value + archive[entry + place + len(value) :]


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_what_was_packed_is_unpacked(method):
    members = {"a.jpg": NOISE, "folder/b ä.jpg": b"b" * 2000}
    junk = {"folder/": b"", "__MACOSX/._a.jpg": b"x", "folder/.DS_Store": b"x", "Thumbs.db": b"x"}
    junk |= {"folder/._a.jpg": b"x", "folder/@eaDir/a.jpg": b"x", "folder/__MACOSX/a.jpg": b"x"}
    assert read(zipped(members | junk, method)) == members


def test_what_is_not_admitted_is_not_unpacked(monkeypatch):
    def admit(size: int) -> None:
        sizes.append(size)
        if sum(sizes) > 5000:
            raise Problem("storage_limited")

    members = zipped({"a.jpg": bytes(4000), "b.jpg": bytes(2**20), "c.jpg": b"c"})
    unpacked: list[str] = []
    open_member = zipfile.ZipFile.open

    def watched(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> IO[bytes]:
        unpacked.append(member.filename)
        return open_member(archive, member)

    monkeypatch.setattr(zipfile.ZipFile, "open", watched)
    sizes: list[int] = []
    with pytest.raises(Problem, match="storage_limited"):
        list(unpack(io.BytesIO(members), BOUNDS, admit))
    assert (sizes, unpacked) == ([4000, 2**20], ["a.jpg"])


def test_members_that_mean_harm_are_named_and_the_others_unpacked():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        link = zipfile.ZipInfo("link.jpg")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
        archive.writestr("bomb.bmp", bytes(3 * 2**20))
        archive.writestr("small.bmp", bytes(SMALL))
        archive.writestr("lzma.jpg", NOISE, zipfile.ZIP_LZMA)
        archive.writestr("long.jpg", random.Random(2).randbytes(BOUNDS.file_bytes + 1))
        archive.writestr("locked.jpg", NOISE)
        archive.writestr("broken.jpg", NOISE)
        archive.writestr("good.jpg", NOISE)
    hostile = patched(file.getvalue(), 8, b"\x01\x00", b"locked.jpg")
    hostile = patched(hostile, 16, b"\0\0\0\0", b"broken.jpg")  # its checksum
    assert read(hostile) == {
        "link.jpg": "member_link",
        "bomb.bmp": "member_bomb",
        "small.bmp": bytes(SMALL),
        "lzma.jpg": "member_unsupported",
        "long.jpg": "body_too_large",
        "locked.jpg": "member_encrypted",
        "broken.jpg": "member_damaged",
        "good.jpg": NOISE,
    }


def test_a_member_that_lies_about_its_size_is_not_unpacked_further():
    bomb = zipped({"a.bmp": bytes(2**27)})
    lying = patched(bomb, 24, struct.pack("<I", 1000), b"a.bmp")
    tracemalloc.start()
    assert read(lying) == {"a.bmp": "member_damaged"}
    assert tracemalloc.get_traced_memory()[1] < 2**22
    tracemalloc.stop()


def test_too_many_files_and_too_many_bytes_are_refused_before_any_is_unpacked():
    with pytest.raises(Problem, match=r"batch_too_large: .*11 files; 10"):
        read(zipped({f"{index}.jpg": b"x" for index in range(11)}))
    noise = random.Random(3).randbytes(3 * 2**20)
    with pytest.raises(Problem, match=r"batch_too_large: .*9 MiB; 8"):
        read(zipped({f"{index}.jpg": noise for index in range(3)}))


def test_one_file_that_is_listed_many_times_counts_each_time():
    """The overlapping bomb of Fifield, "A better zip bomb" (2019): all entries lead to the same bytes."""
    archive = zipped({"a.jpg": random.Random(4).randbytes(2**21)})
    start = archive.rindex(b"PK\1\2")
    entry = archive[start : archive.rindex(b"PK\5\6")]
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 9, 9, 9 * len(entry), start, 0)
    with pytest.raises(Problem, match=r"batch_too_large: .*18 MiB"):
        read(archive[:start] + 9 * entry + end)


def test_a_list_of_contents_without_end_is_not_even_read():
    entry = zipped({"a": b""})
    start, stop = entry.rindex(b"PK\1\2"), entry.rindex(b"PK\5\6")
    listed = 100_000 * entry[start:stop]
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 65535, 65535, len(listed), start, 0)
    archive = entry[:start] + listed + end
    tracemalloc.start()
    with pytest.raises(Problem, match=r"batch_too_large: .*list of contents"):
        read(archive)
    assert tracemalloc.get_traced_memory()[1] < 3 * 2**20  # of objects it would be 60 MB
    tracemalloc.stop()


@pytest.mark.parametrize("archive", [b"", b"PK", b"no ZIP" * 999, zipped({"a.jpg": NOISE})[:-30]])
def test_what_is_no_whole_zip_is_said_to_be_none(archive):
    with pytest.raises(Problem, match="archive_invalid"):
        read(archive)


def test_flipped_bytes_never_do_more_than_spoil_files():
    archive = zipped({f"{index}.jpg": NOISE[: 200 * index] for index in range(5)})
    chance = random.Random(5)
    spoiled = 0
    for _ in range(1500):
        flipped = bytearray(archive)
        for _ in range(chance.randint(1, 8)):
            tail = chance.random() < 0.7  # the list of contents is the more delicate part
            flipped[chance.randrange(len(archive) - 400 if tail else 0, len(archive))] = chance.randrange(256)
        try:
            spoiled += "member_damaged" in read(bytes(flipped)).values()
        except Problem:
            spoiled += 1
    assert spoiled > 500


def test_a_written_zip_is_read_by_other_programs(tmp_path: Path):
    unzip = shutil.which("unzip") or shutil.which("bsdtar") or shutil.which("7z")
    files = {"a.jpg": NOISE, "folder/ä.jpg": b"", "c.jpg": NOISE * 300}
    archive = b"".join(pack((name, DATE, [data[:7], data[7:]]) for name, data in files.items()))
    with zipfile.ZipFile(io.BytesIO(archive)) as whole:
        assert whole.testzip() is None
        assert {name: whole.read(name) for name in whole.namelist()} == files
        assert {member.external_attr >> 16 for member in whole.infolist()} == {stat.S_IFREG | 0o644}
    if unzip is None or not unzip.endswith("unzip"):
        pytest.skip("no unzip on this machine")
    (tmp_path / "a.zip").write_bytes(archive)
    subprocess.run([unzip, "-q", "a.zip", "-d", "out"], cwd=tmp_path, check=True)
    assert (tmp_path / "out/c.jpg").read_bytes() == NOISE * 300


def test_writing_needs_no_more_memory_than_a_piece():
    piece = bytes(2**20)
    tracemalloc.start()
    sent = sum(map(len, pack((f"{index}.jpg", DATE, (piece for _ in range(10))) for index in range(20))))
    assert tracemalloc.get_traced_memory()[1] < 6 * 2**20
    tracemalloc.stop()
    assert sent > 200 * 2**20


def test_a_name_is_safe_wherever_it_is_unpacked():
    cases = {
        "a.jpg": "a.jpg",
        "/etc/a.jpg": "etc/a.jpg",
        "C:\\Users\\me\\a.jpg": "Users/me/a.jpg",
        "..\\..\\a.jpg": "a.jpg",
        "a\x00\n\x1b[31m.jpg": "a[31m.jpg",
        "a<b>:c|d?.jpg": "a_b__c_d_.jpg",
        "nul": "_nul",
        "Com1.tar.jpg": "_Com1.tar.jpg",
        "console.jpg": "console.jpg",
        "a. /b. ": "a/b",
        "..": "photo",
        "": "photo",
        "Großmutter 1912.jpg": "Großmutter 1912.jpg",
        "e\u0301.jpg": "é.jpg",
    }
    assert {sent: safe_name(sent) for sent in cases} == cases
    long = safe_name("ä" * 400 + ".jpeg")
    assert len(long.encode()) <= 255
    assert long.endswith("ä.jpeg")


def test_names_are_as_sent_but_for_the_extension_and_never_twice():
    names = Names()
    sent = ["a.jpg", "a.jpeg", "A.JPG", "a.png", "a.jpg", "b", "b.v2", "b.jpg/c.jpg", "A.jpg/d.gif"]
    assert [names.take(name, ".jpg") for name in sent] == [
        *("a.jpg", "a.jpeg", "A (2).JPG", "a (3).jpg", "a (4).jpg", "b.jpg", "b.v2.jpg"),
        *("b.jpg_/c.jpg", "A.jpg_/d.jpg"),
    ]
