"""A PostgreSQL cluster in a folder, run by an ordinary user."""

import pwd
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["USER", "Cluster"]

USER = "risloc"


@dataclass(frozen=True)
class Cluster:
    """A cluster that can be stopped and started."""

    programs: Path
    folder: Path
    port: int
    password: str
    owner: str | None

    def run(self, program: str, *arguments: str) -> None:
        """One of PostgreSQL's programs, as the user who owns the cluster."""
        as_owner: dict[str, Any] = {} if self.owner is None else _identity(self.owner)
        command = [str(self.programs / program), "-D", str(self.folder / "data"), *arguments]
        with (self.folder / "log.txt").open("a") as log:
            done = subprocess.run(command, cwd=self.folder, stdout=log, stderr=log, check=False, **as_owner)
        assert done.returncode == 0, f"{program}: {(self.folder / 'log.txt').read_text()}"

    def start(self) -> None:
        """Start it and wait until it answers."""
        settings = f"-p {self.port} -h 127.0.0.1 -k {self.folder} -c fsync=off -c max_connections=60"
        self.run("pg_ctl", "-w", "-t", "60", "-o", settings, "start")

    def stop(self, how: str = "fast") -> None:
        """Stop it: `fast` ends the connections, `immediate` is a crash."""
        self.run("pg_ctl", "-w", "-m", how, "stop")

    def url(self, database: str) -> str:
        """A database's URL, as a user would write it."""
        return f"postgresql://{USER}:{self.password}@127.0.0.1:{self.port}/{database}"


def _identity(user: str) -> dict[str, Any]:
    entry = pwd.getpwnam(user)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
