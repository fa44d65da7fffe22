"""Where a study lies: the journal of one host, or a PostgreSQL that many hosts share; how either finds a dead worker."""

import contextlib
import functools
import hashlib
import os
import socket
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, ParamSpec, Protocol, TypeVar

import optuna
import sqlalchemy
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.storages.journal._file import BaseJournalFileLock
from optuna.trial import TrialState
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError

from risloc.utils.atomic_files import writing
from stages.support.file_lock import file_lock
from stages.support.processes import lives

__all__ = ["GRACE", "HEARTBEAT", "Home", "StudyError", "check_database", "home_of", "patient"]

HEARTBEAT = 5  # s between two signs of life in a database
GRACE = 30  # s without one, and the worker counts as dead
_OUTAGE = 120.0  # s for which a database that is out of reach is asked again
_ENGINE: dict[str, Any] = {"poolclass": sqlalchemy.NullPool, "connect_args": {"connect_timeout": 10}}
_UNREACHABLE = (OperationalError, InterfaceError)

P = ParamSpec("P")
R = TypeVar("R")


class StudyError(RuntimeError):
    """The study cannot be resumed; the message says why and what to do."""


class Home(Protocol):
    """Where a study lies."""

    @property
    def storage(self) -> BaseStorage:
        """What holds the trials."""

    def exclusive(self, name: str) -> AbstractContextManager[None]:
        """One worker at a time, over all processes and hosts, in the blocks of one `name`; free again if it dies."""

    def bury(self, study: optuna.Study) -> None:
        """Fail the running trials of dead workers."""

    def beat(self, trial_id: int) -> None:
        """A sign of life of the worker that has this trial."""

    def alive(self, trial_id: int) -> AbstractContextManager[None]:
        """Signs of life as long as the block runs."""


def check_database(url: str) -> None:
    """StudyError, with the driver's reason, for a database that does not let us in: before anybody waits for it."""
    engine = sqlalchemy.create_engine(url, **_ENGINE)
    try:
        with engine.connect():
            pass
    except DBAPIError as error:
        why = " ".join(str(error.orig).split())
        raise StudyError(f"the study's database does not let us in: {why}; start it, or mend RISLOC_STUDY") from None
    finally:
        engine.dispose()


def patient(work: Callable[P, R]) -> Callable[P, R]:
    """`work`, tried again while the database is out of reach; StudyError if that lasts for two minutes."""

    @functools.wraps(work)
    def tried(*args: P.args, **kwargs: P.kwargs) -> R:
        until, pause = time.monotonic() + _OUTAGE, 0.25
        while True:
            try:
                return work(*args, **kwargs)
            except (SQLAlchemyError, StorageInternalError) as error:
                if not _out_of_reach(error):
                    raise
                if time.monotonic() > until:
                    raise StudyError(
                        f"the study's database has been out of reach for {_OUTAGE:.0f} s; what was finished is kept: "
                        "start the stage again when it answers"
                    ) from error
            time.sleep(pause)
            pause = min(2 * pause, 5.0)

    return tried


def _out_of_reach(error: BaseException | None) -> bool:
    """Test whether a lost connection is the cause: Optuna keeps using its broken session, which raises other errors."""
    return error is not None and (
        isinstance(error, _UNREACHABLE) or _out_of_reach(error.__cause__ or error.__context__)
    )


@contextlib.contextmanager
def home_of(folder: Path, database: str | None) -> Iterator[Home]:
    """The journal in `folder`, or the database if one is given."""
    if database is None:
        yield _Journal(folder)
        return
    home = patient(_Database)(database)
    try:
        yield home
    finally:
        home.close()


