"""Hostile files by the hundred thousand: good files with random damage, given to the code that reads them.

Each is tried in a child process with limits (`fuzz_child.py`). The same seed and number give the same file.
"""

from __future__ import annotations

import functools
import multiprocessing
import random
import shutil
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import click

from torture.fuzz_case import Case, Kind
from torture.fuzz_child import Limits, try_in_children
from torture.fuzz_image_files import ImageFiles
from torture.fuzz_index_files import IndexFiles
from torture.fuzz_store_files import StoreFiles
from torture.report import HEADER, Finding

KINDS: dict[str, type[StoreFiles | ImageFiles | IndexFiles]] = {
    "store": StoreFiles,
    "images": ImageFiles,
    "index": IndexFiles,
}
_AT_ONCE = 25  # files that one child tries
_PART = 500  # files that one process tries at a time
_PARTS_A_LINE = 10


def fuzz(
    kind: str,
    files: int,
    seed: int,
    *,
    first: int = 0,
    limits: Limits | None = None,
    keep: Path | None = None,
) -> list[Finding]:
    """Try hostile files of a kind. Call this in a process without threads, because it forks.

    Args:
        kind: one of `KINDS`.
        files: number of files.
        seed: determines all choices.
        first: the number of the first file.
        limits: for each file; None for those of the kind.
        keep: a directory for files that something went wrong with.

    Returns:
        A row for each kind of good files.
    """
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        samples = KINDS[kind](place)
        attempt = functools.partial(_attempt, samples, place / "hostile")
        tried = dict.fromkeys(samples.samples, 0)
        losses: dict[str, list[str]] = {sample: [] for sample in samples.samples}
        begun = time.perf_counter()
        for start in range(first, first + files, _AT_ONCE):
            cases = [_case(samples, number, seed) for number in range(start, min(start + _AT_ONCE, first + files))]
            for case, wrong in try_in_children(cases, attempt, limits or samples.limits):
                tried[case.sample] += 1
                if wrong:
                    losses[case.sample].append(f"seed {seed}, file {case.number} ({case.changes}): {'; '.join(wrong)}")
                    if keep is not None:
                        _lay_down(case, keep / f"{kind}-{seed}-{case.number}")
        seconds = time.perf_counter() - begun
    return [
        Finding(f"hostile: {sample}", count, "files", losses[sample], seconds * count / max(1, files))
        for sample, count in tried.items()
    ]


def run(kind: str, files: int, seed: int, *, jobs: int, limits: Limits | None, keep: Path | None) -> list[Finding]:
    """Run `fuzz` in several processes, part by part, with progress on standard error."""
    found: dict[str, list[Finding]] = {}
    with clean_processes(jobs) as processes:
        parts = [
            processes.submit(fuzz, kind, min(_PART, files - first), seed, first=first, limits=limits, keep=keep)
            for first in range(0, files, _PART)
        ]
        for place, part in enumerate(parts, 1):
            for finding in part.result():
                found.setdefault(finding.test, []).append(finding)
                click.echo("".join(f"{loss}\n" for loss in finding.losses), err=True, nl=False)
            if place % _PARTS_A_LINE == 0:
                click.echo(f"{place * _PART:,} of {files:,} files", err=True)
    return [
        Finding(
            test,
            sum(finding.tried for finding in findings),
            "files",
            [loss for finding in findings for loss in finding.losses],
            sum(finding.seconds for finding in findings),
        )
        for test, findings in found.items()
    ]


def clean_processes(jobs: int = 1) -> ProcessPoolExecutor:
    """Return an executor whose processes have one thread each, so that they may fork."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return ProcessPoolExecutor(jobs, mp_context=context)


def _case(samples: Kind, number: int, seed: int) -> Case:
    chance = random.Random(f"{seed}-{number}")
    return samples.spoil(number, samples.samples[number % len(samples.samples)], chance)


def _attempt(samples: Kind, directory: Path, case: Case) -> list[str]:
    shutil.rmtree(directory, ignore_errors=True)
    _lay_down(case, directory)
    return samples.attempt(case, directory)


def _lay_down(case: Case, directory: Path) -> None:
    for path, content in case.files.items():
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_bytes(content)
    for path, target in case.links.items():
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).symlink_to(target)


def _command(kind: str, what: str) -> click.Command:
    @click.command(f"fuzz-{kind}", help=f"Try hostile {what}.")
    @click.option("--files", type=click.IntRange(1), default=100_000, show_default=True)
    @click.option("--seed", type=int, default=0, show_default=True)
    @click.option("--number", type=int, help="Try only this file of the seed.")
    @click.option("--jobs", type=click.IntRange(1), default=2, show_default=True, help="Processes that try files.")
    @click.option("--seconds", type=click.IntRange(1), help="Processor seconds allowed for one file.")
    @click.option("--memory", type=click.IntRange(1), help="Mebibytes allowed for one file.")
    @click.option(
        "--keep", type=click.Path(path_type=Path), help="A directory for files that something went wrong with."
    )
    def command(
        files: int, seed: int, number: int | None, jobs: int, seconds: int | None, memory: int | None, keep: Path | None
    ) -> None:
        limits = KINDS[kind].limits
        limits = Limits(seconds or limits.seconds, 2**20 * memory if memory else limits.memory)
        if number is not None:
            findings = fuzz(kind, 1, seed, first=number, limits=limits, keep=keep)
        else:
            findings = run(kind, files, seed, jobs=jobs, limits=limits, keep=keep)
        losses = [loss for finding in findings for loss in finding.losses]
        click.echo("\n".join([HEADER, *(finding.row() for finding in findings), "", *losses]))
        sys.exit(bool(losses))

    return command


fuzz_store = _command("store", "store files, of ours and of the original")
fuzz_images = _command("images", "images")
fuzz_index = _command("index", "index files")

if __name__ == "__main__":
    click.Group(commands=[fuzz_store, fuzz_images, fuzz_index])()
