"""Whether the tracking server answers: what MLflow raises when it does not, as one exception."""

import contextlib
from collections.abc import Iterator

from mlflow.exceptions import MlflowException
from requests import RequestException
from sqlalchemy.exc import OperationalError

from risloc.utils.atomic_files import full

__all__ = ["ServerAwayError", "answering", "first_line"]

_AWAY = ("INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED")


class ServerAwayError(RuntimeError):
    """The tracking server does not answer; the message says which and why."""


@contextlib.contextmanager
def answering() -> Iterator[None]:
    """Raise ServerAwayError for what MLflow raises when its server is away, or its disk full; other errors are left."""
    try:
        yield
    except (RequestException, OperationalError) as error:
        raise ServerAwayError(first_line(error)) from error
    except MlflowException as error:
        if error.error_code in _AWAY:
            raise ServerAwayError(first_line(error)) from error
        raise
    except OSError as error:
        if full(error) is None:
            raise
        raise ServerAwayError(first_line(error)) from error


def first_line(error: Exception) -> str:
    """The first line of what the exception says, of 200 characters at most."""
    return str(error).partition("\n")[0][:200]
