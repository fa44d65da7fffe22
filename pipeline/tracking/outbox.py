"""What runs tell MLflow: sent at once, or kept on disk in order while the server is away and sent when it is back.

The outbox of a run is `.state/outbox/<key>.jsonl`, one report a line after a first line that says which run it belongs
to, and a folder `<key>` with copies of the files reported. Every report may be sent twice without harm, so one whose
answer was lost is simply sent again.
"""

import hashlib
import json
import shutil
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from pipeline.tracking.answering import ServerAwayError, answering, first_line
from pipeline.tracking.outbox_files import append, folder, lines_of, locked
from risloc.utils.atomic_files import DiskFullError, writing
from stages.support.writers import write_text

__all__ = ["Address", "Outbox", "deliver_all", "now"]

Report = dict[str, Any]
_FIRST_WAIT, _LONGEST_WAIT = 2.0, 60.0  # s
_LOCAL = "outbox"  # the tag by which a run that was begun while the server was away is found again


@dataclass(frozen=True, kw_only=True)
class Address:
    """The run that reports belong to: one that exists, or one to be created first, because the server was away."""

    key: str
    """What its outbox is called."""
    experiment: str
    run_id: str | None
    created: dict[str, Any] | None = None
    """Arguments of `MlflowClient.create_run` where there is no run yet."""

    @classmethod
    def to_create(cls, experiment: str, name: str, tags: dict[str, str]) -> "Address":
        """The address of a run that is yet to be created, as one begun now."""
        key = f"local-{uuid.uuid4().hex}"
        created = {"run_name": name, "start_time": now(), "tags": {**tags, _LOCAL: key}}
        return cls(key=key, experiment=experiment, run_id=None, created=created)

    def known(self, client: MlflowClient) -> "Address":
        """This address with its run's id; the run is created, unless that was done and its answer lost."""
        if self.run_id is not None or self.created is None:
            return self
        found = client.search_runs([self.experiment], f"tags.{_LOCAL} = '{self.key}'", max_results=1)
        return replace(self, run_id=found[0].info.run_id) if found else self.begun(client)

    def begun(self, client: MlflowClient) -> "Address":
        """This address with its run's id, after the run is created for the first time."""
        assert self.created is not None
        return replace(self, run_id=client.create_run(self.experiment, **self.created).info.run_id)


class Outbox:
    """The way of one run's reports to MLflow. It never raises because the server is away; `say` hears of it instead."""

    def __init__(self, address: Address, say: Callable[[str], None], client: MlflowClient) -> None:
        self.address, self.say, self.client = address, say, client
        self.path = folder() / f"{address.key}.jsonl"
        self.outages = 0
        self._wait, self._next_try = _FIRST_WAIT, 0.0

    @property
    def waiting(self) -> bool:
        """Whether reports are kept that have not been sent."""
        return self.path.exists()

    @property
    def away(self) -> bool:
        """Whether the server was away a moment ago, so that it is too early to ask again."""
        return self.waiting and time.monotonic() < self._next_try

    def send(self, report: Report) -> None:
        """Send a report after those that wait, or keep it; of a report that is a file, a copy.

        Raises
        ------
        risloc.utils.atomic_files.DiskFullError
            It can be neither sent nor kept. Those that wait still do.
        """
        if self._sent(report):
            return
        if report["kind"] == "file":
            source = Path(report["path"])
            room = self.room()
            try:
                with writing(room):
                    (shutil.copytree if source.is_dir() else shutil.copy2)(source, room / source.name)
            except DiskFullError:
                shutil.rmtree(room)
                raise
            report = report | {"path": str((room / source.name).relative_to(folder()))}
        self.keep(report)

    def attempt(self, call: Callable[[str], None]) -> bool:
        """Do `call(run id)`, which talks to the server itself, after what waits is sent; False if the server is away."""
        if self.away or (self.waiting and not self.flush()):
            return False
        try:
            with answering():
                self.address = self.address.known(self.client)
                call(str(self.address.run_id))
        except ServerAwayError as error:
            self._postpone(error)
            return False
        self._wait, self._next_try = _FIRST_WAIT, 0.0
        return True

    def _sent(self, report: Report) -> bool:
        return self.attempt(lambda run_id: _send(self.client, run_id, report))

    def room(self) -> Path:
        """A new folder for files that wait."""
        path = folder() / self.address.key / uuid.uuid4().hex
        path.mkdir(parents=True)
        return path

    def keep(self, report: Report) -> None:
        """Keep a report until the server is back."""
        with locked(self.path):
            head = [] if lines_of(self.path) else [_head(self.address, self.client)]
            append(self.path, [*head, json.dumps(report)])

    def flush(self) -> bool:
        """Send what waits; whether nothing is left."""
        try:
            count = _deliver(self.path, self.client, self.say)
        except ServerAwayError as error:
            self._postpone(error)
            return False
        self._wait, self._next_try = _FIRST_WAIT, 0.0
        if count:
            self.say(f"MLflow is reachable again: {count} delayed reports have arrived")
        return True

    def close(self) -> None:
        """One last try, whatever the wait; what is left then is said, with its place."""
        if self.waiting and not self.flush():
            self.say(
                f"MLflow is still unreachable. Unsent reports in {self.path}: {_contents(_kept(self.path))}. {_HOW}"
            )

    def _postpone(self, error: ServerAwayError) -> None:
        if self._next_try == 0.0:
            self.outages += 1
            self.say(f"MLflow does not answer ({error}). The run continues; its reports are stored in {self.path}")
        self._next_try = time.monotonic() + self._wait
        self._wait = min(2 * self._wait, _LONGEST_WAIT)


