"""The operator's commands. They are in `commands/`, and their settings come from the environment.

The exit status is 0 for success, 1 for an error, and 2 for wrong arguments. An error is one line on the standard error.
"""

from __future__ import annotations

import logging
import os

# Before NumPy is imported: builds make many small products, and threads that wait for each other hold up busy cores:
# with two, the recall of an index of 200,000 logos took four times as long to measure.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import click

from commands.shell import Commands
from runtime import logs
from settings import Settings, unknown_variables

logger = logging.getLogger("manage")


COMMANDS = {
    "generate-index": "commands.build:generate_index",
    "export-model": "commands.build:export_model",
    "stats": "commands.report:stats",
    "evaluate": "commands.evaluate:evaluate",
    "verify": "commands.report:verify",
    "backup": "commands.store:backup",
    "restore": "commands.store:restore",
    "delete-logos": "commands.store:delete_logos",
    "compact": "commands.store:compact",
    "create-collection": "commands.collection:create_collection",
    "list-collections": "commands.collection:list_collections",
    "drop-collection": "commands.collection:drop_collection",
    "grow": "commands.store:grow",
    "repair": "commands.store:repair",
    "migrate-store": "commands.store:migrate_store",
    "export": "commands.transfer:export_logos",
    "import": "commands.transfer:import_logos",
    "re-embed": "commands.transfer:re_embed",
}


@click.group(cls=Commands, places=COMMANDS)
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Manage the logos of robotoff-ann and their indexes.

    The settings come from the environment, as for the service: ANN_DATA_DIR names the directory of the files.
    """
    settings = Settings.from_env()
    logs.configure(settings.log.level, settings.log.format)
    for sentence in unknown_variables():
        logger.warning("%s", sentence)
    ctx.obj = settings


if __name__ == "__main__":
    cli()
