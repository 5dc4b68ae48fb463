"""The real service under mixed load for any length of time: nothing is lost, and nothing grows.

`python -m torture soak --minutes 60`. Clients use all routes (`soak_load.py`), an operator builds indexes, compacts and
backs up, workers are killed and the master is reloaded (`soak_operator.py`). Every few seconds each process is sampled,
and every few minutes all clients rest, so that what the processes still hold can be counted (`soak_samples.py`).
"""

from __future__ import annotations

import json
import signal
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import click
import numpy as np

from embeddings.store.store import EmbeddingStore
from settings import Settings
from tests.end_to_end.service import Service
from tests.photo_server import PhotoServer
from torture.report import HEADER, Finding
from torture.soak_ledger import Ledger
from torture.soak_load import Client
from torture.soak_operator import Disruptions, Operator, explained, plan
from torture.soak_pictures import pictures
from torture.soak_record import Record
from torture.soak_samples import BLOCKS, MB, Growth, Sample, children, growth, sample

JUDGED = 0.5  # of the run: a process that lived longer is judged
MOST_THREADS = Settings().workers.threads + 12  # of a worker: requests, the watcher, the embedder's, NumPy's
STORE = "efficientnet-b0.hdf5"


@dataclass
class Soak:
    """The result of a soak.

    Attributes:
        seconds: how long it took.
        samples: by process.
        growths: of the processes that lived long enough.
        record: what the clients saw.
        events: kills and reloads, by kind.
        commands: of `manage.py`: how often each was run.
        findings: the verdict.
    """

    seconds: float = 0.0
    samples: dict[int, list[Sample]] = field(default_factory=lambda: defaultdict(list))
    growths: list[Growth] = field(default_factory=list)
    record: Record = field(default_factory=Record)
    events: dict[str, int] = field(default_factory=dict)
    commands: dict[str, int] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    def note(self, looks: list[Sample], directory: Path) -> None:
        """Keep samples, also in `samples.jsonl` of a directory, for watching or plotting them."""
        with (directory / "samples.jsonl").open("a") as file:
            for one in looks:
                self.samples[one.pid].append(one)
                file.write(f"{json.dumps(asdict(one))}\n")

    def tables(self) -> str:
        """Return growth and latencies in Markdown."""
        lines = ["| process | hours judged | memory, MB first -> last | MB an hour (95 %) | descriptors | threads |"]
        lines.append("|---|---|---|---|---|---|")
        for one in self.growths:
            low, middle, high = (value / MB for value in (one.memory.low, one.memory.middle, one.memory.high))
            lines.append(
                f"| {one.pid} | {one.hours:.2f} | {one.megabytes[0]:.1f} -> {one.megabytes[1]:.1f} "
                f"| {middle:+.2f} ({low:+.2f} to {high:+.2f}), {one.ids:,.0f} ids an hour "
                f"| {one.descriptors[0]} -> {one.descriptors[1]} | {one.threads[0]} -> {one.threads[1]} |"
            )
        lines += ["", "| request | answered | p50 ms | p99 ms |", "|---|---|---|---|"]
        for kind, seconds in sorted(self.record.seconds.items()):
            cuts = statistics.quantiles(seconds, n=100) if len(seconds) > 1 else [seconds[0]] * 99
            lines.append(f"| {kind} | {len(seconds):,} | {1000 * cuts[49]:.1f} | {1000 * cuts[98]:.1f} |")
        lines += [
            "",
            f"statuses {dict(sorted(self.record.statuses.items()))}; {self.record.hung_up} hung up; "
            f"{len(self.record.unanswered)} unanswered; {self.events}; {self.commands}",
        ]
        return "\n".join(lines)


