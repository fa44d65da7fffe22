"""What git says of the repository."""

import subprocess
from pathlib import Path

from pipeline.env import ROOT

__all__ = ["changed", "git"]

_WRITTEN = ("metrics", "dvc.lock")  # by the pipeline itself: DVC removes a stage's metrics before it runs


def git(*arguments: str, at: Path = ROOT) -> str | None:
    """What `git ARGUMENTS` prints in the folder `at`; None where it fails, or there is no git."""
    try:
        done = subprocess.run(["git", "-C", str(at), *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def changed(at: Path = ROOT) -> bool | None:
    """Whether tracked files in the folder `at`, but what the pipeline writes, differ from HEAD; None as `git` has it."""
    others = [f":(exclude){name}" for name in _WRITTEN]
    status = git("status", "--porcelain", "--untracked-files=no", "--", ".", *others, at=at)
    return None if status is None else bool(status)
