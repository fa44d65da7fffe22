"""A real PostgreSQL of the tests' own: its cluster in a temporary folder, on loopback, run by an ordinary user."""

import os
import pwd
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from postgresql import USER, Cluster
from servers import free_port


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A running cluster, gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="risloc-postgresql-"))
    owner = _ordinary_user() if os.geteuid() == 0 else None
    made = Cluster(_programs(), folder, free_port(), secrets.token_urlsafe(16), owner)
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