class _Journal:
    """A file on one host; a worker is dead if its process, known by number and start, is gone."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        journal = folder / "study.log"
        self.storage = JournalStorage(_JournalFile(journal))

    @contextlib.contextmanager
    def exclusive(self, name: str) -> Iterator[None]:
        """A lock on a file beside the journal."""
        with file_lock(self.folder / "claims.lock"):
            yield

    def bury(self, study: optuna.Study) -> None:
        """Fail the running trials whose process is gone; StudyError for one of another host, which cannot be seen."""
        for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            worker = trial.user_attrs["worker"]
            if worker["host"] != socket.gethostname():
                raise StudyError(
                    f"{self.folder}: process {worker['pid']} of the host {worker['host']} runs a trial of this study, and "
                    "whether it lives cannot be seen from here. Several hosts need a database (RISLOC_STUDY); if that "
                    "host is gone, remove the folder: its trials are run again"
                )
            if not lives(worker["pid"], worker["started"]):
                study_id = self.storage.get_study_id_from_name(study.study_name)
                trial_id = self.storage.get_trial_id_from_study_id_trial_number(study_id, trial.number)
                self.storage.set_trial_state_values(trial_id, TrialState.FAIL)

    def beat(self, trial_id: int) -> None:
        """Nothing: the process itself is the sign of life."""

    def alive(self, trial_id: int) -> AbstractContextManager[None]:
        """Nothing: the process itself is the sign of life."""
        return contextlib.nullcontext()


class _JournalFile(JournalFileBackend):
    """A journal that says where there is no room for it."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path), _Append(path))
        self.path = path

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Add entries; DiskFullError, and the next who writes cuts off what there is of them."""
        with writing(self.path):
            super().append_logs(logs)


class _Append(BaseJournalFileLock):
    """The right to append to a journal; what a writer that died left of a line is cut off first."""

    def __init__(self, journal: Path) -> None:
        self.journal = journal
        self.held = contextlib.ExitStack()

    def acquire(self) -> bool:
        """Wait for it."""
        self.held.enter_context(file_lock(self.journal.with_suffix(".lock")))
        with self.journal.open("rb+") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 1))
            if file.read() != b"\n":
                file.seek(0)
                file.truncate(file.read().rfind(b"\n") + 1)
        return True

    def release(self) -> None:
        """Leave it to others."""
        self.held.close()


class _Database:
    """A PostgreSQL; a worker is dead if it has given no sign of life for a while."""

    def __init__(self, url: str) -> None:
        self.locks = sqlalchemy.create_engine(url, **_ENGINE)
        with self.exclusive("tables"), _unwarned():  # two that make the tables at once: one would die
            self.storage = RDBStorage(
                url, engine_kwargs=dict(_ENGINE), heartbeat_interval=HEARTBEAT, grace_period=GRACE
            )

    @contextlib.contextmanager
    def exclusive(self, name: str) -> Iterator[None]:
        """An advisory lock, which the server frees if its holder's connection ends."""
        key = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), signed=True)
        with self.locks.begin() as connection:
            connection.execute(sqlalchemy.select(sqlalchemy.func.pg_advisory_xact_lock(key)))
            yield

    def bury(self, study: optuna.Study) -> None:
        """Fail the running trials that nothing was heard of for `GRACE` seconds."""
        with _unwarned():
            optuna.storages.fail_stale_trials(study)

    def beat(self, trial_id: int) -> None:
        """Write down the database's time."""
        self.storage.record_heartbeat(trial_id)

    @contextlib.contextmanager
    def alive(self, trial_id: int) -> Iterator[None]:
        """Run a thread that sends heartbeats; it keeps trying while the database is out of reach."""
        over = threading.Event()

        def beats() -> None:
            while not over.wait(HEARTBEAT):
                with contextlib.suppress(SQLAlchemyError, StorageInternalError):
                    self.beat(trial_id)

        thread = threading.Thread(target=beats, name="heartbeat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def close(self) -> None:
        """End all connections."""
        self.storage.remove_session()
        self.storage.engine.dispose()
        self.locks.dispose()


@contextlib.contextmanager
def _unwarned() -> Iterator[None]:
    """Heartbeats are experimental in Optuna: known, and pinned with it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        yield
