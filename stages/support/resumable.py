"""What an interrupted run has finished, kept so that the next one goes on from there: a folder for each piece of work.

Its name is a hash of all that the result depends on, so nothing is ever gone on with by other code or on other data.
"""

import contextlib
import hashlib
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from risloc.utils.atomic_files import writing
from stages.support.file_lock import file_lock
from stages.support.imports import closure

__all__ = ["kept", "publish", "source_digest", "sources", "work_key"]

_ROOT = Path(__file__).resolve().parents[2]


def work_key(module: str, *parts: object) -> str:
    """A hash of the JSON of `parts` and of the sources of `module`, an imported module: 16 hexadecimal digits."""
    return hashlib.sha256(json.dumps([*parts, source_digest(module)], sort_keys=True).encode()).hexdigest()[:16]


@contextlib.contextmanager
def kept(folder: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Hold `folder`, named by `work_key`: it is there in the block, which one process at a time is in.

    It is removed when the block ends well. Whatever else ends the block, or the process, leaves it to the next run.
    say : gets a line where another process is at the same work, and this one waits.

    Raises
    ------
    risloc.utils.atomic_files.DiskFullError
        No room for the work; its message names a file of it.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = folder.with_name(f"{folder.name}.lock")

    def wait() -> None:
        say(f"Another run is at the same work ({folder.name}); waiting until it is done")

    with writing(folder), file_lock(lock, wait, remove=True):
        folder.mkdir(exist_ok=True)
        _sweep(folder)
        yield
        shutil.rmtree(folder)


def publish(made: Path, target: Path) -> None:
    """Put the folder `made` in the place of `target`, at once; across file systems it is copied beside it first."""
    _sweep(made)
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(f".{target.name}.part")
    shutil.rmtree(beside, ignore_errors=True)
    try:
        shutil.move(made, beside)
        if target.exists():
            shutil.rmtree(target)
        beside.replace(target)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _sweep(folder: Path) -> None:
    """Remove what a writer that was killed had half written: it takes up room, and is nobody's."""
    for half_written in folder.rglob("*.part"):
        half_written.unlink(missing_ok=True)


def sources(module: str) -> dict[str, str]:
    """Return the source of an imported module and of all of risloc and stages that it imports, by file."""
    file = Path(str(sys.modules[module].__file__)).resolve()
    start = file.relative_to(_ROOT) if file.is_relative_to(_ROOT) else file
    return {str(path): (_ROOT / path).read_text(encoding="utf-8") for path in sorted(closure(_ROOT, start))}


def source_digest(module: str) -> str:
    """A hash of `sources`: work kept from an interrupted run is only gone on with by the code that began it."""
    return hashlib.sha256("\0".join(sources(module).values()).encode()).hexdigest()[:16]
