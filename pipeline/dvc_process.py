"""`python -m pipeline.dvc_process ARGUMENTS` runs `dvc ARGUMENTS`; the exit code says whether another try may help.

dvc's own exit code is 255 for almost every failure, whatever that of the stage was. So a stage that fails for a transient
reason leaves a mark for this process, and dvc's exceptions are recognised by their type, in the records that dvc logs.
"""

import contextlib
import logging
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

__all__ = ["TRANSIENT", "main", "mark_transient"]

TRANSIENT = os.EX_TEMPFAIL
"""The exit code (75) of a stage, and of this process, that failed for a transient reason."""

_MARK = "RISLOC_TRANSIENT_MARK"


def main(arguments: Sequence[str]) -> int:
    """Run dvc in this process.

    Returns
    -------
    int
        dvc's exit code, or `TRANSIENT` where dvc failed because another dvc held a lock or a stage said `mark_transient`.
    """
    from dvc.cli import main as dvc
    from dvc.lock import LockError

    logged = _LastException()
    logging.getLogger("dvc").addHandler(logged)
    with tempfile.TemporaryDirectory(prefix="risloc-dvc-") as folder:
        mark = Path(folder) / "transient"
        os.environ[_MARK] = str(mark)
        code: int = dvc(list(arguments))
        transient = mark.exists() or any(isinstance(error, LockError) for error in _causes(logged.error))
    return TRANSIENT if code and transient else code


def mark_transient() -> None:
    """Tell the process that runs dvc, if there is one, that this stage failed for a transient reason."""
    if path := os.environ.get(_MARK):
        with contextlib.suppress(OSError):  # a full disk must not hide why the stage failed
            Path(path).touch()


class _LastException(logging.Handler):
    """Keeps the last exception that was logged."""

    error: BaseException | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the record's exception, if it has one."""
        if record.exc_info:
            self.error = record.exc_info[1]


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The exception, what caused it, what caused that, and so on."""
    while error is not None:
        yield error
        error = error.__cause__


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
