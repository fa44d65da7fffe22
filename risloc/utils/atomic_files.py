"""Files that are written completely or not at all, whether the writing ends in an error, a kill or a full disk."""

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
    """The disk is full: the message names the file and its file system and says what to do."""

    def __str__(self) -> str:
        return str(self.strerror)


def full(error: OSError) -> int | None:
    """Return the error number of an error that means "no space left"; None for any other error.

    Parameters
    ----------
    error
        The error to examine.

    Returns
    -------
    int or None
        Its number.
    """
    if isinstance(error, shutil.Error):  # from copying a folder: (source, target, message) for each file
        words = str(error)
        return next((number for number in _FULL if f"[Errno {number}]" in words), None)
    return error.errno if error.errno in _FULL else None


@contextlib.contextmanager
def writing(path: "str | os.PathLike[str]") -> Iterator[None]:
    """Raise DiskFullError, which names the path, if the block runs out of disk space; pass other errors on.

    Parameters
    ----------
    path
        The file that the block writes.

    Yields
    ------
    None
        Nothing.

    Raises
    ------
    DiskFullError
        There is no space left on the file system.
    """
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
    """Yield a temporary path beside `path` that replaces it only if the block succeeds.

    The mode of an existing file is kept. A link is replaced and its target left alone, because DVC's outputs may be links
    into its cache. To write to the target of a link, resolve it with `target_of` first.

    Parameters
    ----------
    path
        The file to replace.

    Yields
    ------
    Path
        The temporary path to write to.

    Raises
    ------
    DiskFullError
        There is no space left; `path` is unchanged and the temporary file is removed.
    ValueError
        `path` exists and is neither a regular file nor a link.
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
    """Follow links to the file that `path` means, which need not exist.

    Parameters
    ----------
    path
        A file or a link.

    Returns
    -------
    Path
        The resolved path.

    Raises
    ------
    ValueError
        The target exists and is not a regular file.
    """
    _mode(Path(path), follow=True)
    return Path(os.path.realpath(path))


def write_bytes(path: "str | os.PathLike[str]", content: bytes) -> None:
    """Write a file completely or not at all; see `replacing`.

    Parameters
    ----------
    path
        The file to write.
    content
        The bytes to write.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def _mode(path: Path, *, follow: bool) -> int | None:
    """Return the mode of an existing regular file; None for a link that is not followed, or if nothing exists."""
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
