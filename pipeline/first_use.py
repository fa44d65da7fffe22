"""Prefect's database, made by one process while the others wait: two that make it at once break each other's tables."""

from pathlib import Path

import prefect
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_DATABASE_CONNECTION_URL, PREFECT_API_URL
from sqlalchemy import make_url

from stages.support.file_lock import file_lock

__all__ = ["database_made"]


def database_made() -> None:
    """Start the temporary server of this process alone if the database is new, or of another version of Prefect.

    Raises
    ------
    RuntimeError
        The server does not start.
    """
    if PREFECT_API_URL.value() is not None:
        return  # a server that runs has its database
    url = make_url(PREFECT_API_DATABASE_CONNECTION_URL.value())
    if url.get_backend_name() != "sqlite" or url.database in (None, "", ":memory:"):
        return
    database = Path(url.database)
    made = database.with_name(f"{database.name}.made-by-{prefect.__version__}")
    if made.exists() and database.exists():
        return
    with file_lock(database.with_name(f"{database.name}.lock")):
        if not (made.exists() and database.exists()):
            with get_client(sync_client=True):  # it returns when the server answers, which makes the tables first
                made.touch()
