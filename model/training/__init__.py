"""Training: one configuration, one data path and one loop, for any method and any net."""