def run(
    directory: Path,
    *,
    seconds: float,
    clients: int,
    seed: int,
    pause: float,
    sample_seconds: float,
    rests: int,
    most_logos: int = 10_000,
    photos_drawn: int = 36,
) -> Soak:
    """Soak a service on a new data directory in `directory`.

    Args:
        directory: for the data, the log and the samples; created if missing.
        seconds: how long the load lasts.
        clients: number of concurrent clients.
        seed: determines what the clients do.
        pause: mean seconds between two requests of a client.
        sample_seconds: time between two samples of the processes.
        rests: how often all clients rest.
        most_logos: the size from which the store grows no further.
        photos_drawn: number of photos to add from.
    """
    data_dir = directory / "data"
    directory.mkdir(parents=True, exist_ok=True)
    soak, ledger, drawn = Soak(), Ledger(), pictures(seed, photos_drawn)
    every = {
        "generate-index --tree-count 10": max(1.0, seconds / 60),
        "backup": seconds / 9,
        "compact": seconds / 7,
        "verify": seconds / 5,
    }
    settings = {
        "ANN_STORE_CAPACITY": "2000000",
        "ANN_IMAGE_READ_SECONDS": "2",
        "ANN_IMAGE_TOTAL_SECONDS": "4",
        "ANN_ALLOW_DELETE": "1",
        "ANN_RELOAD_SECONDS": "1",
    }
    with PhotoServer(drawn.photos) as photos, Service(data_dir, workers=2, **settings) as service:
        base = f"http://127.0.0.1:{service.port}"
        crowd = [
            Client(
                base, photos.url, drawn, ledger, soak.record, seed=1000 * seed + k, pause=pause, most_logos=most_logos
            )
            for k in range(clients)
        ]
        operator = Operator(data_dir, ledger, every)
        began = time.monotonic()
        disruptions = Disruptions(service, plan(seconds), began)
        for client in crowd:
            client.start()
        operator.start()
        rest_due = [seconds * (k + 1) / (rests + 1) for k in range(rests)]
        while (now := time.monotonic() - began) < seconds:
            disruptions.next()
            soak.note(_look(service, began, ledger, resting=False), directory)
            photos.headers.clear()
            if rest_due and now >= rest_due[0]:
                rest_due.pop(0)
                soak.note(_rest(service, crowd, began, ledger), directory)
            time.sleep(sample_seconds)
        for client in crowd:
            client.stop()
        operator.stop()
        exit_code = service.terminate()
        verified = operator.run("verify")
        soak.seconds = time.monotonic() - began
        soak.findings = [
            judge_logos(data_dir, ledger, operator, verified=verified),
            judge_answers(soak.record, disruptions.done),
            judge_log(service.log_path, exit_code),
        ]
    soak.findings += [Finding("commands of manage.py beside it", operator.commands.total(), "commands", operator.wrong)]
    soak.findings.append(judge_growth(soak))
    soak.events = {event: sum(1 for _, done in disruptions.done if done == event) for event in ("kill", "reload")}
    soak.commands = dict(operator.commands)
    return soak


def _look(service: Service, began: float, ledger: Ledger, *, resting: bool) -> list[Sample]:
    now, ids = time.monotonic() - began, ledger.remembered()
    pids = [service.process.pid, *children(service.process.pid)]
    looks = (sample(pid, seconds=now, ids=ids, resting=resting) for pid in pids)
    return [one for one in looks if one is not None]


def _rest(service: Service, crowd: list[Client], began: float, ledger: Ledger) -> list[Sample]:
    """Let all clients rest until no process closes anything any more; return what each holds then."""
    for client in crowd:
        client.rest()
    for client in crowd:
        client.wait_until_resting()
    least: dict[int, Sample] = {}
    falls = deadline = time.monotonic()
    while time.monotonic() < min(falls + 1.5, deadline + 20):
        for one in _look(service, began, ledger, resting=True):
            known = least.get(one.pid)
            if known is None or one.descriptors < known.descriptors:
                least[one.pid], falls = one, time.monotonic()
        time.sleep(0.1)
    for client in crowd:
        client.resume()
    return [*least.values()]


