"""The parts of a photo's record: where each format keeps them, and what each says."""
