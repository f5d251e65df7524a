"""A Reddit of our own for tests: the calls that a bot makes, with faults at will and a log of all that came."""

from fake_reddit.ports import Ports
from fake_reddit.server import Server

__all__ = ["Ports", "Server"]
