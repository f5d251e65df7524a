"""The commands of `autochrome`, by room. Each is a function whose parameters are its options; it returns the exit status."""
