"""One Reddit whole: its world, its tokens, what it is told to do wrong, and what it was asked."""

from __future__ import annotations

from dataclasses import dataclass, field

from fake_reddit.calls import Call
from fake_reddit.clock import Clock
from fake_reddit.faults import Fault
from fake_reddit.tokens import Token, Tokens
from fake_reddit.world import World

WINDOW_S = 600


@dataclass
class Site:
    clock: Clock
    world: World
    tokens: Tokens
    budget: int
    """Calls that a token may make in a window of 600 s; PRAW spreads its calls by what is left of it."""
    faults: list[Fault] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    """"GET /such/a/path", for what nobody answers."""
    leases: dict[str, bytes | None] = field(default_factory=dict)
    """Key of an upload → its bytes, None before they came."""
    url: str = ""
    tls_url: str = ""

    def fault_for(self, method: str, path: str) -> Fault | None:
        """The first fault that fits a call; it is counted."""
        with self.world.lock:
            return next((fault for fault in self.faults if fault.applies_to(method, path)), None)

    def spend(self, token: Token) -> dict[str, str]:
        """Count a call; the headers that tell what is left."""
        now = self.clock.now()
        if now >= token.window_ends:
            token.used, token.window_ends = 0, now + WINDOW_S
        token.used += 1
        return {
            "x-ratelimit-used": str(token.used),
            "x-ratelimit-remaining": f"{max(0, self.budget - token.used):.1f}",
            "x-ratelimit-reset": str(round(token.window_ends - now)),
        }
