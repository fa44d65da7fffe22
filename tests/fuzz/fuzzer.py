"""Fuzz the readers of files, guided by the coverage of their Python code; CONTRIBUTING.md says how to add one.

    python -m tests.fuzz.fuzzer [READER ...] [--seconds 600] [--runs 1000000] [--keep]

Each reader is fuzzed for that long or that often, whatever comes first, in a process of its own that is started again when
an input ends it. Inputs that reach new code go to fuzz/READER, what is found to fuzz/findings/READER. --keep: no fuzzing,
but what is worth keeping of fuzz/READER goes to tests/fuzz/corpus/READER, which the tests replay. Only what is harmless to the
library beneath the reader is kept.
"""

import argparse
import hashlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from tests.fuzz.readers import CORPUS, READERS, does_no_harm, judge, working_folder

FOLDER = Path("fuzz")
MEMORY_MB = 1800  # of the whole process, of which the packages take some 700
SLOW_S = 30  # on a machine that does other things, too
LONGEST = 2**16  # bytes of an input
MOST_KEPT = 2**18  # bytes of a reader's inputs in the repository


def main() -> None:
    """Fuzz, and print a line for each reader."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("readers", nargs="*", metavar="READER", help=f"some of {', '.join(READERS)}; default: all")
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--runs", type=int, default=10**6)
    parser.add_argument("--keep", action="store_true")
    asked = parser.parse_args()
    if unknown := set(asked.readers) - set(READERS):
        parser.error(f"READER: expected some of {', '.join(READERS)}, got {', '.join(unknown)}")
    for name in asked.readers or READERS:
        keep(name) if asked.keep else fuzz(name, asked.seconds, asked.runs)


def fuzz(name: str, seconds: int, runs: int) -> None:
    """Fuzz one reader and say what came of it."""
    corpus, findings = FOLDER / name, FOLDER / "findings" / name
    for folder in (corpus, findings, CORPUS / name):
        folder.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(READERS[name].seeds()):
        (corpus / f"seed-{number}").write_bytes(seed)
    known, found = _count(corpus), _count(findings)
    began, done, peak, coverage, ended = time.monotonic(), 0, 0, 0, 0
    while (left := seconds - (time.monotonic() - began)) > 1 and done < runs:
        limits = [f"-max_total_time={int(left)}", f"-runs={runs - done}", f"-rss_limit_mb={MEMORY_MB}"]
        limits += [f"-timeout={SLOW_S}", f"-max_len={LONGEST}", f"-artifact_prefix={findings}/", "-print_final_stats=1"]
        said = list(_child(name, findings, [*limits, str(corpus), str(CORPUS / name)]))
        ran = _last(said, r"stat::number_of_executed_units: +(\d+)") or _last(said, r"^#(\d+)\t")
        if not ran:
            sys.exit("\n".join(["fuzz: the fuzzer did not start:", *said[-20:]]))
        done += ran
        peak = max(peak, _last(said, r"stat::peak_rss_mb: +(\d+)"))
        coverage = max(coverage, _last(said, r"cov: (\d+)"))
        if not any(line.startswith("Done ") for line in said):
            ended += 1
            (findings / f"ended-{ended}.txt").write_text("\n".join(said[-60:]), encoding="utf-8")
    minutes = (time.monotonic() - began) / 60
    print(
        f"{name}: {done} executions in {minutes:.1f} min, {coverage} branches, {_count(corpus) - known} new inputs of "
        f"{_count(corpus)}, peak {peak} MB, {_count(findings) - found} findings ({ended} ended the process)",
        flush=True,
    )


def keep(name: str) -> None:
    """Of the harmless inputs of fuzz/READER, the smallest that reach a line, or an answer, that no smaller one does."""
    kept = CORPUS / name
    kept.mkdir(parents=True, exist_ok=True)
    inputs = {path.read_bytes() for folder in (FOLDER / name, kept) for path in folder.iterdir()}
    inputs -= set(READERS[name].seeds())
    for path in kept.iterdir():
        path.unlink()
    with working_folder() as folder:
        seen = set().union(*(_reached(name, seed, folder) for seed in READERS[name].seeds()))
        for content in sorted(inputs, key=lambda each: (len(each), each)):
            reached = _reached(name, content, folder)
            if reached - seen and does_no_harm(READERS[name], content, folder):
                (kept / hashlib.blake2b(content, digest_size=8).hexdigest()).write_bytes(content)
            seen |= reached
            if sum(path.stat().st_size for path in kept.iterdir()) > MOST_KEPT:
                break
    print(f"{name}: kept {_count(kept)} of {len(inputs)} inputs, {sum(p.stat().st_size for p in kept.iterdir())} bytes")


def _reached(name: str, content: bytes, folder: Path) -> set[object]:
    """The lines of ours that reading an input executes, and the answer without its numbers and names."""
    reached: set[object] = set()

    def look(frame: FrameType, event: str, value: object) -> Any:
        if f"{os.sep}risloc{os.sep}" not in frame.f_code.co_filename:
            return None
        reached.add((frame.f_code.co_filename, frame.f_lineno))
        return look

    sys.settrace(look)
    try:
        said = judge(READERS[name], content, folder)
    finally:
        sys.settrace(None)
    return reached | {re.sub(r"[^a-z ]", "", (said or "").replace(str(folder), ""))[:60]}


def _child(name: str, findings: Path, arguments: list[str]) -> Iterator[str]:
    command = [sys.executable, "-m", "tests.fuzz.child", name, str(findings), *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace"
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            yield line.rstrip()


def _count(folder: Path) -> int:
    return sum(path.suffix != ".txt" for path in folder.iterdir())


def _last(lines: list[str], pattern: str) -> int:
    found = [int(match[1]) for line in lines if (match := re.search(pattern, line))]
    return found[-1] if found else 0


if __name__ == "__main__":
    main()
