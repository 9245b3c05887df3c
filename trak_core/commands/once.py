"""A command that takes every option once: of two values the last would win without a word."""

from collections import Counter

import click

COLUMN = "COLUMN"
"""What stands for the name of a column in usage lines."""


class Command(click.Command):
    """A command that refuses an option given twice, unless it may be repeated."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click does, of arguments in which no option occurs twice.

        Raises:
            click.UsageError: one does.
        """
        _, _, order = self.make_parser(ctx).parse_args(list(args))
        for option, n_times in Counter(order).items():
            if isinstance(option, click.Option) and n_times > 1 and not (option.multiple or option.is_flag):
                joined = " Columns that belong together are joined in the table first." * (option.metavar == COLUMN)
                raise click.UsageError(f"{option.opts[0]} is given {n_times} times; give it once.{joined}", ctx)
        return super().parse_args(ctx, args)
