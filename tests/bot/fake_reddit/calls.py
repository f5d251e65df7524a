"""The log of what came in."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Call:
    method: str
    path: str
    """Without a slash at the end."""
    query: dict[str, str] = field(default_factory=dict)
    form: dict[str, str] = field(default_factory=dict)
    user: str | None = None
    at: float = 0.0
    status: int | None = None
    """None as long as nothing was answered, or where the connection was cut."""
    fault: int | str | None = None
    """The kind of the fault that it met."""
