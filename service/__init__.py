"""HTTP, queue and store around the network: `python -m service` runs it all on one machine."""
