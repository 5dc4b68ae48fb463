"""Answers that take more than one call to make: compressed, piecewise, or files."""
