"""The commands together, each imported when it is run, and what becomes of their errors."""

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
_CODES = "\n".join(f"  {code:<5}{words}" for code, words in EXIT_CODES.items())
_COMMANDS = {
    "locate": "Locate the sources in FILE, measurements in HDF5 (docs/command_line.md has the layout).",
    "view": "Show the scenes in FILE and their sources on an interactive page, until Ctrl-C.",
    "simulate": "Draw scenes and write them to FILE as measurements, with the truth beside them.",
    "trace": "Trace waves in a room and write scenes to FILE as measurements, with the truth beside them.",
    "inspect": "Say what is in a measurement file, a shard, a folder of shards, or a checkpoint, and check it.",
    "doctor": "Say what is installed, what is missing and how to get it, and locate a source to see that all works.",
}
"""Each command's module and name, and how its help begins."""


class _PipeClosedError(Exception):
    """Who read the output went away."""


class _Commands(click.Group):
    """Keeps click from ending the process when a pipe is closed: that has its own exit code."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise _PipeClosedError from None


class _Later(click.Command):
    """A command as the list of them shows it; its module, which takes seconds, is imported when it is used."""

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
    The first minute:
      risloc doctor                       is all there?
      risloc simulate room.h5             measurements of a simulated room
      risloc inspect room.h5              what is in them
      risloc locate room.h5               where the sources are
      risloc view room.h5                 the same as a page

    Every command explains itself: risloc locate --help.
    """


for _name, _words in _COMMANDS.items():
    cli.add_command(_Later(_name, help=_words))


def run_group(arguments: list[str]) -> int:
    """Run a command line; the exit code."""
    try:
        result = cli.main(arguments, prog_name="risloc", standalone_mode=False)
        if sys.stdout is not None:  # None where it was closed before the start
            sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except (click.Abort, KeyboardInterrupt):
        return _said("interrupted", INTERRUPTED)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except CommandError as error:
        return _said(str(error), error.code)
    except (_PipeClosedError, BrokenPipeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that closing it does not fail once more
        return _PIPE_CLOSED
    except ImportError as error:
        what = f"the package {error.name}" if error.name else "a package"
        return _said(f"expected {what}, it cannot be imported ({error}); `risloc doctor` says how to get it", NOT_DONE)
    except OSError as error:
        return _said(_system_s(error), NOT_DONE)
    except MemoryError:
        return _said("out of memory; a file with fewer elements, antennas or snapshots needs less", NOT_DONE)
    except LookupError as error:
        return _said(f"expected {error} in what was read, it is missing; make the file again", BAD_INPUT)
    except ValueError as error:  # what the science says of its input; the message names it
        return _said(str(error), BAD_INPUT)


def _system_s(error: OSError) -> str:
    """Its words, with the name that was given: files are written under one beside it (`risloc.utils.atomic_files.replacing`)."""
    words = error.strerror or str(error)
    if error.filename is not None:
        words = f"{error.filename}: expected to read or write it, got {words}; mend the path, or what it leads to"
    return re.sub(r"\.([^/'\"]+)\.\d+\.part\b", r"\1", words)


def _said(words: str, code: int) -> int:
    click.echo(f"risloc: {' '.join(words.split())}", err=True)
    return code
