"""Wall time and peak memory of the whole pipeline, stage by stage, and of a second run with nothing to do.

    python -m benchmarks.repro [COMMAND ...]        default: dvc repro, twice

Memory is the sum over all processes of the run of their proportional set sizes (shared pages counted once), sampled
every half second.
"""

import os
import subprocess
import sys
import time
from collections.abc import Sequence

import psutil

PERIOD = 0.5


def main(arguments: Sequence[str]) -> None:
    """Run the command twice and print what each run took."""
    command = list(arguments) or ["dvc", "repro"]
    for title in ("first run", "second run, nothing changed"):
        seconds, peak, stages, code = measure(command)
        print(f"{title}: {seconds:.1f} s, peak {peak / 2**30:.2f} GiB over all processes, exit {code}")
        for stage, took in stages.items():
            print(f"  {stage}: {took:.1f} s")
        if code != 0:
            sys.exit(code)


def measure(command: list[str]) -> tuple[float, int, dict[str, float], int]:
    """Wall seconds, peak bytes, seconds in which each stage's process was alive, and the exit status."""
    began, peak = time.monotonic(), 0
    stages: dict[str, float] = {}
    process = subprocess.Popen(command)
    root = psutil.Process(process.pid)
    while process.poll() is None:
        sampled = time.monotonic()
        total, seen = 0, set()
        for each in [root, *_children(root)]:
            memory, stage = _look_at(each)
            total += memory
            seen |= {stage} if stage else set()
        peak = max(peak, total)
        time.sleep(PERIOD)
        for stage in seen:
            stages[stage] = stages.get(stage, 0.0) + time.monotonic() - sampled
    return time.monotonic() - began, peak, stages, process.returncode


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _look_at(process: psutil.Process) -> tuple[int, str | None]:
    try:
        arguments = process.cmdline()
        memory = process.memory_full_info().pss
    except (psutil.NoSuchProcess, psutil.AccessDenied, ProcessLookupError):
        return 0, None
    is_stage = os.path.basename(arguments[0] if arguments else "").startswith("python") and "pipeline" in arguments[1:3]
    return memory, arguments[3] if is_stage and len(arguments) > 3 else None


if __name__ == "__main__":
    main(sys.argv[1:])
