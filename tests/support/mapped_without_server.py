"""Mapped work in a tagged flow whose Prefect server is killed before any worker has met it.

    python tests/support/mapped_without_server.py SERVER FOLDER SETTING      SERVER: its process id

Writes FOLDER/results.json: the results of work that succeeds, those of work of which one piece exits when it is first
tried, and the error of a piece that always exits. Dask has no such error: its scheduler starts a new worker for it first.
"""

import json
import os
import signal
import sys
from pathlib import Path

import prefect

from pipeline import signals
from pipeline.runner_setting import RUNNER, runner_setting
from pipeline.runners import open_runner

PIECES = 12


def square(piece: int) -> int:
    """Work that succeeds."""
    return piece * piece


def exit_once(marked: tuple[Path, int]) -> int:
    """As `square`, but the first try of piece 5 exits, as Prefect's engine does in a worker that it cannot run."""
    mark, piece = marked
    if piece == 5 and not mark.exists():
        mark.touch()
        raise SystemExit(1)
    return square(piece)


def exit_always(piece: int) -> int:
    """Work that never has a result."""
    raise SystemExit(piece)


@prefect.flow
def _map(server: int, folder: Path, setting: str) -> None:
    os.kill(server, signal.SIGKILL)
    with open_runner(runner_setting({RUNNER: setting})) as runner:
        results: list[object] = [list(runner.map(square, range(PIECES)))]
        results.append(list(runner.map(exit_once, [(folder / "mark", piece) for piece in range(PIECES)])))
        if not setting.startswith("dask"):
            try:
                list(runner.map(exit_always, range(PIECES)))
            except ChildProcessError as error:
                results.append(str(error))
    (folder / "results.json").write_text(json.dumps(results))
    signals.leave(0)  # at the exit, Prefect would try to send each event of each task


if __name__ == "__main__":
    with prefect.tags("exp:one"):
        _map(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
