"""What is lost, doubled or left over does not escape the benchmarks' verification."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from tests.benchmarks.servers import write_photos
from tests.benchmarks.verification import Kill, Verification


@pytest.fixture
def accepted(fast_service, tmp_path) -> dict[str, str]:
    """Three jobs, id → secret, that have ended."""
    found: dict[str, str] = {}
    with httpx.Client(base_url=fast_service.url, timeout=60) as api:
        for path in write_photos(tmp_path, 48)[:3]:
            job = api.post(
                "/v1/colorizations", files={"photo": path.read_bytes()}, headers={"Prefer": "wait=60"}
            ).json()
            found[job["id"]] = job["secret"]
    return found


def verify(service, accepted: dict[str, str], seconds: float = 5) -> dict[str, bool]:
    verification = Verification(service, accepted, [Kill(0, "worker")])
    asyncio.run(verification.inspect(seconds))
    asyncio.run(verification.erase())
    checks = [*verification.job_checks(), *verification.file_checks(), verification.redelivery_check()]
    return {check.name: check.passed for check in checks}


def failed(service, accepted: dict[str, str]) -> list[str]:
    return [
        name for name, passed in verify(service, accepted).items() if not passed and "taken again" not in name
    ]


def test_all_is_well_where_all_is_well(fast_service, accepted):
    passed = verify(fast_service, accepted)
    assert [name for name, well in passed.items() if not well] == [
        "a dead worker's jobs are taken again within 10 s"  # of which there was none to see it by
    ]


def test_a_job_that_nobody_knows_is_lost(fast_service, accepted):
    assert failed(fast_service, {**accepted, "0" * 32: "secret"}) == ["every job that was accepted is known"]


def test_a_second_result_is_one_too_many(fast_service, accepted):
    (first, *_) = fast_service.store.glob(f"{next(iter(accepted))}/*/result.*")
    second = first.parent.with_name("9") / first.name
    second.parent.mkdir()
    second.write_bytes(first.read_bytes())
    assert failed(fast_service, accepted) == ["no result twice"]


def test_a_result_that_is_not_what_its_etag_says_is_damaged(fast_service, accepted):
    (first, *_) = fast_service.store.glob(f"{next(iter(accepted))}/*/result.*")
    first.write_bytes(first.read_bytes()[::-1])
    assert failed(fast_service, accepted) == ["every result is whole"]


def test_a_file_that_no_job_and_no_reaper_knows_is_an_orphan(fast_service, accepted):
    orphan = fast_service.store / ("f" * 32) / "photo"
    orphan.parent.mkdir()
    orphan.write_bytes(b"left")
    assert failed(fast_service, accepted) == ["no file is an orphan"]
    orphan.unlink()


def test_a_half_written_file_goes_with_its_job(fast_service, accepted):
    half = (
        fast_service.store / next(iter(accepted)) / "photo#1"
    )  # so the store names them; it does not list them
    half.write_bytes(b"half")
    assert failed(fast_service, accepted) == []
    assert not half.exists()
