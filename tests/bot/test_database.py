"""The bot's memory: what is known once is known for good, and what is erased is nowhere."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from bot.database import Database, DatabaseError
from bot.models import Mention, Progress, State, Task

NOW = 1_700_000_000.0


def mention(name: str = "t1_a", who: str = "ben's hash", **changed: object) -> Mention:
    values = {"subreddit": "OldPhotos", "post": "t3_p", "seen_at": NOW, "due_at": NOW, **changed}
    return Mention(name, State.SEEN, "inbox", who, **values)


@pytest.fixture
def database(tmp_path: Path):
    database = Database(tmp_path / "state" / "bot.sqlite")
    yield database
    database.close()


def test_a_mention_is_taken_in_once_also_by_the_next_process(database, tmp_path):
    assert database.add(mention())
    assert not database.add(mention())
    secret, hashed = database.secret, database.hash("Ben")
    database.close()
    again = Database(tmp_path / "state" / "bot.sqlite")
    assert not again.add(mention())
    assert (again.secret, again.hash("ben")) == (secret, hashed)
    again.close()


def test_what_is_due_comes_oldest_first_and_in_time(database):
    database.add(mention("t1_b", seen_at=NOW + 1))
    database.add(mention("t1_a"))
    database.add(mention("t1_c", due_at=NOW + 60))
    assert [each.fullname for each in database.due(NOW, 10)] == ["t1_a", "t1_b"]
    assert [each.fullname for each in database.due(NOW, 1)] == ["t1_a"]
    for name, state in [("t1_a", State.REPLIED), ("t1_b", State.REFUSED)]:
        database.update(name, state, NOW)
    assert database.next_due() == NOW + 60
    assert [each.fullname for each in database.due(NOW + 60, 10)] == ["t1_c"]


def test_what_is_being_said_and_how_is_known_until_it_is_said(database):
    database.add(mention())
    sending = {"outcome": "over_18", "final_state": State.REFUSED, "is_private": True}
    database.update("t1_a", State.REPLYING, NOW, **sending)
    found = database.mention("t1_a")
    assert (found.state, found.outcome) == (State.REPLYING, "over_18")
    assert (found.final_state, found.is_private) == (State.REFUSED, True)
    database.update("t1_a", State.REFUSED, NOW)
    found = database.mention("t1_a")
    assert (found.outcome, found.final_state, found.is_private) == ("over_18", None, False)


def test_what_is_done_from_time_to_time_is_known_to_the_next_process(database, tmp_path):
    assert database.progress() == Progress(None, None, None, None, None)
    database.save_progress(started_at=NOW, swept_at=NOW + 1)
    database.save_bottiquette(["oldphotos", "pics"])
    database.save_bottiquette(["oldphotos", "oldphotos"])
    database.close()
    again = Database(tmp_path / "state" / "bot.sqlite")
    assert again.progress() == Progress(NOW, None, None, NOW + 1, None)
    assert again.is_in_bottiquette("OldPhotos")
    assert not again.is_in_bottiquette("pics"), "a list takes the place of the last one"
    again.close()


def test_what_is_done_is_marked_as_read_once(database):
    database.add(mention())
    assert database.to_mark_read() == []
    database.update("t1_a", State.REPLIED, NOW, reply="t1_mine")
    assert database.to_mark_read() == ["t1_a"]
    database.mark_read(["t1_a"])
    assert database.to_mark_read() == []
    database.mark_read(["t1_a"], is_read=False)
    assert database.to_mark_read() == ["t1_a"]


def test_a_picture_of_a_thread_belongs_to_who_came_first_until_that_fails(database):
    for name in ("t1_a", "t1_b"):
        database.add(mention(name))
    assert database.claim("t3_p", "https://i.redd.it/a.jpg", 1.0, "t1_a") == "t1_a"
    assert database.claim("t3_p", "https://i.redd.it/a.jpg", 1.0, "t1_b") == "t1_a"
    assert database.claim("t3_p", "https://i.redd.it/a.jpg", 1.4, "t1_b") == "t1_b"
    assert database.claim("t3_q", "https://i.redd.it/a.jpg", 1.0, "t1_b") == "t1_b"
    database.update("t1_a", State.GIVEN_UP, NOW)
    assert database.claim("t3_p", "https://i.redd.it/a.jpg", 1.0, "t1_b") == "t1_b"


def test_what_is_erased_is_not_in_the_files_any_more_and_still_known(database, tmp_path):
    who = database.hash("Ben")
    database.add(mention("t1_a", who))
    database.claim("t3_p", "https://i.redd.it/grandma.jpg", 1.0, "t1_a")
    database.save_task(Task("ab" * 16, "t1_a", 1, 1, "https://i.redd.it/grandma.jpg", 1.0, "a-secret"))
    database.update("t1_a", State.REPLIED, NOW, reply="t1_mine", reply_link="/r/OldPhotos/p/mine")
    assert any(b"grandma" in file.read_bytes() for file in (tmp_path / "state").iterdir())
    database.erase("t1_a")
    left = b"".join(file.read_bytes() for file in (tmp_path / "state").iterdir())
    for word in ("grandma", "a-secret", "ab" * 16, who, "t1_mine", "t3_p", "oldphotos"):
        assert word.encode() not in left, word
    assert not database.add(mention("t1_a"))
    assert database.counts() == {"erased": 1}


def test_limits_count_what_was_served_and_not_what_was_refused_for_them(database):
    for number in range(4):
        database.add(mention(f"t1_{number}", seen_at=NOW + number))
    assert database.count("author_hash", "ben's hash", NOW - 1) == 0, "the one at hand does not count itself"
    database.update("t1_0", State.REPLIED, NOW)
    database.update("t1_1", State.QUEUED, NOW)
    database.update("t1_2", State.REFUSED, NOW, outcome="limit_user")
    database.update("t1_3", State.GIVEN_UP, NOW)
    assert database.count("author_hash", "ben's hash", NOW - 1) == 2
    assert database.count("author_hash", "ben's hash", NOW) == 1
    assert database.count("subreddit", "oldphotos", NOW - 1) == 2
    assert database.count("author_hash", "ben's hash", NOW - 1, "limit_user") == 1


def test_what_was_erased_counts_until_that_is_forgotten(database):
    for number, state in enumerate([State.REPLIED, State.SEEN]):  # an answer, and who takes it back
        database.add(mention(f"t1_{number}", seen_at=NOW, created_at=NOW))
        if state == State.REPLIED:
            database.update(f"t1_{number}", state, NOW, outcome="colored")
    for _ in range(2):  # a second time erases nothing more
        database.erase("t1_0")
        database.erase("t1_1")

    def counted() -> list[int]:
        return [
            database.count("author_hash", "ben's hash", NOW - 1),
            database.count("subreddit", "oldphotos", NOW - 1),
            database.count("post", "t3_p", 0.0),
            database.count_in_thread("ben's hash", "t3_p"),
            database.count_written("ben's hash", NOW - 60, NOW),
        ]

    assert counted() == [1, 1, 1, 1, 2]
    assert database.count("author_hash", "cleo's hash", NOW - 1) == 0
    database.forget_tallies(NOW - 1)
    assert counted() == [1, 1, 1, 1, 2]
    database.forget_tallies(NOW)
    assert counted() == [0, 0, 0, 0, 0]


def test_who_opts_out_may_opt_in_again(database):
    database.opt_out("subreddit", "OldPhotos")
    assert database.has_opted_out("subreddit", "oldphotos")
    assert not database.has_opted_out("user", "oldphotos")
    database.opt_in("subreddit", "oldPhotos")
    assert not database.has_opted_out("subreddit", "oldphotos")


def test_a_second_bot_on_the_same_database_is_refused(database, tmp_path):
    code = "import sys, pathlib; from bot.database import Database; Database(pathlib.Path(sys.argv[1]))"
    path = tmp_path / "state" / "bot.sqlite"
    other = subprocess.run(
        [sys.executable, "-c", code, path], cwd=Path(__file__).parents[2], capture_output=True, text=True
    )
    assert "cannot be used: another bot has it" in other.stderr


@pytest.mark.parametrize(("version", "advice"), [(1, "Move the file away"), (9, "Update the bot")])
def test_a_database_of_another_version_is_refused_with_advice(tmp_path, version, advice):
    other = sqlite3.connect(tmp_path / "other")
    other.execute(f"PRAGMA user_version = {version}")
    other.close()
    with pytest.raises(DatabaseError, match=f"version {version}; this bot reads 5. {advice}"):
        Database(tmp_path / "other")


def test_a_file_that_is_no_database_is_refused(tmp_path):
    (tmp_path / "none").write_bytes(b"Dear diary, " * 100)
    with pytest.raises(DatabaseError, match="not a database"):
        Database(tmp_path / "none")


@pytest.mark.parametrize("version", [2, 3, 4])
def test_a_database_of_a_version_before_is_taken_over(tmp_path, version):
    path = tmp_path / "bot.sqlite"
    database = Database(path)
    database.add(mention("t1_a"))
    secret = database.secret
    database.close()
    old = sqlite3.connect(path)
    added = {3: [("mentions", "created_at"), ("tasks", "from_preview")]}
    added[4] = [("mentions", "media"), ("mentions", "uploads"), ("bot", "checked_at")]
    added[5] = [("mentions", "failure"), ("mentions", "failures")]
    columns = [column for later in range(version + 1, 6) for column in added[later]]
    for statement in (
        "DROP TABLE tallies",
        *(f"ALTER TABLE {table} DROP COLUMN {name}" for table, name in columns),
        f"PRAGMA user_version = {version}",
    ):
        old.execute(statement)
    old.close()
    database = Database(path)
    assert database.secret == secret
    assert (database.mention("t1_a").media, database.mention("t1_a").uploads) == ("", 0)
    assert database.mention("t1_a").failed("busy") == 0
    assert database.progress().checked_at is None
    assert not database.add(mention("t1_a")), "it is known, and not answered twice"
    task = Task("0" * 32, "t1_a", 1, 1, "https://i.redd.it/a.jpg", 1.0, from_preview=True)
    database.save_task(task)
    assert database.tasks("t1_a") == [task]
    database.close()
