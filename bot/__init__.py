"""The Reddit bot: a client of the service like any other."""
