"""Measure the recall of an index of lists that was just written, and choose the effort of its queries."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from index.files.manifest import ListsRecord, Manifest
from index.files.verification import verify_files
from index.lists.effort import TUNED_FOR
from index.lists.engine import ListsSearchIndex, Sieves
from index.lists.filtered import FilteredRecall, measure_filtered
from index.lists.reach import FIRST, Reach, find_reaches
from index.lists.tune import probed_steps, tune
from index.protocol import Vectors
from index.recall import Truth
from index.stage import Stage


def measured(
    directory: Path,
    manifest: Manifest,
    last: ListsRecord | None,
    truth: Truth,
    vectors: Vectors,
    *,
    jobs: int,
    stage: Stage,
) -> Manifest:
    """Return the manifest of an index with its recall, of queries with and without filters, and with their effort.

    Args:
        directory: of the index.
        manifest: of the index; it is not written yet.
        last: of the index before this one; its effort is tried first.
        truth: about the vectors of all logos.
        vectors: returns the vectors of logos.
        jobs: threads that search.
        stage: shows progress.
    """
    assert manifest.lists is not None
    lists = manifest.lists.count
    files = verify_files(directory, dim=manifest.dim)
    sieves = Sieves.load(directory, files)
    sieves = replace(sieves, reaches=_reaches(sieves, truth.queries, probed_steps(lists, manifest.items)))
    with stage("measuring recall", None) as progress:
        effort, recall = tune(
            truth,
            lambda effort: ListsSearchIndex(sieves, files, effort, vectors),
            lists=lists,
            logos=manifest.items,
            last=None if last is None else last.effort.probing(last.effort.probed * lists / last.count),
            jobs=jobs,
            progress=progress,
        )
        filtered: tuple[FilteredRecall, ...] = ()
        if recall is not None:
            index = ListsSearchIndex(sieves, files, effort, vectors)
            filtered = measure_filtered(
                index.masked,
                files.logo_ids,
                truth,
                effort,
                recall,
                lists=lists,
                last={} if last is None else {of.share: of.probed / last.count for of in last.filtered},
                jobs=jobs,
                progress=progress,
            )
    record = replace(manifest.lists, effort=effort, filtered=filtered, reaches=sieves.reaches)
    return replace(manifest, lists=record, recall=recall)


def _reaches(sieves: Sieves, queries: NDArray[np.float32], averages: Iterable[int]) -> tuple[Reach, ...]:
    """Return with which reach some `(n, dim)` queries scan each of these average numbers of lists."""
    if len(sieves.centres) <= FIRST or not len(queries):
        return ()
    projected = sieves.format.components.project(queries, slice(sieves.coded))
    lists, squares = sieves.centres.nearest(projected)
    found = sieves.codes.scan(projected, lists[:, :FIRST], TUNED_FOR)
    return find_reaches(averages, squares, found.squares.max(axis=1))
