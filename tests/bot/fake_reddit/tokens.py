"""Who may call: apps with a secret, and the tokens that they get."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field

from fake_reddit.clock import Clock

LIFE_S = 86400.0


@dataclass
class Token:
    user: str | None
    """None for an app that acts for nobody."""
    expires: float
    used: int = 0
    """Calls in the window that goes on."""
    window_ends: float = 0.0


@dataclass
class Tokens:
    clock: Clock
    apps: dict[str, str] = field(default_factory=dict)
    """Client id → secret."""
    refresh: dict[str, str] = field(default_factory=dict)
    """Refresh token → user."""
    given: dict[str, Token] = field(default_factory=dict)
    life: float = LIFE_S

    def knows_app(self, authorization: str) -> bool:
        """From a header `Basic …`."""
        kind, _, code = authorization.partition(" ")
        if kind.lower() != "basic":
            return False
        name, _, secret = base64.b64decode(code).decode().partition(":")
        return self.apps.get(name) == secret

    def give(self, user: str | None) -> str:
        name = f"token-{len(self.given) + 1}"
        self.given[name] = Token(user, self.clock.now() + self.life)
        return name

    def holder(self, authorization: str) -> Token | None:
        """From a header `bearer …`; None where it is unknown or too old."""
        kind, _, name = authorization.partition(" ")
        token = self.given.get(name) if kind.lower() == "bearer" else None
        return token if token and token.expires > self.clock.now() else None

    def revoke_all(self) -> None:
        self.given.clear()
