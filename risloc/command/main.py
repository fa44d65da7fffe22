"""`risloc`: the commands together, and what becomes of their errors."""

import importlib.metadata
import os
import signal
import sys
from types import FrameType

import click

from risloc.command.doctor import doctor
from risloc.command.inspect import inspect
from risloc.command.locate import locate
from risloc.command.simulate import simulate
from risloc.command.trace import trace
from risloc.command.view import view
from risloc.command.words import BAD_INPUT, EXIT_CODES, INTERRUPTED, NOT_DONE, CommandError

__all__ = ["cli", "main", "run"]

_ENDED, _PIPE_CLOSED = 143, 141
_CODES = "\n".join(f"  {code:<5}{words}" for code, words in EXIT_CODES.items())


class _PipeClosedError(Exception):
    """Who read the output went away."""


class _Commands(click.Group):
    """Keeps click from ending the process when a pipe is closed: that has its own exit code."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise _PipeClosedError from None


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=f"\b\nExit codes:\n{_CODES}",
)
@click.version_option(importlib.metadata.version("risloc"), prog_name="risloc")
def cli() -> None:
    """Locate radio sources in the near field of a reconfigurable intelligent surface.

    \b
    The first minute:
      risloc doctor                       is all there?
      risloc simulate room.h5             measurements of a simulated room
      risloc inspect room.h5              what is in them
      risloc locate room.h5               where the sources are
      risloc view room.h5                 the same as a page

    Every command explains itself: risloc locate --help.
    """


for _command in (locate, view, simulate, trace, inspect, doctor):
    cli.add_command(_command)


def main() -> None:
    """The program: runs the command line of this process and ends it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell that starts a job with `&` has it ignore SIGINT
    signal.signal(signal.SIGTERM, _ended)
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run a command line; the exit code. An error is one line on the standard error output."""
    try:
        result = cli.main(arguments, prog_name="risloc", standalone_mode=False)
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except click.Abort:
        return _said("interrupted", INTERRUPTED)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except CommandError as error:
        return _said(str(error), error.code)
    except (_PipeClosedError, BrokenPipeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that closing it does not fail once more
        return _PIPE_CLOSED
    except OSError as error:
        return _said(str(error), NOT_DONE)
    except MemoryError:
        return _said("out of memory; a file with fewer elements, antennas or snapshots needs less", NOT_DONE)
    except LookupError as error:
        return _said(f"expected {error} in what was read, it is missing; make the file again", BAD_INPUT)
    except ValueError as error:  # what the science says of its input; the message names it
        return _said(str(error), BAD_INPUT)


def _said(words: str, code: int) -> int:
    click.echo(f"risloc: {' '.join(words.split())}", err=True)
    return code


def _ended(number: int, frame: FrameType | None) -> None:
    sys.exit(_ENDED)
