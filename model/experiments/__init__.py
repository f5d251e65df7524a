"""What remakes the lecture and the papers' studies."""
