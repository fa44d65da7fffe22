"""Run every command that docs/command_line.md shows and write beside it what it says now.

    python -m benchmarks.command_line [PAGE]        default: docs/command_line.md

The console blocks are run in the order of the page, in one empty folder; everything else of the page stays. It needs all that
the page shows (`make setup`, `make channels`). A command that ends otherwise than expected ends the run, and the page is as it was.
"""

import re
import sys
import tempfile
from collections.abc import Collection
from pathlib import Path

from benchmarks.first_minutes import RecordingError, said_by
from risloc.files import write_bytes

__all__ = ["FAILING", "commands_of", "rerun"]

FAILING = ("risloc locate other.h5",)
"""Commands that the page shows for what they refuse: exit code 1."""

_BLOCK = re.compile(r"^```console\n\$ (.+)\n((?:.*\n)*?)```$", re.MULTILINE)


def main() -> int:
    """Write the page anew; the exit code."""
    page = Path(sys.argv[1]) if len(sys.argv) > 1 else Path("docs/command_line.md")
    with tempfile.TemporaryDirectory() as folder:
        try:
            text = rerun(page.read_text(encoding="utf-8"), Path(folder), FAILING)
        except RecordingError as error:
            sys.stderr.write(f"{page} is as it was: {error}\n")
            return 1
    write_bytes(page, text.encode())
    print(page)
    return 0


def commands_of(page: str) -> list[str]:
    """The command of each console block."""
    return [command for command, _ in _BLOCK.findall(page)]


def rerun(page: str, folder: Path, failing: Collection[str] = ()) -> str:
    """The page with what its commands say in `folder`, one after another; those of `failing` must refuse.

    Raises
    ------
    RecordingError
        One of them ended otherwise: names it, its exit code and its last line.
    """

    def block(match: re.Match[str]) -> str:
        command = match[1]
        print(f"$ {command}", flush=True)
        said, _ = said_by(command, folder, code=1 if command in failing else 0)
        return "\n".join(["```console", f"$ {command}", *([said] if said else []), "```"])

    return _BLOCK.sub(block, page)


if __name__ == "__main__":
    sys.exit(main())
