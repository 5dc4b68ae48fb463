"""Answers that are more than one JSON object: compressed, written piece by piece, or read from files."""
