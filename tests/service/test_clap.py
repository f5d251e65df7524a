"""Real or fake, over HTTP: rounds tell nothing, one token is one answer, tallies are bounded, and what comes out can be evaluated."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

from model.evaluate import realism as evaluation
from service import realism
from service.errors import SettingsError
from service.settings import Settings

MANIFEST = json.loads((realism.OURS / realism.MANIFEST).read_text())
NET = next(iter(MANIFEST["nets"]))


def machine_made(manifest: dict[str, Any] = MANIFEST) -> set[str]:
    return {pair["colored"] for pair in manifest["pairs"]}


def begin(api: httpx.Client, rounds: int = 10) -> list[dict[str, Any]]:
    """The rounds of a game that count."""
    return [each for each in begin_with_practice(api, rounds) if not each["practice"]]


def begin_with_practice(api: httpx.Client, rounds: int = 10) -> list[dict[str, Any]]:
    answer = api.post("/clap/games", params={"rounds": rounds})
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["rounds"]
    return found


def truth(each: dict[str, Any], made: Iterable[str] = frozenset(machine_made())) -> str:
    return "first" if each["pictures"][0] in set(made) else "second"


def other(choice: str) -> str:
    return "second" if choice == "first" else "first"


def answer(api: httpx.Client, token: str, colored: str, **options: object) -> httpx.Response:
    return api.post("/clap/answers", params={"token": token, "colored": colored, **options})


def counted(api: httpx.Client) -> list[tuple[int, int]]:
    return [(net["shown"], net["fooled"]) for net in api.get("/v1/realism").json()["nets"]]


def folder_of(path: Path, pairs: int, nets: int = 1) -> Path:
    """Pairs whose pictures are no pictures."""
    path.mkdir()
    names = [f"{number:064x}" for number in range(nets)]
    made = []
    for number in range(pairs):
        files = [f"{2 * number + side:016x}.jpg" for side in (0, 1)]
        for name in files:
            (path / name).write_bytes(b"\xff\xd8\xff")
        one = {"pair": f"{number:012x}", "net": names[number % nets], "file": f"p/{number}.jpg"}
        made.append(one | {"photo": files[0], "colored": files[1]})
    content = {"terms": "", "nets": dict.fromkeys(names, "a net"), "pairs": made}
    (path / realism.MANIFEST).write_text(json.dumps(content))
    return path


def test_practice_is_by_no_photograph_of_the_home_page() -> None:
    pairs = realism.Pairs.read(realism.OURS)
    known = {name for name, pair in pairs.pairs.items() if pair.is_known}
    assert len(known) == 3
    for _ in range(20):
        drawn = pairs.draw(12)
        assert known.isdisjoint(drawn[: realism.PRACTICE])
        assert len({*drawn}) == 12


def test_a_game_is_played_told_counted_and_evaluated(api: httpx.Client, tmp_path: Path) -> None:
    *practice, third = begin_with_practice(api)[:3]
    for each in practice:
        assert answer(api, each["token"], truth(each)).json()["counted"] is False
        forged = each["token"].replace(".0.", ".1.")
        assert answer(api, forged, truth(each)).json()["code"] == "round_over"
    assert (len(practice), third["practice"], counted(api)) == (2, False, [])
    rounds = begin(api)
    shown = [name for each in rounds for name in each["pictures"]]
    assert len(set(shown)) == 20, "no picture comes twice"
    for name in shown:
        picture = api.get(f"/clap/pictures/{name}")
        assert (picture.headers["content-type"], picture.content[:3]) == ("image/jpeg", b"\xff\xd8\xff")
        assert "immutable" in picture.headers["cache-control"]
    for number, each in enumerate(rounds):
        colored = truth(each)
        chosen = other(colored) if number < 4 else colored
        told = answer(api, each["token"], chosen).json()
        assert told == {"colored": colored, "fooled": number < 4, "counted": True}
    again = answer(api, rounds[0]["token"], truth(rounds[0])).json()
    assert again == {"colored": truth(rounds[0]), "fooled": False, "counted": False}
    unfair = answer(api, begin(api)[0]["token"], "first", fair=False)
    assert unfair.json()["counted"] is False

    document = api.get("/v1/realism").json()
    [net] = document["nets"]
    assert net == {
        "name": "lite",
        "sha256": NET,
        "shown": 10,
        "fooled": 4,
        "rate": 0.4,
        "low": 0.1682,
        "high": 0.6873,  # Wilson's, by scipy.stats.binomtest
    }
    assert document["paper"] == {"rate": 0.323, "error": 0.022}

    file = tmp_path / "tallies.csv"
    file.write_bytes(api.get("/clap/tallies.csv").content)
    rows = list(csv.DictReader(io.StringIO(file.read_text())))
    assert sum(int(row["fooled"]) for row in rows) == 4
    assert not machine_made() & {cell for row in rows for cell in row.values()}, "nor do they tell"
    summary = evaluation.summarize(evaluation.read_tallies(file))
    assert "| lite `85a09ff0` | 10 | 10 | 10 | 4 | 40.0 (" in summary.as_markdown()


def test_no_address_tells_and_the_order_is_even(api: httpx.Client) -> None:
    rounds = [each for _ in range(15) for each in begin(api)]
    first = sum(truth(each) == "first" for each in rounds)
    assert 40 < first < 110
    assert len({each["token"] for each in rounds}) == 150
    for hidden in ("pairs.json", "../pairs.json", "..%2f..%2fsettings.py", "0" * 16 + ".jpg"):
        assert api.get(f"/clap/pictures/{hidden}").status_code == 404


def test_what_the_server_did_not_sign_or_has_forgotten_is_over(
    api: httpx.Client, client: redis.Redis
) -> None:
    token = begin(api)[0]["token"]
    game, number, pair, rounds, counts, signature = token.split(".")
    strange = MANIFEST["pairs"][0]["pair"]
    strange = MANIFEST["pairs"][1]["pair"] if strange == pair else strange
    forged = [
        f"{game}.{int(number) + 1}.{pair}.{rounds}.{counts}.{signature}",
        f"{game}.{number}.{strange}.{rounds}.{counts}.{signature}",
        f"{game}.{number}.{pair}.40.{counts}.{signature}",
        f"{'0' * 16}.{number}.{pair}.{rounds}.{counts}.{signature}",
        f"{token[:-1]}{'0' if token[-1] != '0' else '1'}",
        "",
        "ü" * 60,
    ]
    for each in forged:
        refused = answer(api, each, "first")
        assert (refused.status_code, refused.json()["code"]) == (410, "round_over"), each
    assert answer(api, token, "third").status_code == 422
    assert (
        api.post("/clap/games", params={"rounds": 40}).json()["detail"]
        == "`rounds`: a game has 10 rounds here."
    )
    client.zadd("{autochrome}:realism:games", {game: 1})
    assert answer(api, token, "first").json()["code"] == "round_over"
    assert counted(api) == []


def test_an_answer_that_is_lost_on_the_way_counts_once(
    api: httpx.Client, lose_answers: Callable[[int], None]
) -> None:
    [each, *_] = begin(api)
    lose_answers(1)
    assert answer(api, each["token"], other(truth(each))).json()["fooled"] is True
    assert counted(api) == [(1, 1)]


def test_a_stranger_neither_fills_the_record_nor_makes_the_rate(
    serve: Callable[[Settings], httpx.Client],
    settings: Settings,
    client: redis.Redis,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """From outside there is a quota: 600 megapixels a minute, so 50 games of ten and two for practice; 20 of them count in a day."""
    monkeypatch.setattr(realism, "MOST_GAMES", 25)
    api = serve(settings.model_copy(update={"host": "0.0.0.0"}))
    games = [begin(api) for _ in range(50)]
    refused = api.post("/clap/games", params={"rounds": 10})
    assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert client.zcard("{autochrome}:realism:games") == 25
    assert answer(api, games[0][0]["token"], "first").json()["code"] == "round_over", "the oldest made room"
    assert answer(api, games[-1][0]["token"], "first").json()["counted"] is False, "not the 500th of a day"
    assert counted(api) == []
    kept = [key for key in client.scan_iter("*") if "realism" in key]
    assert not any("127.0.0.1" in str(client.hgetall(key)) for key in kept if client.type(key) == "hash")
    assert [*client.hgetall("{autochrome}:realism:players").values()] == ["200"]
    assert 0 < client.ttl("{autochrome}:realism:players") <= 24 * 3600
    assert sum(client.memory_usage(key) or 0 for key in kept) < 10_000


def test_an_operator_names_a_folder_and_a_game_stays_with_one_net(
    serve: Callable[[Settings], httpx.Client], settings: Settings, tmp_path: Path, client: redis.Redis
) -> None:
    folder = folder_of(tmp_path / "pairs", 90, nets=2)
    manifest = json.loads((folder / realism.MANIFEST).read_text())
    api = serve(settings.model_copy(update={"clap_dir": folder}))
    page = api.get("/clap").text
    assert 'data-rounds="40"' in page
    free = serve(settings).get("/clap?lang=de").text
    assert 'data-rounds="40"' not in free
    assert "Dieser Dienst hat 12 Paare; ein Spiel mit 40 Runden wie in der Arbeit braucht 42." in free
    assert '<p class="terms" lang="en">' in free
    net_of = {pair["colored"]: pair["net"] for pair in manifest["pairs"]}
    for _ in range(3):
        rounds = begin(api, 40)
        nets = {net_of[name] for each in rounds for name in each["pictures"] if name in net_of}
        assert len(nets) == 1
    for each in rounds:
        assert answer(api, each["token"], truth(each, net_of)).json()["counted"]
    assert counted(api) == [(40, 0)]


@pytest.mark.parametrize(
    ("spoil", "fault"),
    [
        (lambda folder: (folder / "pairs.json").unlink(), "cannot be read"),
        (lambda folder: (folder / "pairs.json").write_text("{}"), "cannot be read"),
        (lambda folder: (folder / f"{3:016x}.jpg").unlink(), "lacks 0000000000000003.jpg"),
        (
            lambda folder: (folder / "pairs.json").write_text(
                (folder / "pairs.json").read_text().replace(f"{2:016x}.jpg", "../../etc/passwd")
            ),
            "was changed",
        ),
        (lambda folder: folder_of(folder / "few", 11), ""),
    ],
)
def test_a_folder_that_will_not_do_is_named_at_the_start(
    spoil: Callable[[Path], object], fault: str, tmp_path: Path
) -> None:
    folder = folder_of(tmp_path / "pairs", 12)
    assert realism.Pairs.read(folder).games == (10,)
    spoil(folder)
    if not fault:
        folder, fault = folder / "few", "fewer than 12 pairs"
    with pytest.raises(SettingsError, match=fault):
        realism.Pairs.read(folder)
