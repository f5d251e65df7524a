"""The Reddit bot: a client of the service like any other."""

__version__ = "0.1.0"
