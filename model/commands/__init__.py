"""What each command of `python -m model` does, one file a word. Each takes its parsed words and returns the exit status."""
