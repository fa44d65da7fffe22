"""The program `risloc`. It imports the standard library alone, so that it can report what is missing."""

import signal
import sys
from types import FrameType

from risloc.cli.errors import INTERRUPTED, NOT_DONE
from risloc.cli.interruption import TERMINATED, end_at_once, leave

__all__ = ["main", "run"]


class _Terminated(BaseException):
    """SIGTERM arrived."""


def main() -> None:
    """Run the command line of this process and exit."""
    end_at_once()
    signal.signal(signal.SIGTERM, _terminate)
    try:
        code = run(sys.argv[1:])
    except _Terminated:
        leave(TERMINATED)
    except KeyboardInterrupt:  # a second Ctrl-C, while the first was reported
        leave(INTERRUPTED)
    if code == INTERRUPTED:
        leave(code)
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """Run a command line. An error is reported in one line on standard error.

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
        from risloc.cli.group import run_group
    except ImportError as error:
        return _without_click(arguments, error)
    return run_group(arguments)


def _without_click(arguments: list[str], error: ImportError) -> int:
    """Report that click is missing; `risloc doctor` still reports everything."""
    from risloc.cli.environment import findings, report, verdict

    message = f"cannot import the package click ({error}); run: pip install 'click>=8.1,<9'"
    if arguments[:1] == ["doctor"]:
        checks = findings()
        print(report(checks, as_json="--json" in arguments))
        message = verdict(checks) or message
    sys.stderr.write(f"risloc: {message}\n")
    return NOT_DONE


def _terminate(number: int, frame: FrameType | None) -> None:
    raise _Terminated
