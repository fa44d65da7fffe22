"""`risloc doctor`: the environment, what is missing, and whether a scene can be located here."""

import click

from risloc.cli.environment import findings, report, verdict
from risloc.cli.errors import NOT_DONE, CommandError

__all__ = ["doctor"]


@click.command()
@click.option("--json", "as_json", is_flag=True, help="As JSON, for scripts.")
def doctor(as_json: bool) -> None:
    """Say what is installed, what is missing and how to get it, and locate a source to see that all works.

    \b
    Examples:
      risloc doctor
      risloc doctor --json
    """
    found = findings()
    click.echo(report(found, as_json))
    if bad := verdict(found):
        raise CommandError(bad, NOT_DONE)
