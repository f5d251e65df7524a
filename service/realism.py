"""Real or fake? The paper's test as a game (Zhang 2016, section 3.1): pairs of pictures, rounds, answers, tallies.

`python -m model evaluate realism` makes the pairs; its manifest alone says which picture of a pair is which. A round is a token: game,
number, pair, signed. Which picture comes first follows from the signature's other half, which nobody is told, so that nothing is kept of a
round until it is answered, and then one bit. Of people nothing is kept but how many rounds a sender's network has had counted today, by
a hash: one stranger does not make a net's rate.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import math
import random
import re
import secrets
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import cast

import redis

from service.budgets import Quota, payer
from service.database import PREFIX, Scripts
from service.errors import Problem, SettingsError
from service.settings import Settings

OURS = Path(__file__).parent / "web/pairs"
"""The small free set, where the operator names no other."""
MANIFEST = "pairs.json"
GAMES = (10, 40)
"""Rounds: for the impatient, who are told after each; and as in the paper, who are told at the end."""
PRACTICE = 2
"""Rounds before these which do not count, and are told at once. The paper has ten."""
MOST_PAIRS = 1000
"""Of a folder: each has up to four counters in Redis."""
LASTS = 3600.0
"""Seconds after which a game is over."""
MOST_GAMES, MOST_PLAYERS = 10_000, 10_000
"""Of which Redis keeps a record at once: some 100 bytes each."""
MOST_COUNTED = 200
"""Rounds a day of one address that count in the tallies, where there is a quota at all: five of the paper's sessions."""
ROUND_PIXELS = 1_000_000
"""What one round takes off its sender's quota."""
ON_THE_HOME_PAGE = ("coffee", "chelsea", "rocket")
"""Photographs to try the home page with, whose guessed colors a visitor has seen: `static/samples/NAME-gray.jpg` and `NAME-color.jpg`,
both by `python -m model gallery --apart`."""
CONFIDENCE = 1.96
"""Of a normal distribution: 95%."""
_PICTURE = re.compile(r"[0-9a-f]{16}\.jpg")
_PAIR = re.compile(r"[0-9a-f]{12}")
_NET = re.compile(r"[0-9a-f]{64}")
_TOKEN = re.compile(r"([0-9a-f]{16})\.([0-9]{1,2})\.([0-9a-f]{12})\.([0-9]{2})\.([01])\.([0-9a-f]{24})")


@dataclass(frozen=True, slots=True)
class Pair:
    """The hash of the net that colored it, and the names of its two files."""

    net: str
    photo: str
    colored: str
    is_known: bool
    """Its photograph is on the home page."""


