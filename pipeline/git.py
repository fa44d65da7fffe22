"""What git says of the repository."""

import subprocess
from pathlib import Path

from pipeline.env import ROOT

__all__ = ["git"]


def git(*arguments: str, at: Path = ROOT) -> str | None:
    """What `git ARGUMENTS` prints in the folder `at`; None where it fails, or there is no git."""
    try:
        done = subprocess.run(["git", "-C", str(at), *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None