def judge_logos(data_dir: Path, ledger: Ledger, operator: Operator, *, verified: bool) -> Finding:
    """Compare the store and its last backup with what the clients were promised."""
    losses = [] if verified else ["manage.py verify found damage"]
    with EmbeddingStore(data_dir / STORE, writable=False) as store:
        blocks = [*store.snapshot().blocks()]
        dim = store.dim
    ids = np.concatenate([np.zeros(0, np.int64), *(block for block, _ in blocks)])
    embeddings = np.concatenate([np.zeros((0, dim), np.float32), *(vectors for _, vectors in blocks)])
    losses += ledger.losses(ids, embeddings)
    if operator.backup is not None:
        with EmbeddingStore(operator.backup, writable=False) as store:
            lost = set(ledger.still(operator.backed_up)) - set(store.ids().tolist())
            losses += [f"the backup lacks {sorted(lost)[:20]}"] if lost else []
            losses += [f"the backup is damaged: {row}" for row in store.verify()]
    return Finding("logos acknowledged under load", ledger.remembered(), "logos", losses)


def judge_answers(record: Record, done: Sequence[tuple[float, str]]) -> Finding:
    """List each wrong answer, and each missing answer that no kill or reload in `done` explains."""
    unexplained = [what for began, ended, what in record.unanswered if not explained(done, began, ended)]
    losses = [*record.wrong, *(f"no answer, and no restart to explain it: {what}" for what in unexplained)]
    return Finding("answers to all routes, good and bad requests", record.requests, "answers", losses)


def judge_log(path: Path, exit_code: int) -> Finding:
    """List each traceback in the log of the service, and report a bad exit status."""
    losses = [] if exit_code == 0 else [f"the service ended with {exit_code}"]
    lines = 0
    with path.open(errors="replace") as log:
        for line in log:
            lines += 1
            if "Traceback" in line:
                losses.append(f"line {lines} of the log begins a traceback")
    return Finding("the service's log", lines, "lines", losses)


def judge_growth(soak: Soak) -> Finding:
    """Judge the master and the workers that lived for most of the run; there must be such a worker."""
    for samples in soak.samples.values():
        lived = samples[-1].seconds - samples[0].seconds
        if lived >= JUDGED * soak.seconds and len(samples) >= 4 * BLOCKS:
            soak.growths.append(growth(samples, most_threads=MOST_THREADS))
    losses = [what for one in soak.growths for what in one.wrong]
    if len(soak.growths) < 2:
        losses.append("no worker lived long enough to be judged")
    return Finding("memory, descriptors and threads of a process", len(soak.growths), "processes", losses)


@click.command()
@click.option("--minutes", default=60.0, show_default=True, help="How long the load lasts.")
@click.option("--clients", default=8, show_default=True, help="Number of concurrent clients.")
@click.option("--seed", default=1, show_default=True)
@click.option("--pause", default=0.05, show_default=True, help="Seconds between two requests of a client.")
@click.option("--sample-seconds", default=5.0, show_default=True)
@click.option("--rests", default=20, show_default=True, help="How often all clients rest, to count what is still held.")
@click.option("--most-logos", default=10_000, show_default=True, help="Size from which the store grows no further.")
@click.option("--directory", type=click.Path(path_type=Path, file_okay=False), help="Kept. [default: a temporary one]")
def soak(
    minutes: float,
    clients: int,
    seed: int,
    pause: float,
    sample_seconds: float,
    rests: int,
    most_logos: int,
    directory: Path | None,
) -> None:
    """Load the real service for minutes or hours: nothing is lost, nothing grows."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))  # so that the service ends too
    with tempfile.TemporaryDirectory() as temporary:
        found = run(
            directory or Path(temporary),
            seconds=60 * minutes,
            clients=clients,
            seed=seed,
            pause=pause,
            sample_seconds=sample_seconds,
            rests=rests,
            most_logos=most_logos,
        )
    click.echo("\n".join([HEADER, *(finding.row() for finding in found.findings), "", found.tables()]))
    losses = [loss for finding in found.findings for loss in finding.losses]
    for loss in losses:
        click.echo(loss, err=True)
    sys.exit(bool(losses))