@dataclass(frozen=True, slots=True)
class Pairs:
    """What is shown: a folder of `python -m model evaluate realism`."""

    folder: Path
    terms: str
    """Whose the photographs are, and on what terms."""
    nets: Mapping[str, str]
    """Name by hash."""
    pairs: Mapping[str, Pair]
    pictures: frozenset[str]

    @classmethod
    def read(cls, folder: Path) -> Pairs:
        """Raises SettingsError for a folder that holds no pairs, too few or too many."""
        try:
            content = json.loads((folder / MANIFEST).read_text("utf-8"))
            nets = {str(net): str(name) for net, name in content["nets"].items()}
            pairs = {
                entry["pair"]: Pair(
                    *(entry["net"], entry["photo"], entry["colored"]),
                    is_known=PurePosixPath(str(entry.get("file", ""))).stem in ON_THE_HOME_PAGE,
                )
                for entry in content["pairs"]
            }
            terms = str(content["terms"])
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise SettingsError(
                f"AUTOCHROME_CLAP_DIR: {folder / MANIFEST} cannot be read ({error!r}). `python -m model evaluate realism -o DIR` makes one."
            ) from error
        found = cls(
            folder,
            terms,
            nets,
            pairs,
            frozenset(name for pair in pairs.values() for name in (pair.photo, pair.colored)),
        )
        if fault := found._fault():
            raise SettingsError(f"AUTOCHROME_CLAP_DIR: {folder} {fault}")
        return found

    @property
    def games(self) -> tuple[int, ...]:
        """Of how many rounds there may be a game: with practice as many as there are pairs of one net."""
        return tuple(rounds for rounds in GAMES if self.most >= rounds + PRACTICE)

    @property
    def most(self) -> int:
        """Pairs of the net that has the most."""
        return max(map(len, self._by_net()), default=0)

    def draw(self, rounds: int) -> list[str]:
        """So many pairs, all of one net, as in the paper. Those of practice come first: where there are others, none of the home page."""
        those = random.choice([those for those in self._by_net() if len(those) >= rounds])
        drawn = random.sample(those, rounds)
        practice = [name for name in drawn if not self.pairs[name].is_known][:PRACTICE]
        return [*practice, *(name for name in drawn if name not in practice)]

    def _by_net(self) -> list[list[str]]:
        found: defaultdict[str, list[str]] = defaultdict(list)
        for name, pair in self.pairs.items():
            found[pair.net].append(name)
        return list(found.values())

    def _fault(self) -> str:
        """What is wrong with the folder and what to do, or ""."""
        if not self.games:
            return f"has fewer than {GAMES[0] + PRACTICE} pairs of any net: make more."
        if len(self.pairs) > MOST_PAIRS:
            return (
                f"has {len(self.pairs)} pairs, of which {MOST_PAIRS} may be shown: make fewer with --limit."
            )
        sound = all(map(_PAIR.fullmatch, self.pairs)) and all(map(_NET.fullmatch, self.nets))
        sound = sound and {pair.net for pair in self.pairs.values()} <= self.nets.keys()
        if not sound or not all(map(_PICTURE.fullmatch, self.pictures)):
            return f"has a {MANIFEST} that was changed: make it anew with `python -m model evaluate realism`."
        missing = [name for name in self.pictures if not (self.folder / name).is_file()]
        return f"lacks {missing[0]}: make it anew, or copy all of it." if missing else ""


@dataclass(frozen=True, slots=True)
class Round:
    token: str
    pictures: tuple[str, str]
    """Names of files, in the order in which they are shown."""
    is_practice: bool


@dataclass(frozen=True, slots=True)
class Answer:
    colored: int
    """Which was colored by the machine: 0, the first, or 1."""
    fooled: bool
    counted: bool
    """False, too, where the round was answered before."""


@dataclass(frozen=True, slots=True)
class Tally:
    """How often a pair was shown in games of so many rounds, and how often the photograph was taken for the machine's."""

    net: str
    name: str
    pair: str
    rounds: int
    shown: int
    fooled: int


@dataclass(frozen=True, slots=True)
class Rate:
    """The fooling rate of one net, and the ends of Wilson's 95% interval."""

    net: str
    name: str
    shown: int
    fooled: int
    rate: float
    low: float
    high: float


