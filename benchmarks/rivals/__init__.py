"""Nearest-neighbour engines, one module each, measured alike on the same vectors, as in ann-benchmarks."""
