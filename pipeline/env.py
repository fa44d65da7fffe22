"""Roots, environment and locks. Import this before prefect or mlflow.

`ROOT` is the user's repository, where the tracking store and resumable state live. DVC names it in DVC_ROOT even when
it runs a stage in a temporary copy, so all copies share one store. `COPY` is the tree this code runs from.
"""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from risloc.config import ParamError
from stages.support.file_lock import file_lock

__all__ = ["COPY", "PARENT", "ROOT", "STATE", "SettingError", "check_folder", "child_environment", "lock"]

COPY = Path(__file__).resolve().parents[1]
ROOT = Path(os.environ.get("DVC_ROOT") or COPY).resolve()
STATE = ROOT / ".state"
PARENT = "RISLOC_PARENT_FLOW_RUN"
"""The environment variable by which the driver flow names itself to the stages that it causes to run."""
_STORE = f"sqlite:///{ROOT / 'mlflow.db'}"

for _name, _value in {
    "DO_NOT_TRACK": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "MLFLOW_TRACKING_URI": _STORE,
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",  # seconds; an outage must not hold up the work, see pipeline/tracking/outbox.py
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL": "5",  # seconds; the default of 10 says nothing of a short stage
    "MPLBACKEND": "Agg",
}.items():
    os.environ.setdefault(_name, _value)


class SettingError(ParamError):
    """An environment variable that sets how, and never what, is computed has an invalid value."""


def check_folder() -> None:
    """SettingError where MLflow's address of mlflow.db in the repository cannot be read back."""
    if os.environ["MLFLOW_TRACKING_URI"] == _STORE and set(str(ROOT)) & set("%?#"):
        raise SettingError(
            f"{ROOT}: expected none of % ? # in the path of the repository, because MLflow cannot open its mlflow.db there; "
            "move or rename the folder, or set MLFLOW_TRACKING_URI to a tracking server"
        )


@contextlib.contextmanager
def lock(name: str, on_wait: Callable[[], object] = lambda: None) -> Iterator[bool]:
    """Hold the lock `name` of this repository; whether it had to be waited for. `on_wait` is called before a wait."""
    with file_lock(STATE / "locks" / f"{name}.lock", on_wait) as held:
        yield held.waited


def child_environment(**extra: str) -> dict[str, str]:
    """The environment for a child `dvc`: this interpreter's tools first on PATH, and nothing of our own flow run."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("PREFECT__")}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    return inherited | {"PATH": path} | extra
