"""Where the workers of a search find their study: RISLOC_STUDY, a PostgreSQL; unset, a journal of this host."""

import importlib.util
import os
from collections.abc import Mapping

from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from pipeline.env import SettingError

__all__ = ["STUDY", "study_storage"]

STUDY = "RISLOC_STUDY"
"""The environment variable."""

_EXPECTED = (
    f"{STUDY}: expected postgresql://USER:PASSWORD@HOST:PORT/DATABASE, or leave it unset for a journal on this host"
)
_POSTGRESQL = ("postgres", "postgresql", "postgresql+psycopg")


def study_storage(environment: Mapping[str, str] = os.environ) -> str | None:
    """The database's URL with its driver, or None for the journal. No message holds the URL, for a password is in it.

    Raises
    ------
    SettingError
        The variable does not name a PostgreSQL, or its driver is not installed.
    """
    text = environment.get(STUDY, "")
    if not text:
        return None
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise SettingError(f"{_EXPECTED}; got something that is not a URL") from None
    if url.drivername not in _POSTGRESQL:
        raise SettingError(
            f"{_EXPECTED}; got {url.drivername}, which cannot detect dead workers on other hosts and fails when "
            "workers start simultaneously"
        )
    if not url.database:
        raise SettingError(f"{_EXPECTED}; got no database: add /DATABASE")
    if importlib.util.find_spec("psycopg") is None:
        raise SettingError(f"{STUDY}: psycopg, PostgreSQL's driver, is not installed; make setup installs it")
    return url.set(drivername="postgresql+psycopg").render_as_string(hide_password=False)
