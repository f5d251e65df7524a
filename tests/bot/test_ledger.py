"""The bot's memory: what is known once is known for good, and what is erased is nowhere."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from bot.errors import LedgerError
from bot.ledger import Errand, Ledger, State, Summons

NOW = 1_700_000_000.0


def summons(name: str = "t1_a", who: str = "ben's hash", **changed: object) -> Summons:
    values = {"subreddit": "OldPhotos", "post": "t3_p", "seen_at": NOW, "next_at": NOW, **changed}
    return Summons(name, State.SEEN, "inbox", who, **values)


@pytest.fixture
def ledger(tmp_path: Path):
    ledger = Ledger(tmp_path / "state" / "bot.sqlite")
    yield ledger
    ledger.close()


def test_a_summons_is_taken_in_once_also_by_the_next_process(ledger, tmp_path):
    assert ledger.add(summons())
    assert not ledger.add(summons())
    secret, hashed = ledger.secret, ledger.hash("Ben")
    ledger.close()
    again = Ledger(tmp_path / "state" / "bot.sqlite")
    assert not again.add(summons())
    assert (again.secret, again.hash("ben")) == (secret, hashed)
    again.close()


def test_what_is_due_comes_oldest_first_and_in_time(ledger):
    ledger.add(summons("t1_b", seen_at=NOW + 1))
    ledger.add(summons("t1_a"))
    ledger.add(summons("t1_c", next_at=NOW + 60))
    assert [each.fullname for each in ledger.due(NOW, 10)] == ["t1_a", "t1_b"]
    assert [each.fullname for each in ledger.due(NOW, 1)] == ["t1_a"]
    for name, state in [("t1_a", State.REPLIED), ("t1_b", State.REFUSED)]:
        ledger.move(name, state, NOW)
    assert ledger.next_due() == NOW + 60
    assert [each.fullname for each in ledger.due(NOW + 60, 10)] == ["t1_c"]


def test_what_is_done_is_marked_as_read_once(ledger):
    ledger.add(summons())
    assert ledger.unmarked() == []
    ledger.move("t1_a", State.REPLIED, NOW, reply="t1_mine")
    assert ledger.unmarked() == ["t1_a"]
    ledger.mark(["t1_a"])
    assert ledger.unmarked() == []


def test_a_picture_of_a_thread_belongs_to_who_came_first_until_that_fails(ledger):
    for name in ("t1_a", "t1_b"):
        ledger.add(summons(name))
    assert ledger.claim("t3_p", "https://i.redd.it/a.jpg", 1.0, "t1_a") == "t1_a"
    assert ledger.claim("t3_p", "https://i.redd.it/a.jpg", 1.0, "t1_b") == "t1_a"
    assert ledger.claim("t3_p", "https://i.redd.it/a.jpg", 1.4, "t1_b") == "t1_b"
    assert ledger.claim("t3_q", "https://i.redd.it/a.jpg", 1.0, "t1_b") == "t1_b"
    ledger.move("t1_a", State.GIVEN_UP, NOW)
    assert ledger.claim("t3_p", "https://i.redd.it/a.jpg", 1.0, "t1_b") == "t1_b"


def test_what_is_erased_is_not_in_the_files_any_more_and_still_known(ledger, tmp_path):
    who = ledger.hash("Ben")
    ledger.add(summons("t1_a", who))
    ledger.claim("t3_p", "https://i.redd.it/grandma.jpg", 1.0, "t1_a")
    ledger.put_errand(Errand("ab" * 16, "t1_a", 1, 1, "https://i.redd.it/grandma.jpg", 1.0, "a-secret"))
    ledger.move("t1_a", State.REPLIED, NOW, reply="t1_mine", link="/r/OldPhotos/p/mine")
    assert any(b"grandma" in file.read_bytes() for file in (tmp_path / "state").iterdir())
    ledger.erase(["t1_a"])
    left = b"".join(file.read_bytes() for file in (tmp_path / "state").iterdir())
    for word in ("grandma", "a-secret", "ab" * 16, who, "t1_mine", "t3_p", "oldphotos"):
        assert word.encode() not in left, word
    assert not ledger.add(summons("t1_a"))
    assert ledger.counts() == {"erased": 1}


def test_limits_count_what_was_served_and_not_what_was_refused_for_them(ledger):
    for number in range(4):
        ledger.add(summons(f"t1_{number}", seen_at=NOW + number))
    assert ledger.count("who", "ben's hash", NOW - 1) == 0, "the one that is asked for does not count itself"
    ledger.move("t1_0", State.REPLIED, NOW)
    ledger.move("t1_1", State.QUEUED, NOW)
    ledger.move("t1_2", State.REFUSED, NOW, outcome="limit_user")
    ledger.move("t1_3", State.GIVEN_UP, NOW)
    assert ledger.count("who", "ben's hash", NOW - 1) == 2
    assert ledger.count("who", "ben's hash", NOW) == 1
    assert ledger.count("subreddit", "oldphotos", NOW - 1) == 2
    assert ledger.count("who", "ben's hash", NOW - 1, "limit_user") == 1


def test_who_stays_away_may_come_back(ledger):
    ledger.stay_away("subreddit", "OldPhotos")
    assert ledger.is_away("subreddit", "oldphotos")
    assert not ledger.is_away("user", "oldphotos")
    ledger.come_back("subreddit", "oldPhotos")
    assert not ledger.is_away("subreddit", "oldphotos")


def test_a_second_bot_on_the_same_ledger_is_refused(ledger, tmp_path):
    ledger.take_note("a", "b")
    code = "import sys, pathlib; from bot.ledger import Ledger; Ledger(pathlib.Path(sys.argv[1]))"
    path = tmp_path / "state" / "bot.sqlite"
    other = subprocess.run(
        [sys.executable, "-c", code, path], cwd=Path(__file__).parents[2], capture_output=True, text=True
    )
    assert "cannot be used: another bot has it" in other.stderr


def test_a_ledger_of_a_later_bot_and_a_file_that_is_none_are_refused_with_advice(tmp_path):
    newer = sqlite3.connect(tmp_path / "newer")
    newer.execute("PRAGMA user_version = 9")
    newer.close()
    with pytest.raises(LedgerError, match="version 9; this bot reads 1"):
        Ledger(tmp_path / "newer")
    (tmp_path / "none").write_bytes(b"Dear diary, " * 100)
    with pytest.raises(LedgerError, match="not a database"):
        Ledger(tmp_path / "none")
