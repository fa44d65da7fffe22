"""A small disk of its own for a test: a tmpfs that can be filled and enlarged."""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

__all__ = ["Disk", "can_mount", "mounted"]

_REST = "rest"


class Disk:
    """A file system at `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def resize(self, size: int) -> None:
        """Have it hold `size` bytes from now on."""
        subprocess.run(["mount", "-o", f"remount,size={size}", str(self.root)], check=True, capture_output=True)

    def fill(self) -> None:
        """Leave no byte free."""
        with contextlib.suppress(OSError), (self.root / _REST).open("ab", buffering=0) as file:
            while file.write(bytes(4096)):
                pass

    def empty(self) -> None:
        """Give back what `fill` took."""
        (self.root / _REST).unlink()


@contextlib.contextmanager
def mounted(root: Path, size: int) -> Iterator[Disk]:
    """A disk of `size` bytes, which is gone afterwards. CalledProcessError where this process may not mount."""
    root.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(root)], check=True, capture_output=True)
    try:
        yield Disk(root)
    finally:
        subprocess.run(["umount", "--lazy", str(root)], check=True, capture_output=True)


def can_mount(folder: Path) -> bool:
    """Whether this process may mount a tmpfs."""
    try:
        with mounted(folder / "probe", 4096):
            return True
    except (subprocess.CalledProcessError, FileNotFoundError):
        return False
