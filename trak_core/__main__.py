"""The command line: `python -m trak_core`. Exit status 0 is success, 2 a usage or input error, 1 anything else."""

import os
import sys

import click

from trak_core import threads  # before torch, which the commands bring in
from trak_core.commands import building, cleaning, custom_data, exchange, judging, looking, reviewing


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Training-data attribution: build runs, list them, look into them, check them.

    Runs lie in data/runs of the folder where this is started, or in the directory that TRAK_RUNS_DIR names.
    """


threads.wait_passively()
for module in (building, cleaning, custom_data, exchange, judging, looking, reviewing):
    for command in vars(module).values():
        if isinstance(command, click.Command):
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
