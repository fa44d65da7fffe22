"""A real PostgreSQL of the tests' own: its cluster in a temporary folder, on loopback, run by an ordinary user."""

import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

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


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A running cluster, gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="risloc-postgresql-"))
    owner = _ordinary_user() if os.geteuid() == 0 else None
    made = Cluster(_programs(), folder, _free_port(), secrets.token_urlsafe(16), owner)
    password = folder / "password"
    password.write_text(made.password)
    if owner is not None:
        for path in (folder, password):
            shutil.chown(path, owner)
    try:
        made.run("initdb", "-U", USER, f"--pwfile={password}", "-A", "scram-sha-256", "-N", "-E", "UTF8", "--locale=C")
        made.start()
        yield made
        made.stop("immediate")
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def database(cluster: Cluster) -> str:
    """The URL of an empty database."""
    name = f"study_{secrets.token_hex(4)}"
    with psycopg.connect(cluster.url("postgres"), autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    return cluster.url(name)


def _programs() -> Path:
    """The newest of Debian's folders, else wherever initdb lies on PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    first = str(found[-1]) if found else shutil.which("initdb")
    assert first, "no PostgreSQL here (no initdb): `make test-scale` installs it as root, else install `postgresql`"
    return Path(first).resolve().parent


def _ordinary_user() -> str:
    """PostgreSQL refuses to run as root."""
    names = {user.pw_name for user in pwd.getpwall()}
    return next(name for name in ("postgres", "nobody") if name in names)


def _identity(user: str) -> dict[str, Any]:
    entry = pwd.getpwnam(user)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
