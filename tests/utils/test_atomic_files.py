"""Files are whole or as they were; the error of a full disk names the file, the place and the remedy."""

import errno
import os
import pickle
import shutil
import socket
import stat
from pathlib import Path

import pytest

from risloc.utils.atomic_files import DiskFullError, replacing, target_of, write_bytes, writing


def test_a_file_is_replaced_whole_and_its_folder_made(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file"
    write_bytes(path, b"one")
    with pytest.raises(KeyboardInterrupt):
        _interrupted(path, KeyboardInterrupt())
    assert path.read_bytes() == b"one"
    write_bytes(path, b"two")
    assert path.read_bytes() == b"two"
    assert list(path.parent.iterdir()) == [path]


def _interrupted(path: Path, error: BaseException) -> None:
    with replacing(path) as temporary:
        temporary.write_bytes(b"half of")
        raise error


@pytest.mark.parametrize("kind", ["FIFO", "socket", "folder"])
def test_what_is_no_file_is_not_replaced_by_one(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's name must be short
    path, link = Path("there"), Path("link")
    link.symlink_to(path)
    if kind == "socket":
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(str(path))
    else:
        {"FIFO": os.mkfifo, "folder": os.mkdir}[kind](path)
    before = path.stat()
    words = f"expected a regular file or a new name, got a {kind}; give another name"
    with pytest.raises(ValueError, match=f"there: {words}"):
        write_bytes(path, b"one")
    for each in (path, link):
        with pytest.raises(ValueError, match=f"{each}: {words}"):
            target_of(each)
    assert path.stat().st_ino == before.st_ino
    assert sorted(tmp_path.iterdir()) == [tmp_path / "link", tmp_path / "there"]


def test_the_mode_of_a_file_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"one")
    path.chmod(0o640)
    write_bytes(path, b"two")
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_link_is_replaced_and_its_target_is_written_where_that_is_meant(tmp_path: Path) -> None:
    """DVC's outputs may be links into its cache, which nothing may change."""
    path, link, lost = (tmp_path / name for name in ("file", "link", "lost"))
    link.symlink_to("file")
    lost.symlink_to("new")
    path.write_bytes(b"one")
    write_bytes(target_of(link), b"two")
    assert (path.read_bytes(), link.is_symlink()) == (b"two", True)
    write_bytes(target_of(lost), b"three")
    assert ((tmp_path / "new").read_bytes(), lost.is_symlink()) == (b"three", True)
    write_bytes(link, b"four")
    assert (path.read_bytes(), link.read_bytes(), link.is_symlink()) == (b"two", b"four", False)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_no_room_is_told_with_file_place_and_remedy(tmp_path: Path, number: int) -> None:
    path = tmp_path / "file"
    with pytest.raises(DiskFullError) as caught:
        _interrupted(path, OSError(number, "no room"))
    assert str(caught.value).startswith(f"{path}: ")
    assert "; free some space and start again" in str(caught.value)
    assert caught.value.errno == number
    assert list(tmp_path.iterdir()) == []


def test_the_innermost_file_is_the_one_that_is_named(tmp_path: Path) -> None:
    named = pytest.raises(DiskFullError, match="inner: No space left on device")
    with named, writing(tmp_path / "outer"), writing(tmp_path / "inner"):
        raise OSError(errno.ENOSPC, "no room")


def test_a_folder_that_cannot_be_copied_for_want_of_room_is_named(tmp_path: Path) -> None:
    with pytest.raises(DiskFullError, match="target: No space left on device"), writing(tmp_path / "target"):
        raise shutil.Error([("a", "b", str(OSError(errno.ENOSPC, "No space left on device")))])


@pytest.mark.parametrize("error", [OSError(errno.EACCES, "no"), OSError("no number"), shutil.Error([("a", "b", "c")])])
def test_other_errors_are_left_as_they_are(tmp_path: Path, error: OSError) -> None:
    with pytest.raises(type(error)) as caught, writing(tmp_path):
        raise error
    assert caught.value is error


def test_the_error_comes_whole_out_of_another_process(tmp_path: Path) -> None:
    with pytest.raises(DiskFullError) as caught, writing(tmp_path / "file"):
        raise OSError(errno.ENOSPC, "no room")
    there = pickle.loads(pickle.dumps(caught.value))  # noqa: S301 - our own
    assert (type(there), str(there), there.errno) == (DiskFullError, str(caught.value), errno.ENOSPC)
