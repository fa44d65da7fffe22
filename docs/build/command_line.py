"""Run every command that docs/command_line.md shows and write beside it what it says now.

    python -m docs.build.command_line [PAGE]        default: docs/command_line.md

The console blocks are run in the order of the page, in one empty folder; everything else of the page stays, and so do the
blocks of the ray-traced room where there is no ray tracer (`make channels`). A command that ends otherwise than expected ends the
run, and the page is as it was.
"""

import importlib.util
import re
import sys
import tempfile
from collections.abc import Collection
from pathlib import Path

from docs.build.first_minutes import RecordingError, said_by
from risloc.utils.atomic_files import write_bytes

__all__ = ["FAILING", "TRACED", "commands_of", "rerun"]

FAILING = ("risloc locate other.h5 --method hybrid",)
"""Commands that the page shows for what they refuse: exit code 1."""

TRACED = "hall.h5"
"""The file whose commands need the ray tracer."""

_BLOCK = re.compile(r"^```console\n\$ (.+)\n((?:.*\n)*?)```$", re.MULTILINE)


def main() -> int:
    """Write the page again; return the exit code."""
    page = Path(sys.argv[1]) if len(sys.argv) > 1 else Path("docs/command_line.md")
    kept = None if importlib.util.find_spec("sionna") else TRACED
    with tempfile.TemporaryDirectory() as folder:
        try:
            text = rerun(page.read_text(encoding="utf-8"), Path(folder), FAILING, kept)
        except RecordingError as error:
            sys.stderr.write(f"{page} is as it was: {error}\n")
            return 1
    write_bytes(page, text.encode())
    print(page)
    return 0


def commands_of(page: str) -> list[str]:
    """The command of each console block."""
    return [command for command, _ in _BLOCK.findall(page)]


def rerun(page: str, folder: Path, failing: Collection[str] = (), kept: str | None = None) -> str:
    """The page with what its commands say in `folder`, one after another.

    failing : commands that must refuse.  kept : commands that name this are not run, and stay.

    Raises
    ------
    RecordingError
        One of them ended otherwise: names it, its exit code and its last line.
    """

    def block(match: re.Match[str]) -> str:
        command = match[1]
        if kept is not None and kept in command.split():
            print(f"kept: $ {command}", flush=True)
            return match[0]
        print(f"$ {command}", flush=True)
        said, _ = said_by(command, folder, code=1 if command in failing else 0)
        return "\n".join(["```console", f"$ {command}", *([said] if said else []), "```"])

    return _BLOCK.sub(block, page)


if __name__ == "__main__":
    sys.exit(main())
