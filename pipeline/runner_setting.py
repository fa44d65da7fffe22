"""RISLOC_RUNNER: where mapped work runs. Read before prefect loads, so that a wrong one shows at once."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec

from pipeline.env import SettingError

__all__ = ["RUNNER", "RunnerSetting", "runner_setting"]

RUNNER = "RISLOC_RUNNER"
"""The environment variable that names the runner; unset or empty is `serial`."""

_EXPECTED = "serial, threads:N, processes:N, dask:N (N >= 1 workers on this host) or dask:tcp://HOST:PORT"
_LOOPBACK = ("127.0.0.1", "localhost", "::1", "[::1]")


@dataclass(frozen=True)
class RunnerSetting:
    """kind : serial, threads, processes or dask.  workers : None where the scheduler at `address` knows how many."""

    kind: str
    workers: int | None = 1
    address: str | None = None


def runner_setting(environment: Mapping[str, str] = os.environ) -> RunnerSetting:
    """What RISLOC_RUNNER asks for.

    Raises
    ------
    SettingError
        Anything but the forms above; Dask where it is not installed; a scheduler on another host while Prefect's server
        would be a temporary one of this process, which no other host reaches.
    """
    text = environment.get(RUNNER) or "serial"
    if text == "serial":
        return RunnerSetting("serial")
    if found := re.fullmatch(r"(threads|processes|dask):([1-9]\d*)", text):
        setting = RunnerSetting(found[1], int(found[2]))
    elif found := re.fullmatch(r"dask:((?:tcp|tls)://(\[[0-9a-f:]+\]|[\w.-]+):\d+)", text):
        setting = RunnerSetting("dask", None, found[1])
        if found[2] not in _LOOPBACK and "PREFECT_API_URL" not in environment:
            raise SettingError(
                f"{RUNNER}: {text} needs PREFECT_API_URL: its workers report to the Prefect server, and the "
                "temporary one of this process listens on loopback only; start one with `prefect server start --host`"
            )
    else:
        raise SettingError(f"{RUNNER}: expected {_EXPECTED}, got {text!r}")
    if setting.kind == "dask" and find_spec("prefect_dask") is None:
        raise SettingError(f"{RUNNER}: {text} needs prefect-dask, which is not installed; make setup installs it")
    return setting
