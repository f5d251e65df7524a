"""What is counted about jobs: the names of the counters in the record, and the bounds of its histograms.

The record itself counts, in one hash, so that counts outlive processes and are the same whichever API is asked.

    outcome:STATUS:CODE   jobs that ended so; CODE is empty unless they failed
    stage:NAME:le:BUCKET  how often a stage took so long: each time is counted in one bucket, the narrowest
    stage:NAME:sum        seconds of all of them
    batch:le:BUCKET       how many photos the net was given at once
    batch:sum             photos of all batches
    webhooks:OUTCOME      webhooks that were delivered, unwanted (410), given up, or erased with their job
"""

from __future__ import annotations

from bisect import bisect_left

SECONDS = ("0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "10", "30", "60")
"""Upper bounds of the buckets for times, from 5 ms to a minute."""
PHOTOS = ("1", "2", "4", "8", "16", "32", "64")
"""Upper bounds of the buckets for batch sizes."""
REST = "+Inf"
"""The bucket of what is larger than the last bound."""


def bucket(value: float, bounds: tuple[str, ...]) -> str:
    """The narrowest bucket that holds a value."""
    index = bisect_left([float(bound) for bound in bounds], value)
    return bounds[index] if index < len(bounds) else REST
