"""How fast the service and the training are, and what load and killed processes do to the service. See `__main__`."""
