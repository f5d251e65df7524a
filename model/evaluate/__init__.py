"""Measuring: how good the colors are, and what a net has learned."""
