"""What the bot remembers, in one SQLite file with one writer: all SQL is here.

People are kept as keyed hashes, never by name; what is erased leaves its fullname and state, by which nothing is
answered twice, and is overwritten in the file.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from bot.errors import DatabaseError

VERSION = 1
_SCHEMA = """
CREATE TABLE mention (
    fullname TEXT PRIMARY KEY, state TEXT NOT NULL, door TEXT NOT NULL, who TEXT NOT NULL, subreddit TEXT NOT NULL,
    post TEXT NOT NULL, seen_at REAL NOT NULL, next_at REAL NOT NULL, attempts INTEGER NOT NULL DEFAULT 0,
    outcome TEXT NOT NULL DEFAULT '', reply TEXT NOT NULL DEFAULT '', link TEXT NOT NULL DEFAULT '',
    source TEXT NOT NULL DEFAULT '', duplicate_of TEXT NOT NULL DEFAULT '', marked INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE INDEX mention_due ON mention (next_at) WHERE state IN ('seen', 'queued', 'colored', 'replying');
CREATE INDEX mention_unmarked ON mention (fullname) WHERE marked = 0;
CREATE INDEX mention_reply ON mention (reply) WHERE reply != '';
CREATE INDEX mention_who ON mention (who, seen_at) WHERE who != '';
CREATE INDEX mention_subreddit ON mention (subreddit, seen_at) WHERE subreddit != '';
CREATE INDEX mention_post ON mention (post) WHERE post != '';
CREATE TABLE jobs (
    job TEXT PRIMARY KEY, mention TEXT NOT NULL, position INTEGER NOT NULL, pictures INTEGER NOT NULL,
    picture TEXT NOT NULL, vividness REAL NOT NULL, secret TEXT NOT NULL DEFAULT ''
) WITHOUT ROWID;
CREATE INDEX jobs_mention ON jobs (mention);
CREATE TABLE answers (
    post TEXT NOT NULL, picture TEXT NOT NULL, vividness REAL NOT NULL, mention TEXT NOT NULL,
    PRIMARY KEY (post, picture, vividness)
) WITHOUT ROWID;
CREATE INDEX answers_mention ON answers (mention);
CREATE TABLE opt_outs (kind TEXT NOT NULL, name TEXT NOT NULL, PRIMARY KEY (kind, name)) WITHOUT ROWID;
CREATE TABLE notes (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""


class State(StrEnum):
    """Where a mention stands."""

    SEEN = "seen"
    QUEUED = "queued"
    COLORED = "colored"
    REPLYING = "replying"
    """Written before Reddit is asked to post: found so later, it is uncertain whether it did."""
    REPLIED = "replied"
    REFUSED = "refused"
    GIVEN_UP = "given_up"
    ERASED = "erased"


_OPEN = "state IN ('seen', 'queued', 'colored', 'replying')"
_COUNTED = "state NOT IN ('seen', 'given_up', 'erased') AND outcome NOT LIKE 'limit%'"
_GIVEN = "(state IN ('queued', 'colored', 'replying') OR outcome IN ('colored', 'again'))"
"""What fills a thread: pictures, and not what others, who may want to fill it, have said."""


@dataclass(frozen=True, slots=True)
class Mention:
    """One comment or message that asked for something."""

    fullname: str
    state: State
    door: str
    """inbox, message or stream: the first two are marked as read when they are done."""
    who: str
    """Hash of who called."""
    subreddit: str
    post: str
    """Fullname of its submission."""
    seen_at: float
    next_at: float
    """When its next step is due; seconds of the epoch, as all times here."""
    attempts: int = 0
    outcome: str = ""
    """What was said, or was about to be."""
    reply: str = ""
    """Fullname of the bot's comment."""
    link: str = ""
    """Permalink of that comment."""
    source: str = ""
    """Fullname of the post or comment that showed the picture."""
    duplicate_of: str = ""
    """The mention whose answer this one was sent to."""


@dataclass(frozen=True, slots=True)
class Task:
    """One picture of a mention, as the service colors it."""

    job: str
    mention: str
    position: int
    """Which of the pictures that there are, from 1."""
    pictures: int
    """How many there are."""
    picture: str
    """Its address."""
    vividness: float
    secret: str = ""


class Database:
    """Open until it is closed; every method is one transaction."""

    def __init__(self, path: Path | None) -> None:
        """`path`: the file, made where it is not; None: in memory. Raises DatabaseError."""
        try:
            if path is not None:  # it holds secrets of jobs: for nobody else
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                path.touch(mode=0o600)
            # The thread that serves metrics reads nothing here: one thread, one writer.
            self._db = sqlite3.connect(path or ":memory:", isolation_level=None, timeout=1)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA secure_delete = ON")
            # What a power cut takes is done again and no harm, but for a reply: see `move`.
            self._db.execute("PRAGMA synchronous = NORMAL")
            # Held for good: a second bot on the same file would answer everything twice.
            self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._open()
        except (sqlite3.Error, OSError) as error:
            why = "another bot has it" if "locked" in str(error) else str(error)
            raise DatabaseError(f"The database {path} cannot be used: {why}.") from error
        self._key = bytes.fromhex(self.note("secret"))

    def _open(self) -> None:
        with self._transaction():
            found = self._db.execute("PRAGMA user_version").fetchone()[0]
            if found not in (0, VERSION):
                raise DatabaseError(
                    f"The database is of version {found}; this bot reads {VERSION}. Update the bot."
                )
            if found == 0:
                for statement in _SCHEMA.split(";"):
                    self._db.execute(statement)
                self._db.execute("INSERT INTO notes VALUES ('secret', ?)", (secrets.token_hex(32),))
                self._db.execute(f"PRAGMA user_version = {VERSION}")

    def close(self) -> None:
        self._db.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    @property
    def secret(self) -> bytes:
        """This bot's own, 32 bytes: what is made of it nobody else can guess."""
        return self._key

    def hash(self, name: str | None) -> str:
        """A person's name as it is kept; "" for nobody."""
        return hmac.new(self._key, name.lower().encode(), hashlib.sha256).hexdigest()[:32] if name else ""

    def add(self, mention: Mention) -> bool:
        """Take it in, unless it is known. Whether it was new."""
        s = mention
        marked = s.door == "stream"
        place = (s.who, s.subreddit.lower(), s.post)
        values = (s.fullname, s.state, s.door, *place, s.seen_at, s.next_at, marked)
        sql = (
            "INSERT INTO mention (fullname, state, door, who, subreddit, post, seen_at, next_at, marked)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
        )
        return self._db.execute(sql, values).rowcount == 1

    def mention(self, fullname: str) -> Mention | None:
        return next(iter(self._select("fullname = ?", fullname)), None)

    def answered_by(self, reply: str) -> Mention | None:
        """The mention that this comment of the bot's answers."""
        return next(iter(self._select("reply = ? AND reply != ''", reply)), None)

    def due(self, now: float, most: int) -> list[Mention]:
        """Those whose next step may be taken, the oldest first."""
        return self._select(f"{_OPEN} AND next_at <= ? ORDER BY seen_at, fullname LIMIT ?", now, most)

    def next_due(self) -> float | None:
        """When the next step is due; None where nothing is open."""
        found: tuple[float | None] = self._db.execute(
            f"SELECT min(next_at) FROM mention WHERE {_OPEN}"
        ).fetchone()
        return found[0]

    def replied(self) -> list[Mention]:
        """All that have a comment of the bot's."""
        return self._select("reply != '' AND state IN ('replied', 'refused') ORDER BY fullname")

    def duplicates_of(self, fullname: str) -> list[Mention]:
        """Those that were sent to the answer of this one."""
        return self._select("duplicate_of = ?", fullname)

    def of_person(self, who: str, post: str) -> list[Mention]:
        """What a person called for below a post, answered or begun; the newest last."""
        states = "state IN ('replied', 'seen', 'queued', 'colored') AND who != ''"
        return self._select(f"who = ? AND post = ? AND {states} ORDER BY seen_at, fullname", who, post)

    def move(self, fullname: str, state: State, now: float, **changed: Any) -> None:
        """Its new state, due at once unless `next_at` says otherwise, and other columns that change with it.

        An end that is no answer frees its pictures for others.
        """
        columns = {"state": state, "next_at": now, **changed}
        assigned = ", ".join(f"{name} = ?" for name in columns)
        # On the disk before Reddit is asked, or a power cut could make it two replies.
        level = "FULL" if state == State.REPLYING else "NORMAL"
        self._db.execute(f"PRAGMA synchronous = {level}")
        with self._transaction():
            self._db.execute(
                f"UPDATE mention SET {assigned} WHERE fullname = ?", (*columns.values(), fullname)
            )
            if state in (State.REFUSED, State.GIVEN_UP):
                self._db.execute("DELETE FROM answers WHERE mention = ?", (fullname,))

    def erase(self, fullnames: Iterable[str]) -> None:
        """Leave of them nothing but that they were."""
        with self._transaction():
            for fullname in fullnames:
                self._db.execute("DELETE FROM answers WHERE mention = ?", (fullname,))
                self._db.execute("DELETE FROM jobs WHERE mention = ?", (fullname,))
                self._db.execute(
                    "UPDATE mention SET state = 'erased', who = '', subreddit = '', post = '', reply = '', link = '',"
                    " source = '', duplicate_of = '', outcome = '', attempts = 0, next_at = 0 WHERE fullname = ?",
                    (fullname,),
                )
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # the log, too, forgets

    def expire(self, fullname: str) -> None:
        """Forget its pictures; the answer stays, and so does who may have it taken back."""
        with self._transaction():
            self._db.execute("DELETE FROM answers WHERE mention = ?", (fullname,))
            self._db.execute("DELETE FROM jobs WHERE mention = ?", (fullname,))

    def unread_and_done(self) -> list[str]:
        """Those that are done and still unread on Reddit."""
        sql = f"SELECT fullname FROM mention WHERE marked = 0 AND NOT {_OPEN}"
        return [row[0] for row in self._db.execute(sql)]

    def mark(self, fullnames: Sequence[str]) -> None:
        """They were marked as read."""
        self._db.executemany(
            "UPDATE mention SET marked = 1 WHERE fullname = ?", [(name,) for name in fullnames]
        )

    def unmark(self, fullname: str) -> None:
        """It is unread on Reddit: when it is done, it is to be marked."""
        self._db.execute("UPDATE mention SET marked = 0 WHERE fullname = ?", (fullname,))

    def counts(self) -> dict[str, int]:
        """How many are in each state."""
        return dict(self._db.execute("SELECT state, count(*) FROM mention GROUP BY state"))

    def count(self, column: str, value: str, since: float, outcome: str = "") -> int:
        """Mentions since then that count against a limit. `column`: who, subreddit or post. With `outcome`:
        those that were refused for that reason.
        """
        which = "outcome = ?" if outcome else f"{_COUNTED if column != 'post' else _GIVEN} AND '' = ?"
        sql = f"SELECT count(*) FROM mention WHERE {column} = ? AND seen_at > ? AND {which}"
        found: int = self._db.execute(sql, (value, since, outcome)).fetchone()[0]
        return found

    def count_said(self, who: str, since: float, **which: str) -> int:
        """Answers and refusals that a person has had since then, pictures apart; only those with these columns."""
        columns = "".join(f" AND {name} = ?" for name in which)
        said = "state IN ('replied', 'refused') AND outcome NOT IN ('colored', 'again')"
        sql = f"SELECT count(*) FROM mention WHERE who = ? AND seen_at > ? AND {said}{columns}"
        found: int = self._db.execute(sql, (who, since, *which.values())).fetchone()[0]
        return found

    def _select(self, where: str, *values: object) -> list[Mention]:
        sql = (
            "SELECT fullname, state, door, who, subreddit, post, seen_at, next_at, attempts, outcome, reply, link, source,"
            f" duplicate_of FROM mention WHERE {where}"
        )
        return [Mention(row[0], State(row[1]), *row[2:]) for row in self._db.execute(sql, values)]

    # Pictures.

    def claim(self, post: str, picture: str, vividness: float, mention: str) -> str:
        """Whose picture it is in this thread: this mention', or the earlier one's that has it."""
        with self._transaction():
            values = (post, picture, vividness)
            self._db.execute(
                "INSERT INTO answers VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING", (*values, mention)
            )
            sql = "SELECT mention FROM answers WHERE post = ? AND picture = ? AND vividness = ?"
            found: str = self._db.execute(sql, values).fetchone()[0]
            return found

    def release(self, mention: str) -> None:
        """Leave its pictures to others."""
        self._db.execute("DELETE FROM answers WHERE mention = ?", (mention,))

    def save_task(self, task: Task) -> None:
        """Before the service is asked, and again when it has told the secret."""
        e = task
        values = (e.job, e.mention, e.position, e.pictures, e.picture, e.vividness, e.secret)
        self._db.execute("INSERT OR REPLACE INTO jobs VALUES (?, ?, ?, ?, ?, ?, ?)", values)

    def delete_task(self, job: str) -> None:
        self._db.execute("DELETE FROM jobs WHERE job = ?", (job,))

    def tasks(self, mention: str) -> list[Task]:
        """Its pictures in order."""
        sql = (
            "SELECT job, mention, position, pictures, picture, vividness, secret FROM jobs"
            " WHERE mention = ? ORDER BY position"
        )
        return [Task(*row) for row in self._db.execute(sql, (mention,))]

    def with_leftover_tasks(self) -> list[str]:
        """Mentions that ended without an answer and still have jobs."""
        sql = (
            "SELECT DISTINCT mention FROM jobs JOIN mention ON fullname = mention"
            " WHERE state IN ('refused', 'given_up', 'erased')"
        )
        return [row[0] for row in self._db.execute(sql)]

    # Who wants none of it.

    def opt_out(self, kind: str, name: str) -> None:
        """`kind`: user (a hash), subreddit (asked for it) or banned (a subreddit that forbids)."""
        self._db.execute("INSERT OR IGNORE INTO opt_outs VALUES (?, ?)", (kind, name.lower()))

    def opt_in(self, kind: str, name: str) -> None:
        self._db.execute("DELETE FROM opt_outs WHERE kind = ? AND name = ?", (kind, name.lower()))

    def has_opted_out(self, kind: str, name: str) -> bool:
        sql = "SELECT 1 FROM opt_outs WHERE kind = ? AND name = ?"
        return self._db.execute(sql, (kind, name.lower())).fetchone() is not None

    def note(self, name: str) -> str:
        """ "" where there is none."""
        row = self._db.execute("SELECT value FROM notes WHERE name = ?", (name,)).fetchone()
        return str(row[0]) if row else ""

    def save_note(self, name: str, value: str) -> None:
        self._db.execute("INSERT OR REPLACE INTO notes VALUES (?, ?)", (name, value))
