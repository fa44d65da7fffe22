"""The files of the outboxes: lines in `.state/outbox`, which a killed writer or a full disk leaves whole."""

import os
from contextlib import AbstractContextManager
from pathlib import Path

from pipeline import env
from risloc.utils.atomic_files import DiskFullError, writing

__all__ = ["append", "folder", "lines_of", "locked"]


def folder() -> Path:
    """The folder of all outboxes of this repository, created if need be."""
    path = env.STATE / "outbox"
    path.mkdir(parents=True, exist_ok=True)
    return path


def locked(path: Path) -> AbstractContextManager[object]:
    """Hold the lock of the outbox at `path`."""
    return env.lock(f"outbox-{path.stem}")


def lines_of(path: Path) -> list[str]:
    """Return the complete lines of a file, none if it does not exist; a line that is half written is left out."""
    return path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else []


def append(path: Path, lines: list[str]) -> None:
    """Add lines to a file, after its whole ones; DiskFullError, and they stay as they were."""
    end = path.read_bytes().rfind(b"\n") + 1 if path.exists() else 0
    try:
        with writing(path), path.open("ab") as file:
            file.truncate(end)
            file.write("".join(f"{line}\n" for line in lines).encode())
    except DiskFullError:
        if end:
            os.truncate(path, end)
        else:
            path.unlink(missing_ok=True)
        raise
