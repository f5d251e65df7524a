"""HTTP, queue and store around the network: `python -m service` runs it all on one machine."""

__version__ = "0.1.0"
