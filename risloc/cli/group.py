"""The group of commands: imports each command when it is run, and turns its errors into messages and exit codes."""

import importlib
import os
import re
import sys
from typing import Any

import click

from risloc.cli.errors import BAD_INPUT, EXIT_CODES, INTERRUPTED, NOT_DONE, CommandError
from risloc.cli.interruption import end_in_order

__all__ = ["cli", "run_group"]

_PIPE_CLOSED = 141
_CODES = "\n".join(f"  {code:<5}{meaning}" for code, meaning in EXIT_CODES.items())
_COMMANDS = {
    "locate": "Locate the sources in FILE, a measurement file in HDF5.",
    "view": "Show the scenes in FILE and their sources on an interactive page.",
    "simulate": "Simulate scenes and write them to FILE as measurements, with the truth.",
    "trace": "Ray-trace scenes in a room and write them to FILE as measurements, with the truth.",
    "convert": "Convert IN, measurements that another program has written, to the layout of risloc in OUT.",
    "inspect": "Describe and check a measurement file, a shard, a folder of shards or a checkpoint.",
    "doctor": "Check the installation: list its packages, and locate a simulated source.",
}
"""The name of each command, which is also that of its module, and the first sentence of its help."""


class _PipeClosedError(Exception):
    """The reader of the output closed it."""


class _Commands(click.Group):
    """Keeps click from ending the process when a pipe is closed, which has an exit code of its own."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise _PipeClosedError from None


class _LazyCommand(click.Command):
    """A command in the list of commands. Its module, which takes seconds to import, is imported when it is run."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        module = importlib.import_module(f"risloc.cli.{self.name}")
        end_in_order()
        command: click.Command = getattr(module, str(self.name))
        return command.make_context(info_name, args, parent, **extra)


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=f"\b\nExit codes:\n{_CODES}",
)
@click.version_option(package_name="risloc", prog_name="risloc")
def cli() -> None:
    """Locate radio sources in the near field of a reconfigurable intelligent surface.

    \b
    To get started:
      risloc doctor                       check the installation
      risloc simulate room.h5             simulate measurements of a room
      risloc inspect room.h5              describe and check the file
      risloc locate room.h5               locate the sources
      risloc view room.h5                 show them on an interactive page

    Each command has its own help: risloc locate --help.
    """


for _name, _help in _COMMANDS.items():
    cli.add_command(_LazyCommand(_name, help=_help))


def run_group(arguments: list[str]) -> int:
    """Run a command line.

    Parameters
    ----------
    arguments
        The words after the name of the program.

    Returns
    -------
    int
        The exit code, one of `risloc.cli.errors.EXIT_CODES`.
    """
    try:
        result = cli.main(arguments, prog_name="risloc", standalone_mode=False)
        if sys.stdout is not None:  # None if it was closed before the program started
            sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except (click.Abort, KeyboardInterrupt):
        return _report("interrupted", INTERRUPTED)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except CommandError as error:
        return _report(str(error), error.code)
    except (_PipeClosedError, BrokenPipeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that closing it does not fail again
        return _PIPE_CLOSED
    except ImportError as error:
        package = f"the package {error.name}" if error.name else "a package"
        return _report(f"cannot import {package} ({error}); `risloc doctor` shows how to install it", NOT_DONE)
    except OSError as error:
        return _report(_os_message(error), NOT_DONE)
    except MemoryError:
        return _report("out of memory; a file with fewer elements, antennas or snapshots needs less", NOT_DONE)
    except LookupError as error:
        return _report(f"the input lacks {error}; create the file again", BAD_INPUT)
    except ValueError as error:  # raised by the science about its input, which the message names
        return _report(str(error), BAD_INPUT)


def _os_message(error: OSError) -> str:
    """Describe the error with the name that the user gave, not that of the temporary file beside it (`risloc.utils.atomic_files`)."""
    message = error.strerror or str(error)
    if error.filename is not None:
        message = f"{error.filename}: cannot read or write it: {message}"
    return re.sub(r"\.([^/'\"]+)\.\d+\.part\b", r"\1", message)


def _report(message: str, code: int) -> int:
    click.echo(f"risloc: {' '.join(message.split())}", err=True)
    return code
