"""What the bot remembers, in one SQLite file with one writer: all SQL is here.

People are kept as keyed hashes, never by name. Of what is erased only the fullname, the state and the times stay, so that
nothing is answered twice, and for an hour keyed hashes by which limits count it; the rest is overwritten in the file.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, fields, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

from bot.models import Mention, Progress, State, Task

VERSION = 5
_SCHEMA = """
CREATE TABLE mentions (
    fullname TEXT PRIMARY KEY,
    state TEXT NOT NULL,
    channel TEXT NOT NULL,
    author_hash TEXT NOT NULL,
    subreddit TEXT NOT NULL,
    post TEXT NOT NULL,
    seen_at REAL NOT NULL,
    due_at REAL NOT NULL,
    created_at REAL NOT NULL DEFAULT 0,
    attempts INTEGER NOT NULL DEFAULT 0,
    failure TEXT NOT NULL DEFAULT '',
    failures INTEGER NOT NULL DEFAULT 0,
    outcome TEXT NOT NULL DEFAULT '',
    final_state TEXT,
    is_private INTEGER NOT NULL DEFAULT 0,
    giving_up TEXT NOT NULL DEFAULT '',
    reply TEXT NOT NULL DEFAULT '',
    reply_link TEXT NOT NULL DEFAULT '',
    shown_in TEXT NOT NULL DEFAULT '',
    duplicate_of TEXT NOT NULL DEFAULT '',
    media TEXT NOT NULL DEFAULT '',
    uploads INTEGER NOT NULL DEFAULT 0,
    is_read INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX mentions_due ON mentions (due_at) WHERE state IN ('seen', 'queued', 'colored', 'replying');
CREATE INDEX mentions_unread ON mentions (fullname) WHERE is_read = 0;
CREATE INDEX mentions_reply ON mentions (reply) WHERE reply != '';
CREATE INDEX mentions_author ON mentions (author_hash, seen_at) WHERE author_hash != '';
CREATE INDEX mentions_subreddit ON mentions (subreddit, seen_at) WHERE subreddit != '';
CREATE INDEX mentions_post ON mentions (post) WHERE post != '';
CREATE TABLE tasks (
    job_id TEXT PRIMARY KEY,
    mention TEXT NOT NULL,
    position INTEGER NOT NULL,
    total INTEGER NOT NULL,
    image_url TEXT NOT NULL,
    vividness REAL NOT NULL,
    secret TEXT NOT NULL,
    from_preview INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE INDEX tasks_mention ON tasks (mention);
CREATE TABLE claims (
    post TEXT NOT NULL,
    image_url TEXT NOT NULL,
    vividness REAL NOT NULL,
    mention TEXT NOT NULL,
    PRIMARY KEY (post, image_url, vividness)
) WITHOUT ROWID;
CREATE INDEX claims_mention ON claims (mention);
CREATE TABLE tallies (limited TEXT NOT NULL, at REAL NOT NULL);
CREATE INDEX tallies_limited ON tallies (limited, at);
CREATE TABLE opt_outs (kind TEXT NOT NULL, name TEXT NOT NULL, PRIMARY KEY (kind, name)) WITHOUT ROWID;
CREATE TABLE bottiquette (subreddit TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE bot (
    secret BLOB NOT NULL,
    started_at REAL,
    stream_read_until REAL,
    bottiquette_due_at REAL,
    swept_at REAL,
    checked_at REAL
);
"""
_TO_3 = (
    "ALTER TABLE mentions ADD COLUMN created_at REAL NOT NULL DEFAULT 0",
    "ALTER TABLE tasks ADD COLUMN from_preview INTEGER NOT NULL DEFAULT 0",
)
_TO_4 = (
    "ALTER TABLE mentions ADD COLUMN media TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE mentions ADD COLUMN uploads INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE bot ADD COLUMN checked_at REAL",
)
_TO_5 = (
    "ALTER TABLE mentions ADD COLUMN failure TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE mentions ADD COLUMN failures INTEGER NOT NULL DEFAULT 0",
    "CREATE TABLE tallies (limited TEXT NOT NULL, at REAL NOT NULL)",
    "CREATE INDEX tallies_limited ON tallies (limited, at)",
)
_STEPS = {2: _TO_3, 3: _TO_4, 4: _TO_5}
"""What brings a file of each version to the next."""
_MENTION = ", ".join(field.name for field in fields(Mention))
_TASK = ", ".join(field.name for field in fields(Task))
_PROGRESS = ", ".join(field.name for field in fields(Progress))

_OPEN = "state IN ('seen', 'queued', 'colored', 'replying')"
_SERVED = (
    "state NOT IN ('seen', 'given_up', 'erased')"
    " AND outcome NOT IN ('limit_user', 'limit_subreddit', 'limit_thread')"
)
_SAID = "state IN ('replied', 'refused') AND outcome != 'colored'"
_IN_THREAD = "state IN ('queued', 'colored', 'replying', 'replied', 'refused')"
_COLORED = "(state IN ('queued', 'colored', 'replying') OR outcome IN ('colored', 'again'))"
"""What fills a thread: pictures, and not what others, who may want to fill it, have said."""

CountedBy: TypeAlias = Literal["author_hash", "subreddit", "post"]
OptOutKind: TypeAlias = Literal["user", "subreddit", "banned"]
"""A person's hash; a subreddit whose moderators asked for it; a subreddit that has banned the bot."""


class DatabaseError(Exception):
    """The file cannot be opened, or another bot has it. The message is a whole sentence."""


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
            # What a power cut takes is done again and no harm, but for a reply: see `update`.
            self._db.execute("PRAGMA synchronous = NORMAL")
            # Held for good: a second bot on the same file would answer everything twice.
            self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._create_or_check()
        except (sqlite3.Error, OSError) as error:
            why = "another bot has it" if "locked" in str(error) else str(error)
            raise DatabaseError(f"The database {path} cannot be used: {why}.") from error
        self.secret: bytes = self._db.execute("SELECT secret FROM bot").fetchone()[0]
        """This bot's own, 32 bytes: what is made of it nobody else can guess."""

    def _create_or_check(self) -> None:
        with self._transaction():
            found = self._db.execute("PRAGMA user_version").fetchone()[0]
            if found in _STEPS:
                for statement in (it for version in range(found, VERSION) for it in _STEPS[version]):
                    self._db.execute(statement)
                self._db.execute(f"PRAGMA user_version = {VERSION}")
            elif found not in (0, VERSION):
                advice = (
                    "Update the bot" if found > VERSION else "Move the file away: the bot begins a new one"
                )
                raise DatabaseError(
                    f"The database is of version {found}; this bot reads {VERSION}. {advice}."
                )
            if found == 0:
                for statement in _SCHEMA.split(";"):
                    self._db.execute(statement)
                self._db.execute("INSERT INTO bot (secret) VALUES (?)", (secrets.token_bytes(32),))
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

    def hash(self, name: str | None) -> str:
        """A person's name as it is kept; "" for nobody."""
        return hmac.new(self.secret, name.lower().encode(), hashlib.sha256).hexdigest()[:32] if name else ""

    # Mentions.

    def add(self, mention: Mention) -> bool:
        """Take it in, unless it is known. Whether it was new."""
        m = mention
        place = (m.author_hash, m.subreddit.lower(), m.post)
        times = (m.seen_at, m.due_at, m.created_at)
        values = (m.fullname, m.state, m.channel, *place, *times, m.channel == "stream")
        sql = (
            "INSERT INTO mentions (fullname, state, channel, author_hash, subreddit, post, seen_at, due_at, created_at, is_read)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
        )
        return self._db.execute(sql, values).rowcount == 1

    def mention(self, fullname: str) -> Mention | None:
        return next(iter(self._mentions("fullname = ?", fullname)), None)

    def replied_with(self, reply: str) -> Mention | None:
        """The mention that this comment of the bot's answers."""
        return next(iter(self._mentions("reply = ? AND reply != ''", reply)), None)

    def due(self, now: float, limit: int) -> list[Mention]:
        """Those whose next step may be taken: what is urgent (due since 0), then the oldest."""
        return self._mentions(
            f"{_OPEN} AND due_at <= ? ORDER BY due_at > 0, seen_at, fullname LIMIT ?", now, limit
        )

    def next_due(self) -> float | None:
        """When the next step is due; None where nothing is open."""
        found: tuple[float | None] = self._db.execute(
            f"SELECT min(due_at) FROM mentions WHERE {_OPEN}"
        ).fetchone()
        return found[0]

    def replied(self) -> list[Mention]:
        """All that have a comment of the bot's."""
        return self._mentions("reply != '' AND state IN ('replied', 'refused') ORDER BY fullname")

    def last_replied(self, since: float, limit: int) -> list[Mention]:
        """The newest mentions since then that have a comment of the bot's."""
        where = "reply != '' AND state IN ('replied', 'refused') AND seen_at > ? ORDER BY seen_at DESC, fullname LIMIT ?"
        return self._mentions(where, since, limit)

    def duplicates_of(self, fullname: str) -> list[Mention]:
        """Those that were sent to the reply to this one."""
        return self._mentions("duplicate_of = ?", fullname)

    def of_author(self, author_hash: str, post: str) -> list[Mention]:
        """A person's mentions below a post, answered or begun; the newest last."""
        states = "state IN ('replied', 'seen', 'queued', 'colored', 'replying') AND author_hash != ''"
        where = f"author_hash = ? AND post = ? AND {states} ORDER BY seen_at, fullname"
        return self._mentions(where, author_hash, post)

    def uncertain_below(self, post: str) -> Mention | None:
        """One below a post of which it is not known whether its reply was said."""
        return next(iter(self._mentions("state = 'replying' AND post = ? AND post != ''", post)), None)

    def update(self, fullname: str, state: State, now: float, **changed: Any) -> None:
        """Its new state, due at once unless `due_at` says otherwise, and other columns that change with it.

        An end that is no answer frees its pictures for others.
        """
        columns = {"state": state, "due_at": now, **changed}
        if state != State.REPLYING:
            columns |= {"final_state": None, "is_private": False}
        assigned = ", ".join(f"{name} = ?" for name in columns)
        # On the disk before Reddit is asked, or a power cut could make it two replies.
        level = "FULL" if state == State.REPLYING else "NORMAL"
        self._db.execute(f"PRAGMA synchronous = {level}")
        with self._transaction():
            self._db.execute(
                f"UPDATE mentions SET {assigned} WHERE fullname = ?", (*columns.values(), fullname)
            )
            if state in (State.REFUSED, State.GIVEN_UP):
                self._db.execute("DELETE FROM claims WHERE mention = ?", (fullname,))

    def erase(self, fullname: str) -> None:
        """Leave of it nothing but that it was, and for limits, until `forget_tallies`, that it counts."""
        with self._transaction():
            self._tally(fullname)
            self._forget_pictures(fullname)
            self._db.execute(
                "UPDATE mentions SET state = 'erased', author_hash = '', subreddit = '', post = '', reply = '',"
                " reply_link = '', shown_in = '', duplicate_of = '', outcome = '', final_state = NULL, is_private = 0,"
                " giving_up = '', attempts = 0, failure = '', failures = 0, due_at = 0, media = '', uploads = 0 WHERE fullname = ?",
                (fullname,),
            )
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # the write-ahead log, too, forgets

    def _tally(self, fullname: str) -> None:
        """Note against which limits it counted: without that, to take each answer back would be to have no limit."""
        sql = (
            f"SELECT author_hash, subreddit, post, seen_at, created_at, {_SERVED}, {_COLORED}, {_SAID}, {_IN_THREAD}"
            " FROM mentions WHERE fullname = ? AND author_hash != ''"
        )
        row = self._db.execute(sql, (fullname,)).fetchone()
        if row is None:
            return
        author, subreddit, post, seen_at, created_at, served, colored, said, in_thread = row
        limits = [
            (True, created_at, ("written", author)),
            (served, seen_at, ("author_hash", author)),
            (served, seen_at, ("subreddit", subreddit)),
            (colored, seen_at, ("post", post)),
            (said, seen_at, ("said", author)),
            (in_thread, seen_at, ("thread", author, post)),
        ]
        counted = [(self._limited(*limit), at) for counts, at, limit in limits if counts]
        self._db.executemany("INSERT INTO tallies VALUES (?, ?)", counted)

    def _limited(self, limit: str, *of: str) -> str:
        """Whom or what a limit counts, so that nobody reads it who does not ask for just that."""
        return self.hash(" ".join((limit, *of)))

    def _tallied(self, since: float, limit: str, *of: str, until: float = float("inf")) -> int:
        """How much of what was erased counts against a limit."""
        sql = "SELECT count(*) FROM tallies WHERE limited = ? AND at > ? AND at <= ?"
        found: int = self._db.execute(sql, (self._limited(limit, *of), since, until)).fetchone()[0]
        return found

    def forget_tallies(self, before: float) -> None:
        """What was asked for until then and is erased counts no more."""
        if self._db.execute("DELETE FROM tallies WHERE at <= ?", (before,)).rowcount:
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def forget_pictures(self, fullname: str) -> None:
        """The reply stays, and so does who may have it taken back."""
        with self._transaction():
            self._forget_pictures(fullname)

    def _forget_pictures(self, fullname: str) -> None:
        for table in ("claims", "tasks"):
            self._db.execute(f"DELETE FROM {table} WHERE mention = ?", (fullname,))

    def to_mark_read(self) -> list[str]:
        """Those that are done and still unread on Reddit."""
        sql = f"SELECT fullname FROM mentions WHERE is_read = 0 AND NOT {_OPEN}"
        return [row[0] for row in self._db.execute(sql)]

    def mark_read(self, fullnames: Sequence[str], is_read: bool = True) -> None:
        """Whether Reddit shows them as read."""
        values = [(is_read, name) for name in fullnames]
        self._db.executemany("UPDATE mentions SET is_read = ? WHERE fullname = ?", values)

    def counts(self) -> dict[str, int]:
        """How many are in each state."""
        return dict(self._db.execute("SELECT state, count(*) FROM mentions GROUP BY state"))

    def count(self, column: CountedBy, value: str, since: float, outcome: str = "") -> int:
        """Mentions since then that count against a limit. With `outcome`: those that were refused for that reason."""
        which = "outcome = ?" if outcome else f"{_COLORED if column == 'post' else _SERVED} AND '' = ?"
        sql = f"SELECT count(*) FROM mentions WHERE {column} = ? AND seen_at > ? AND {which}"
        found: int = self._db.execute(sql, (value, since, outcome)).fetchone()[0]
        return found if outcome else found + self._tallied(since, column, value)

    def count_said(self, author_hash: str, since: float, **columns: str) -> int:
        """Replies that a person has had since then, pictures apart but not links to them; only those with these columns."""
        which = "".join(f" AND {name} = ?" for name in columns)
        sql = f"SELECT count(*) FROM mentions WHERE author_hash = ? AND seen_at > ? AND {_SAID}{which}"
        found: int = self._db.execute(sql, (author_hash, since, *columns.values())).fetchone()[0]
        return found if columns else found + self._tallied(since, "said", author_hash)

    def count_in_thread(self, author_hash: str, post: str) -> int:
        """Replies of every kind that a person has had in a thread, or is about to have."""
        sql = f"SELECT count(*) FROM mentions WHERE author_hash = ? AND post = ? AND {_IN_THREAD}"
        found: int = self._db.execute(sql, (author_hash, post)).fetchone()[0]
        return found + self._tallied(0.0, "thread", author_hash, post)

    def count_written(self, author_hash: str, since: float, until: float) -> int:
        """Mentions that a person wrote between two times, whatever came of them."""
        sql = "SELECT count(*) FROM mentions WHERE author_hash = ? AND created_at > ? AND created_at <= ?"
        found: int = self._db.execute(sql, (author_hash, since, until)).fetchone()[0]
        return found + self._tallied(since, "written", author_hash, until=until)

    def _mentions(self, where: str, *values: object) -> list[Mention]:
        mentions = []
        for row in self._db.execute(f"SELECT {_MENTION} FROM mentions WHERE {where}", values):
            named = dict(zip(_MENTION.split(", "), row, strict=True))
            final = State(named["final_state"]) if named["final_state"] else None
            typed = {"state": State(named["state"]), "final_state": final}
            mentions.append(Mention(**{**named, **typed, "is_private": bool(named["is_private"])}))
        return mentions

    # Pictures.

    def claim(self, post: str, image_url: str, vividness: float, mention: str) -> str:
        """Whose picture it is in this thread: this mention's, or the earlier one's that has it."""
        with self._transaction():
            values = (post, image_url, vividness)
            self._db.execute(
                "INSERT INTO claims VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING", (*values, mention)
            )
            sql = "SELECT mention FROM claims WHERE post = ? AND image_url = ? AND vividness = ?"
            found: str = self._db.execute(sql, values).fetchone()[0]
            return found

    def release(self, mention: str, image_url: str = "") -> None:
        """Leave its pictures to others, or only this one."""
        sql = "DELETE FROM claims WHERE mention = ? AND ? IN ('', image_url)"
        self._db.execute(sql, (mention, image_url))

    def save_task(self, task: Task) -> None:
        """Before the service is asked, and again when it has told the secret."""
        sql = f"INSERT OR REPLACE INTO tasks ({_TASK}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
        self._db.execute(sql, astuple(task))

    def delete_task(self, job_id: str) -> None:
        self._db.execute("DELETE FROM tasks WHERE job_id = ?", (job_id,))

    def tasks(self, mention: str) -> list[Task]:
        """Its pictures in order."""
        sql = f"SELECT {_TASK} FROM tasks WHERE mention = ? ORDER BY position"
        tasks = [Task(*row) for row in self._db.execute(sql, (mention,))]
        return [replace(task, from_preview=bool(task.from_preview)) for task in tasks]

    def with_leftover_tasks(self) -> list[str]:
        """Mentions that ended without a picture and still have tasks."""
        sql = (
            "SELECT DISTINCT mention FROM tasks JOIN mentions ON fullname = mention"
            " WHERE state IN ('refused', 'given_up', 'erased') OR (state = 'replied' AND outcome = 'in_color')"
        )
        return [row[0] for row in self._db.execute(sql)]

    # Whom and where the bot does not serve.

    def opt_out(self, kind: OptOutKind, name: str) -> None:
        self._db.execute("INSERT OR IGNORE INTO opt_outs VALUES (?, ?)", (kind, name.lower()))

    def opt_in(self, kind: OptOutKind, name: str) -> None:
        self._db.execute("DELETE FROM opt_outs WHERE kind = ? AND name = ?", (kind, name.lower()))

    def has_opted_out(self, kind: OptOutKind, name: str) -> bool:
        sql = "SELECT 1 FROM opt_outs WHERE kind = ? AND name = ?"
        return self._db.execute(sql, (kind, name.lower())).fetchone() is not None

    def save_bottiquette(self, subreddits: Iterable[str]) -> None:
        """r/Bottiquette's list, in place of the last one."""
        with self._transaction():
            self._db.execute("DELETE FROM bottiquette")
            self._db.executemany("INSERT INTO bottiquette VALUES (?)", [(name,) for name in set(subreddits)])

    def is_in_bottiquette(self, subreddit: str) -> bool:
        sql = "SELECT 1 FROM bottiquette WHERE subreddit = ?"
        return self._db.execute(sql, (subreddit.lower(),)).fetchone() is not None

    # What is done from time to time.

    def progress(self) -> Progress:
        return Progress(*self._db.execute(f"SELECT {_PROGRESS} FROM bot").fetchone())

    def save_progress(self, **changed: float) -> None:
        """By the names of Progress."""
        assigned = ", ".join(f"{name} = ?" for name in changed)
        self._db.execute(f"UPDATE bot SET {assigned}", tuple(changed.values()))