_HOW = "The next stage sends them before it begins, and so does `python -m pipeline outbox`"


def deliver_all(client: MlflowClient, say: Callable[[str], None]) -> int:
    """Send what ended runs left for this tracking server; the number of reports that still wait.

    An outbox of a live process is sent too, which harms nothing.
    """
    left = 0
    for path in sorted(folder().glob("*.jsonl")):
        try:
            with answering():
                count = _deliver(path, client, say)
            if count:
                say(f"Sent {count} delayed reports of an earlier run to MLflow")
        except ServerAwayError as error:
            kept = _kept(path)
            say(f"MLflow does not answer ({error}). Unsent reports in {path}: {_contents(kept)}")
            left += len(kept)
    return left


def _deliver(path: Path, client: MlflowClient, say: Callable[[str], None]) -> int:
    """Send the reports of an outbox in order; ServerAwayError leaves the rest in it. The number sent.

    One that MLflow will never take is put aside and said, lest it hold up those behind it.
    """
    with locked(path):
        if not path.exists():
            return 0
        head, *lines = lines_of(path) or [""]
        if not head:
            path.unlink()
            return 0
        described = json.loads(head)
        if described["server"] != _server(client):
            return 0
        address, done = Address(**described["address"]), 0
        try:
            with answering():
                address = address.known(client)
            for line in lines:
                try:
                    with answering():
                        _send(client, str(address.run_id), json.loads(line))
                except (MlflowException, OSError) as error:
                    _put_aside(path, line, error, say)
                done += 1
        except ServerAwayError:
            if done or address != Address(**described["address"]):
                write_text(path, "\n".join([_head(address, client), *lines[done:]]) + "\n")
            raise
        path.unlink()
        shutil.rmtree(folder() / address.key, ignore_errors=True)
        return done


def _put_aside(path: Path, line: str, error: Exception, say: Callable[[str], None]) -> None:
    refused = path.with_suffix(".refused")
    append(refused, [line])
    say(f"MLflow rejected a delayed report ({first_line(error)}); it was moved to {refused}")


def _send(client: MlflowClient, run_id: str, report: Report) -> None:
    match report["kind"]:
        case "batch":
            metrics = [Metric(*fields) for fields in report.get("metrics", [])]
            params = [Param(*fields) for fields in report.get("params", [])]
            tags = [RunTag(*fields) for fields in report.get("tags", [])]
            client.log_batch(run_id, metrics, params, tags)
        case "file":
            path = folder() / report["path"]  # an absolute path stays as it is
            if path.is_dir():
                client.log_artifacts(run_id, str(path), path.name)
            else:
                client.log_artifact(run_id, str(path))
        case "end":
            client.set_terminated(run_id, report["status"], report["time"])
        case kind:
            raise ValueError(f"report: expected a batch, a file or an end, got {kind!r}")


def _head(address: Address, client: MlflowClient) -> str:
    return json.dumps({"address": asdict(address), "server": _server(client)})


def _server(client: MlflowClient) -> str:
    """A hash of the tracking URI, which may hold a password."""
    return hashlib.sha256(client.tracking_uri.encode()).hexdigest()[:16]


def _kept(path: Path) -> list[Report]:
    with locked(path):
        return [json.loads(line) for line in lines_of(path)[1:]]


def _contents(reports: list[Report]) -> str:
    """What reports hold, by name."""
    metrics = sorted({fields[0] for report in reports for fields in report.get("metrics", [])})
    files = [Path(report["path"]).name for report in reports if report["kind"] == "file"]
    named = {"metrics": metrics, "files": files}
    said = [f"{len(names)} {what} ({', '.join(names)})" for what, names in named.items() if names]
    return "; ".join([f"{len(reports)} reports", *said])


def now() -> int:
    """Milliseconds since 1970, as MLflow counts time."""
    return int(time.time() * 1000)
