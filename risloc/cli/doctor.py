"""`risloc doctor`: checks the installation and locates a simulated source."""

import click

from risloc.cli.environment import findings, report, verdict
from risloc.cli.errors import NOT_DONE, CommandError

__all__ = ["doctor"]


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")
def doctor(as_json: bool) -> None:
    """Check the installation: list its packages, and locate a simulated source.

    \b
    Examples:
      risloc doctor
      risloc doctor --json
    """
    checks = findings()
    click.echo(report(checks, as_json))
    if fault := verdict(checks):
        raise CommandError(fault, NOT_DONE)
