"""`python -m torture TEST`: each test has a command, which fails if anything was lost."""

from __future__ import annotations

import click


@click.group()
def cli() -> None:
    """Try what is claimed of the store and the service."""


if __name__ == "__main__":
    cli()
