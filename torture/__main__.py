"""`python -m torture TEST`: each test is a command that fails if anything was lost."""

from __future__ import annotations

import click

from torture.ext4 import ext4
from torture.fuzz import fuzz_images, fuzz_index, fuzz_store
from torture.kill_contention import processes
from torture.kills import kills
from torture.power_loss import power_loss
from torture.soak import soak


@click.group(commands=[kills, processes, power_loss, ext4, fuzz_store, fuzz_images, fuzz_index, soak])
def cli() -> None:
    """Test what is claimed of the store and the service."""


if __name__ == "__main__":
    cli()
