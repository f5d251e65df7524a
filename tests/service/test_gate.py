"""Jobs together, or one alone."""

from __future__ import annotations

import threading
import time

from service.gate import Gate


def test_many_go_in_together_and_one_that_must_be_alone_is(until):
    gate = Gate()
    assert gate.is_idle
    inside: list[str] = []
    seen: list[tuple[str, ...]] = []
    leave = threading.Event()

    def visit(name: str, alone: bool) -> None:
        with gate.enter(alone):
            inside.append(name)
            seen.append(tuple(inside))
            leave.wait(10)
            time.sleep(0.02)
            inside.remove(name)

    visitors = [
        threading.Thread(target=visit, args=(name, name == "alone")) for name in ("a", "b", "alone", "c")
    ]
    for visitor in visitors[:2]:
        visitor.start()
    until(lambda: len(inside) == 2, 5, "two together")
    visitors[2].start()
    time.sleep(0.05)
    visitors[3].start()
    time.sleep(0.1)
    assert sorted(inside) == ["a", "b"], "neither the one alone nor those behind it are in yet"
    assert not gate.is_idle
    leave.set()
    for visitor in visitors:
        visitor.join(5)
    assert seen[2:] == [("alone",), ("c",)], "it had its turn before the one that came later"
    assert gate.is_idle


def test_an_error_inside_leaves_the_gate_open():
    gate = Gate()
    for alone in (True, False):
        try:
            with gate.enter(alone):
                raise ValueError
        except ValueError:
            assert gate.is_idle
