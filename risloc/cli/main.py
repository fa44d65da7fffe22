"""`risloc`, the program. What it imports itself is in the standard library: it must be able to say what is missing."""

import signal
import sys
from types import FrameType

from risloc.cli.errors import NOT_DONE
from risloc.cli.interruption import end_at_once

__all__ = ["main", "run"]

_ENDED = 143


def main() -> None:
    """The program: runs the command line of this process and ends it."""
    end_at_once()
    signal.signal(signal.SIGTERM, _ended)
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run a command line; the exit code. An error is one line on the standard error output."""
    try:
        from risloc.cli.group import run_group
    except ImportError as error:
        return _without_click(arguments, error)
    return run_group(arguments)


def _without_click(arguments: list[str], error: ImportError) -> int:
    """There is no command line then, but `risloc doctor` says so."""
    from risloc.cli.environment import findings, report, verdict

    words = f"expected the package click, it cannot be imported ({error}); pip install 'click>=8.1,<9'"
    if arguments[:1] == ["doctor"]:
        found = findings()
        print(report(found, as_json="--json" in arguments))
        words = verdict(found) or words
    sys.stderr.write(f"risloc: {words}\n")
    return NOT_DONE


def _ended(number: int, frame: FrameType | None) -> None:
    sys.exit(_ENDED)
