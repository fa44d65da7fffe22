"""RISLOC_STUDY: what names a study's database, what does not, and that its password is never said."""

import importlib.util
import traceback

import pytest

from pipeline.storage import study_storage
from risloc.config import ParamError


def test_nothing_is_the_journal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RISLOC_STUDY", raising=False)
    assert study_storage() is None
    monkeypatch.setenv("RISLOC_STUDY", "")
    assert study_storage() is None


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_a_postgresql_gets_its_driver_and_keeps_the_rest(monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    rest = "me:se%40cret@db.example:5433/studies?sslmode=require"
    monkeypatch.setenv("RISLOC_STUDY", f"{scheme}://{rest}")
    assert study_storage() == f"postgresql+psycopg://{rest}"


@pytest.mark.parametrize(
    ("text", "came"),
    [
        ("sqlite:////tmp/secret.db", "got sqlite, which cannot detect dead workers"),
        ("mysql+pymysql://me:secret@here/db", "got mysql"),
        ("postgresql+asyncpg://me:secret@here/db", r"got postgresql\+asyncpg"),
        ("postgresql://me:secret@here", "got no database: add /DATABASE"),
        ("postgresql://me:secret@here:port/db", "got something that is not a URL"),
        ("secret", "got something that is not a URL"),
    ],
)
def test_anything_else_is_refused_and_not_repeated(monkeypatch: pytest.MonkeyPatch, text: str, came: str) -> None:
    monkeypatch.setenv("RISLOC_STUDY", text)
    with pytest.raises(ParamError, match=rf"RISLOC_STUDY: expected postgresql://USER.*{came}") as caught:
        study_storage()
    assert "secret" not in "".join(traceback.format_exception(caught.value))


def test_a_missing_driver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RISLOC_STUDY", "postgresql://me@here/db")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ParamError, match="make setup installs it"):
        study_storage()
