"""What a worker keeps in memory stays within its bytes, and is gone in time."""

from __future__ import annotations

import time

from service.kept import Kept


def test_what_was_not_used_for_longest_gives_way():
    kept: Kept[str, str] = Kept(100, 60)
    for name in "abc":
        kept.put(name, "k", name.upper(), 30)
    assert kept.get("a", "k") == "A"
    kept.put("d", "k", "D", 30)
    assert (kept.ids(), kept.size) == ({"a", "c", "d"}, 90)
    kept.put("a", "k", "AA", 90)
    assert (kept.get("a", "k"), kept.ids(), kept.size) == ("AA", {"a"}, 90)
    kept.put("e", "k", "too much", 101)
    assert kept.ids() == {"a"}


def test_one_is_found_by_its_photo_and_its_key_alone_and_forgotten_by_its_photo():
    kept: Kept[str, int] = Kept(100, 60)
    kept.put("a", "one", 1, 10)
    kept.put("a", "two", 2, 10)
    kept.put("b", "one", 3, 10)
    assert kept.get("b", "two") is None
    kept.forget({"a", "unknown"})
    assert (kept.get("a", "one"), kept.get("b", "one"), kept.size) == (None, 3, 10)


def test_what_nobody_uses_is_dropped(monkeypatch):
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    kept: Kept[str, int] = Kept(100, 60)
    kept.put("a", "k", 1, 10)
    kept.put("b", "k", 2, 10)
    now = 50
    assert kept.get("a", "k") == 1
    now = 100
    assert kept.ids() == {"a"}
    assert kept.size == 10
