"""Run a newcomer's first commands and write docs/first_ten_minutes.md: each command, what it said, how long it took.

    python -m docs.build.first_minutes [FOLDER]        default: docs, which is the page of the site

The commands run one after another in an empty folder of their own. One that fails ends the recording, and no page is
written: what the page shows has happened.
"""

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from risloc.utils.atomic_files import write_bytes

__all__ = ["COMMANDS", "RecordingError", "record", "said_by"]

COMMANDS = (
    ("Check the installation.", "risloc doctor"),
    ("List the commands; the `--help` of each command has examples.", "risloc --help"),
    ("Simulate four scenes of the default scenario, with their truth.", "risloc simulate default.h5 --scenes 4"),
    ("Show the contents of the file.", "risloc inspect default.h5"),
    ("Locate the sources and their echoes.", "risloc locate default.h5 --csv found.csv --png found.png"),
    ("Locate them with the shipped network.", "risloc locate default.h5 --method hybrid"),
    ("Look at the output file.", "head -3 found.csv"),
    (
        "Write the results as an interactive page in one file; without --html the page is served to the browser.",
        "risloc view default.h5 --html default.html",
    ),
)
"""The description of each command, and the command."""

HEAD = """\
# The first ten minutes

This page shows a first session with `risloc`, after `make setup` and with `.venv/bin` on the path.
`python -m docs.build.first_minutes` runs the commands and records their output and times."""


class RecordingError(Exception):
    """A command failed, so there is nothing to show."""


def main() -> int:
    """Write the page; the exit code."""
    page = (Path(sys.argv[1]) if len(sys.argv) > 1 else Path("docs")) / "first_ten_minutes.md"
    with tempfile.TemporaryDirectory() as folder:
        try:
            text = record(COMMANDS, Path(folder))
        except RecordingError as error:
            sys.stderr.write(f"{page} is as it was: {error}\n")
            return 1
    write_bytes(page, text.encode())
    print(page)
    return 0


def record(commands: Sequence[tuple[str, str]], folder: Path) -> str:
    """The page: run the commands in `folder`, one after another, without a terminal.

    Raises
    ------
    RecordingError
        One of them failed: names it, its exit code and its last line.
    """
    parts, total = [HEAD], 0.0
    for words, command in commands:
        said, took = said_by(command, folder)
        total += took
        parts += [words, f"```console\n$ {command}\n{said}\n```", f"{took:.1f} s"]
    return "\n\n".join([*parts, f"All commands together took {total:.0f} s."]) + "\n"


def said_by(command: str, folder: Path, code: int = 0) -> tuple[str, float]:
    """What the command says, run in `folder` without a terminal, and the seconds that it took.

    Raises
    ------
    RecordingError
        It ends with another exit code than `code`: names it, its exit code and its last line.
    """
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    began = time.perf_counter()
    done = subprocess.run(
        command,
        shell=True,
        cwd=folder,
        env=os.environ | {"PATH": path, "COLUMNS": "100", "NO_COLOR": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    took = time.perf_counter() - began
    said = _plain(done.stdout, folder)
    if done.returncode != code:
        last = said.splitlines()[-1] if said else "nothing"
        wanted = "succeed" if code == 0 else f"end with exit code {code}"
        raise RecordingError(f"expected `{command}` to {wanted}, got exit code {done.returncode}; it said: {last}")
    return said, took


def _plain(said: str, folder: Path) -> str:
    """Without this machine's places and without a terminal's colours."""
    said = re.sub(r"\x1b\[[0-9;]*m", "", said)
    for place, name in ((folder, "."), (Path(sys.prefix), ".venv"), (Path.cwd(), "risloc"), (Path.home(), "~")):
        said = said.replace(str(place), name)
    return "\n".join(line.rstrip() for line in said.strip("\n").splitlines())


if __name__ == "__main__":
    sys.exit(main())
