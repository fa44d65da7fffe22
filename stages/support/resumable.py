"""Keep what an interrupted run has finished, so that the next run resumes there: a folder for each piece of work.

The folder's name is a hash of all that the result depends on, so other code or other data never resume the work.
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
    """Return a hash of the JSON of `parts` and of the sources of `module`, an imported module: 16 hexadecimal digits."""
    return hashlib.sha256(json.dumps([*parts, source_digest(module)], sort_keys=True).encode()).hexdigest()[:16]


@contextlib.contextmanager
def kept(folder: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Hold `folder`, named by `work_key`: it exists within the block, which one process at a time enters.

    It is removed when the block succeeds. If an error ends the block, or the process is killed, the next run finds it.
    say : takes the line that is shown while this process waits for another one that does the same work.

    Raises
    ------
    risloc.utils.atomic_files.DiskFullError
        No room for the work; its message names a file of it.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = folder.with_name(f"{folder.name}.lock")

    def wait() -> None:
        say(f"Another run is doing the same work ({folder.name}); waiting until it has finished")

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
    """Remove the half-written files of writers that were killed."""
    for half_written in folder.rglob("*.part"):
        half_written.unlink(missing_ok=True)


def sources(module: str) -> dict[str, str]:
    """Return the source of an imported module and of all of risloc and stages that it imports, by file."""
    file = Path(str(sys.modules[module].__file__)).resolve()
    start = file.relative_to(_ROOT) if file.is_relative_to(_ROOT) else file
    return {str(path): (_ROOT / path).read_text(encoding="utf-8") for path in sorted(closure(_ROOT, start))}


def source_digest(module: str) -> str:
    """Return a hash of `sources`: only the code that began an interrupted run resumes its work."""
    return hashlib.sha256("\0".join(sources(module).values()).encode()).hexdigest()[:16]
