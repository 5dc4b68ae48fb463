"""Engines that find nearest neighbours, one module each, measured alike on the same vectors: as ann-benchmarks does."""
