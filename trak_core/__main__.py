"""The command line: `python -m trak_core`. Exit status 0 is success, 2 a usage or input error, 1 anything else."""

import os
import sys

import click

from trak_core.commands.building import build, evidence, map_command, recipes
from trak_core.commands.custom_data import check, download_command
from trak_core.commands.exchange import export, export_table_command, import_command, import_scores_command
from trak_core.commands.looking import info, runs, verify_command
from trak_core.commands.reviewing import labels, retrain, suspects, what_if

COMMANDS = (
    build,
    check,
    download_command,
    evidence,
    export,
    export_table_command,
    import_command,
    import_scores_command,
    info,
    labels,
    map_command,
    recipes,
    retrain,
    runs,
    suspects,
    verify_command,
    what_if,
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Training-data attribution: build runs, list them, look into them, check them.

    Runs lie in data/runs of the folder where this is started, or in the directory that TRAK_RUNS_DIR names.
    """


for command in COMMANDS:
    cli.add_command(command)


def main() -> None:
    """What the console script `trak-core` runs: `python -m trak_core` under a shorter name.

    Python puts the current folder on the path for `-m` and not for scripts, and a person's own networks lie there.
    """
    if not sys.flags.safe_path:
        sys.path.insert(0, os.getcwd())
    cli()


if __name__ == "__main__":
    cli(prog_name="python -m trak_core")
