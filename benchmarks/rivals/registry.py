"""The engines, and the packages that each needs."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from benchmarks.rivals.bare_annoy import BareAnnoy
from benchmarks.rivals.engine import Engine
from benchmarks.rivals.exact_numpy import ExactNumpy
from benchmarks.rivals.faiss_engines import FaissFlat, FaissHnsw, FaissIvfPq
from benchmarks.rivals.hnswlib_engine import Hnswlib
from benchmarks.rivals.milvus_lite import MilvusLiteFlat, MilvusLiteIvf
from benchmarks.rivals.service import Service
from benchmarks.rivals.usearch_engine import Usearch

ENGINES: dict[str, type[Engine]] = {
    "service": Service,
    "annoy": BareAnnoy,
    "exact": ExactNumpy,
    "faiss-flat": FaissFlat,
    "faiss-hnsw": FaissHnsw,
    "faiss-ivfpq": FaissIvfPq,
    "hnswlib": Hnswlib,
    "usearch": Usearch,
    "milvus-lite-flat": MilvusLiteFlat,
    "milvus-lite-ivf": MilvusLiteIvf,
}


def missing_packages(name: str) -> list[str]:
    """Return the packages that must be installed before an engine can be measured."""
    return [package for package in ENGINES[name].packages if not _is_installed(package)]


def _is_installed(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True
