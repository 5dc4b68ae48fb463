"""The operator's commands: `commands/` holds them, the settings come from the environment.

They exit with 0 when all is well, with 1 when something is wrong and with 2 when they were called wrongly.
What went wrong is one line on the standard error.
"""

from __future__ import annotations

import click

from commands import build, report, store, transfer
from commands.shell import Commands
from runtime import logs as log_lines
from runtime.startup import warn_of_unknown_variables
from settings import Settings


@click.group(cls=Commands)
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Look after the logos of robotoff-ann and their indexes.

    The settings come from the environment, as the service's do: ANN_DATA_DIR says where the files lie.
    """
    settings = Settings.from_env()
    log_lines.configure(settings.log.level, settings.log.format)
    warn_of_unknown_variables()
    ctx.obj = settings


for command in (
    build.generate_index,
    build.export_model,
    report.stats,
    report.verify,
    store.backup,
    store.restore,
    store.delete_logos,
    store.compact,
    store.grow,
    store.repair,
    store.migrate_store,
    transfer.export_logos,
    transfer.import_logos,
    transfer.re_embed,
):
    cli.add_command(command)


if __name__ == "__main__":
    cli()