class Realism:
    """All but the pairs may raise redis.RedisError."""

    def __init__(
        self,
        client: redis.Redis,
        mac: Callable[[str], bytes],
        quota: Quota,
        settings: Settings,
    ) -> None:
        """`mac`: HMAC under a key that all processes share. Raises SettingsError."""
        self.pairs = Pairs.read(settings.clap_dir or OURS)
        self._redis = client
        self._scripts = Scripts(client)
        self._mac = mac
        self._quota = quota
        self._settings = settings

    def begin(self, rounds: int, owner: str, address: str) -> list[Round]:
        """A game, its practice first. Raises `option_invalid`, or `rate_limited` where a sender plays more than there is quota for."""
        if rounds not in self.pairs.games:
            ways = " or ".join(map(str, self.pairs.games))
            raise Problem("option_invalid", f"`rounds`: a game has {ways} rounds here.")
        game = secrets.token_hex(8)
        self._quota.charge(owner, address, (rounds + PRACTICE) * ROUND_PIXELS, game)
        most = MOST_COUNTED if self._settings.quota(anonymous=not owner) else 0
        player = self._mac(f"player {payer(owner, address)}").hex()[:16]
        arguments = (game, int(LASTS * 1000), MOST_GAMES, player, rounds, most, MOST_PLAYERS)
        counts = self._scripts.run("realism_begin", *arguments)
        key = self._mac(f"game {game}")
        begun = []
        for number, name in enumerate(self.pairs.draw(rounds + PRACTICE)):
            is_practice = number < PRACTICE
            words = f"{game}.{number}.{name}.{rounds}.{0 if is_practice else counts}"
            signature, colored = _sealed(key, words)
            pair = self.pairs.pairs[name]
            shown = (pair.photo, pair.colored) if colored else (pair.colored, pair.photo)
            begun.append(Round(f"{words}.{signature}", shown, is_practice))
        return begun

    def answer(self, token: str, chosen: int, is_fair: bool) -> Answer:
        """Take which picture, 0 or 1, somebody holds for the machine's. Of one token one answer counts, and only where both were shown for
        a second (`is_fair`). Raises `round_over`."""
        found = _TOKEN.fullmatch(token)
        if found is None:
            raise Problem("round_over")
        game, number, name, rounds, counts, claimed = found.groups()
        signature, colored = _sealed(self._mac(f"game {game}"), token.rpartition(".")[0])
        pair = self.pairs.pairs.get(name)
        if pair is None or not hmac.compare_digest(signature, claimed):
            raise Problem("round_over")
        fooled = chosen != colored
        is_counted = is_fair and counts == "1"
        about = (pair.net, self.pairs.nets[pair.net], name, rounds)
        outcome = self._scripts.run("realism_answer", game, number, int(is_counted), *about, int(fooled))
        if outcome == 0:
            raise Problem("round_over")
        return Answer(colored, fooled, is_counted and outcome == 2)

    def tallies(self) -> list[Tally]:
        """By net, then by pair."""
        tallies = []
        names = cast(dict[str, str], self._redis.hgetall(f"{PREFIX}realism:nets"))
        for net, name in sorted(names.items(), key=lambda item: (item[1], item[0])):
            counts = cast(dict[str, str], self._redis.hgetall(f"{PREFIX}realism:net:{net}"))
            shown = sorted(field.rpartition(":")[0] for field in counts if field.endswith(":shown"))
            for field in shown:
                pair, _, rounds = field.partition(":")
                answers = (int(counts[f"{field}:{of}"]) for of in ("shown", "fooled"))
                tallies.append(Tally(net, name, pair, int(rounds), *answers))
        return tallies


def rates(tallies: Iterable[Tally]) -> list[Rate]:
    """By net, all its pairs and games together."""
    found: dict[str, tuple[str, int, int]] = {}
    for tally in tallies:
        _, shown, fooled = found.get(tally.net, ("", 0, 0))
        found[tally.net] = (tally.name, shown + tally.shown, fooled + tally.fooled)
    return [
        Rate(net, name, shown, fooled, fooled / shown, *wilson(fooled, shown))
        for net, (name, shown, fooled) in found.items()
    ]


def wilson(count: int, of: int) -> tuple[float, float]:
    """The ends of the 95% interval of a share (Wilson 1927, equation 8), for `of` ≥ 1."""
    share, square = count / of, CONFIDENCE**2
    middle = (share + square / (2 * of)) / (1 + square / of)
    reach = CONFIDENCE * math.sqrt(share * (1 - share) / of + square / (4 * of**2)) / (1 + square / of)
    return max(0.0, middle - reach), min(1.0, middle + reach)


def as_csv(tallies: Sequence[Tally]) -> str:
    """As `python -m model evaluate realism --read` takes it. A net's name is quoted."""
    lines = ["net,name,pair,rounds,shown,fooled"]
    for tally in tallies:
        name = tally.name.replace('"', '""')
        lines.append(f'{tally.net},"{name}",{tally.pair},{tally.rounds},{tally.shown},{tally.fooled}')
    return "\n".join(lines) + "\n"


def _sealed(key: bytes, words: str) -> tuple[str, int]:
    """The signature of a round, and which of its pictures is the machine's: from two halves that do not tell of one another."""
    digest = hmac.digest(key, words.encode(), hashlib.sha256)
    return digest[:12].hex(), digest[-1] & 1
