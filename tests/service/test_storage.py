"""Photos and results by key."""

from __future__ import annotations

import io
import signal
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from service.errors import Problem, SettingsError
from service.storage import Store, attempt_prefix, photo_key, result_key


def test_a_file_comes_back_as_it_went_in(store):
    data = bytes(range(256)) * 20_000
    store.put(photo_key("a"), io.BytesIO(data))
    assert store.get(photo_key("a")) == data
    assert b"".join(store.stream(photo_key("a"))) == data


def test_a_missing_file_is_said_before_the_first_piece(store):
    with pytest.raises(FileNotFoundError):
        store.stream(photo_key("nobody"))


def test_a_job_is_erased_with_all_its_attempts_and_no_other_is(store, tmp_path):
    for id in ("ab", "abc"):
        store.put(photo_key(id), b"photo")
        store.put(result_key(id, 1, ".jpg"), b"one")
        store.put(result_key(id, 2, ".jpg"), b"two")
    store.erase(attempt_prefix("ab", 1))
    assert store.get(result_key("ab", 2, ".jpg")) == b"two"
    store.erase("ab")
    store.erase("ab")
    left = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    assert left == ["a store/abc/1/result.jpg", "a store/abc/2/result.jpg", "a store/abc/photo"]
    assert not (tmp_path / "a store" / "ab").exists()


def test_a_reader_never_sees_half_a_file(store):
    whole = {bytes([number]) * 3_000_000 for number in range(4)}
    store.put("id/photo", next(iter(whole)))
    writers = [threading.Thread(target=store.put, args=("id/photo", data)) for data in whole]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        assert store.get("id/photo") in whole
    for writer in writers:
        writer.join()


def test_a_store_that_cannot_be_is_refused_with_the_setting_to_change(tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    in_the_way = (tmp_path / "file" / "store").as_uri()
    for url in ("ftp://somewhere/", "folder", in_the_way, "file://relative", "s3://"):
        with pytest.raises(SettingsError, match="AUTOCHROME_STORE_URL") as refused:
            Store(url)
        assert "\n" not in str(refused.value)


def test_a_store_that_fails_later_says_so(tmp_path: Path):
    store = Store((tmp_path / "store").as_uri())
    (tmp_path / "store").rmdir()
    (tmp_path / "store").write_text("in the way")
    with pytest.raises(Problem, match="store_unavailable"):
        store.put(photo_key("a"), b"photo")


HALF = """
import io, sys, time
from service.storage import Store

class Slow(io.BytesIO):
    def read(self, size=-1):
        if self.tell() > 2**22:
            print("midway", flush=True)
            time.sleep(60)
        return super().read(size)

Store(sys.argv[1]).put("ab/photo", Slow(bytes(25 * 2**20)))
"""


def test_what_a_killed_writer_left_half_written_is_erased_too(launch, store, tmp_path):
    folder = tmp_path / "a store"
    writer = launch("-c", HALF, folder.as_uri())
    writer.line("midway")
    writer.stop(signal.SIGKILL)
    assert [path for path in folder.rglob("*") if path.is_file()], "it has left something"
    store.put("abc/photo", b"another's")
    store.erase("ab")
    assert sorted(path.name for path in folder.rglob("*")) == ["abc", "photo"]


def test_a_job_into_which_its_worker_writes_is_erased_without_a_fault(store):
    """It answered `store_unavailable` where a file had come between its folder's listing and its removal."""
    stopped = threading.Event()

    def write():
        while not stopped.is_set():
            for name in ("result", "preview"):
                with suppress(Problem):  # of a folder that is gone in the same moment
                    store.put(f"ab/1/{name}", b"result")
            stopped.wait(0.005)

    worker = threading.Thread(target=write)
    worker.start()
    try:
        for _ in range(3000):
            store.erase("ab")
    finally:
        stopped.set()
        worker.join()
    store.erase("ab")
    with pytest.raises(FileNotFoundError):
        store.get("ab/1/result")


@pytest.mark.parametrize("prefix", ["", ".", "..", "../elsewhere", "ab/../..", "/"])
def test_nothing_outside_a_part_of_a_key_is_ever_erased(store, tmp_path, prefix):
    (tmp_path / "elsewhere").mkdir()
    store.put("ab/photo", b"photo")
    with pytest.raises(ValueError, match="no part of a key"):
        store.erase(prefix)
    assert (tmp_path / "elsewhere").exists()
    assert store.get("ab/photo") == b"photo"
