"""Files that are whole or not there, whatever ends their writing: an error, a kill, a full disk."""

import contextlib
import errno
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

__all__ = ["DiskFullError", "full", "replacing", "target_of", "write_bytes", "writing"]

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
    stat.S_IFSOCK: "a socket",
}


class DiskFullError(OSError):
    """There was no room for a file: the message says for which, on what file system, and what to do."""

    def __str__(self) -> str:
        return str(self.strerror)


def full(error: OSError) -> int | None:
    """The number of an error that says that there was no room; None for any other."""
    if isinstance(error, shutil.Error):  # of a folder: (source, target, words) for each file
        words = str(error)
        return next((number for number in _FULL if f"[Errno {number}]" in words), None)
    return error.errno if error.errno in _FULL else None


@contextlib.contextmanager
def writing(path: "str | os.PathLike[str]") -> Iterator[None]:
    """Raise DiskFullError, which names `path`, where the block finds no room; other errors are left as they are."""
    try:
        yield
    except DiskFullError:
        raise
    except OSError as error:
        number = full(error)
        if number is None:
            raise
        where = next(place for place in Path(path).absolute().parents if os.path.ismount(place))
        raise DiskFullError(
            number,
            f"{path}: {os.strerror(number)} ({where}); free some space and start again",
        ) from error


@contextlib.contextmanager
def replacing(path: "str | os.PathLike[str]") -> Iterator[Path]:
    """A temporary path beside `path` to write to; it takes the place of `path` only when the block ends well.

    The mode of a file that is there is kept. A link is replaced and what it leads to left alone: DVC's outputs may be links
    into its cache. Who wants that written gives `target_of` the link.

    Raises
    ------
    DiskFullError
        Nothing is left of what was written, and `path` is as it was.
    ValueError
        What is there is neither a regular file nor a link.
    """
    path = Path(path)
    mode = _mode(path, follow=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with writing(path):
            yield temporary
        if mode is not None:
            temporary.chmod(mode)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def target_of(path: "str | os.PathLike[str]") -> Path:
    """The file that is meant by `path`, links followed; it need not be there.

    Raises
    ------
    ValueError
        What is there is no regular file.
    """
    _mode(Path(path), follow=True)
    return Path(os.path.realpath(path))


def write_bytes(path: "str | os.PathLike[str]", content: bytes) -> None:
    """Write `content`, whole or not at all; see `replacing`."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def _mode(path: Path, *, follow: bool) -> int | None:
    """The mode of the regular file that is there; None of a link that is not followed, or where nothing is."""
    try:
        mode = path.stat(follow_symlinks=follow).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    if stat.S_ISLNK(mode):
        return None
    if not stat.S_ISREG(mode):
        kind = _KINDS.get(stat.S_IFMT(mode), "something else")
        raise ValueError(f"{path}: expected a regular file or a new name, got {kind}; give another name")
    return stat.S_IMODE(mode)
