"""A call of dvc as a Prefect task: checked before it runs, its lines in the log, tried again where that can help."""

import contextlib
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any

import prefect
import psutil
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.logging import get_run_logger
from prefect.runtime import flow_run
from sqlalchemy import make_url

from pipeline.changes import written_change
from pipeline.dvc_process import TRANSIENT
from pipeline.env import PARENT, ROOT, SettingError, child_environment
from pipeline.git import git
from pipeline.layout import STAGES
from pipeline.runner_setting import RUNNER, runner_setting
from pipeline.sections import override, typed_sections
from pipeline.storage import STUDY, study_storage
from pipeline.torchrun import PROCESSES
from risloc.config import ParamError
from risloc.utils.yaml_reader import read_yaml

__all__ = ["DvcError", "TransientDvcError", "call_dvc", "dvc_command", "execution", "metrics_of", "same_work"]

_GRACE_SECONDS = 20.0
_RETRY_SECONDS = [5.0, 20.0, 60.0]


class DvcError(RuntimeError):
    """dvc failed, and would fail again."""


class TransientDvcError(DvcError):
    """dvc failed for a reason that passes by itself."""


def execution(runner: str | None, study: str | None, processes: int | None) -> dict[str, str]:
    """The environment variables for how the stages run, which changes no result; SettingError for what cannot work.

    runner : serial, threads:N, processes:N, dask:N or dask:tcp://HOST:PORT.
    study : the URL of the database of the hyper-parameter study. It holds no password, for Prefect keeps and shows the
        parameters of its flows: the worker's own environment (RISLOC_STUDY, or PostgreSQL's PGPASSFILE) has that.
    processes : ranks of a training.
    """
    given = {RUNNER: runner, STUDY: study, PROCESSES: None if processes is None else str(processes)}
    asked = {name: value for name, value in given.items() if value is not None}
    runner_setting(os.environ | asked)
    url = study_storage(asked)
    if url is not None and make_url(url).password is not None:
        raise SettingError(
            f"{STUDY}: expected no password among the parameters of a flow, which Prefect shows; leave `study` out and set "
            f"{STUDY} where the worker starts, or PGPASSFILE"
        )
    if processes is not None and processes < 1:
        raise SettingError(f"{PROCESSES}: expected a whole number >= 1, got {processes}")
    return asked


def dvc_command(target: str | None, set_params: Mapping[str, Any], name: str | None, experiment: bool) -> list[str]:
    """The dvc call for these arguments, after they have been checked against params.yaml; see `driver.pipeline`."""
    if "DVC_STAGE" in os.environ:
        raise ParamError(
            "the driver flow runs dvc, so no DVC stage may run the driver; call `python -m pipeline STAGE`"
        )
    if target is not None and target not in STAGES:
        raise ParamError(f"target: expected one of {', '.join(STAGES)}, got {target!r}")
    if set_params and not experiment:
        raise ParamError("set_params: needs experiment=true; a plain run takes params.yaml as it stands")
    if name is not None and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
        raise ParamError(f"name: expected letters, digits, - and _, got {name!r}")
    typed_sections("evaluate", override(read_yaml(ROOT / "params.yaml"), set_params))
    command = ["exp", "run", "--temp"] if experiment else ["repro"]
    command += ["--name", name] if experiment and name else []
    for key, value in set_params.items():
        command += ["--set-param", written_change(key, value)]
    return command + ([target] if target else [])


def same_work(target: str | None, set_params: Mapping[str, Any]) -> str:
    """A hash that two experiments share if they would do the same: parameters, stage, and the code as it stands."""
    params = override(read_yaml(ROOT / "params.yaml"), set_params)
    code = [git("rev-parse", "HEAD"), git("diff", "HEAD", "--", ".", ":!params.yaml")]
    return hashlib.sha256(json.dumps([params, target, code], sort_keys=True).encode()).hexdigest()[:16]


def metrics_of(experiment: str | None, stage: str) -> dict[str, Any]:
    """The metrics of a stage, in the newest experiment of that name or (None) in the workspace; empty if it has none."""
    path = f"metrics/{stage}.json"
    if experiment is None:
        file = ROOT / path
        return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    known = git("for-each-ref", "--sort=-committerdate", "--format=%(refname)", f"refs/exps/*/*/{experiment}")
    if not known:
        return {}
    return json.loads(git("show", f"{known.splitlines()[0]}:{path}") or "{}")


def _is_transient(task: object, run: TaskRun, state: State[Any]) -> bool:
    return isinstance(state.result(raise_on_failure=False), TransientDvcError)


@prefect.task(
    name="dvc",
    cache_policy=NO_CACHE,
    retries=len(_RETRY_SECONDS),
    retry_delay_seconds=_RETRY_SECONDS,
    retry_condition_fn=_is_transient,
)
def call_dvc(command: list[str], environment: Mapping[str, str]) -> None:
    """Run dvc in a process group of its own, its lines into the log.

    When the flow is cancelled, dvc, the stage and all that it has started end, and what can be resumed stays. Transient
    failures are retried: another dvc that holds the lock of an output, another run at the same stage (dvc then finds its
    results in the run cache), a tracking or Prefect server that was away when a stage began. A wrong parameter, a failed
    gate or an error of a stage would only fail again, after the same time.

    Raises
    ------
    DvcError
        dvc failed; its lines are in the log. TransientDvcError among these: another try may help.
    """
    log = get_run_logger()
    log.info("dvc %s", " ".join(command))
    child = subprocess.Popen(
        [sys.executable, "-m", "pipeline.dvc_process", *command],
        cwd=ROOT,
        env=child_environment(**{PARENT: str(flow_run.id)}, **environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        assert child.stdout is not None
        for text in child.stdout:
            log.info(text.rstrip())
        code = child.wait()
    except BaseException:
        _end(child)
        raise
    if code:
        kind = TransientDvcError if code == TRANSIENT else DvcError
        raise kind(f"dvc {' '.join(command)} ended with code {code}; its last lines above say why")


def _end(child: "subprocess.Popen[str]") -> None:
    """Ctrl-C to dvc and the stage it runs, so that both clean up; then the hard way, to whatever is left of them."""
    began = time.monotonic()
    family: list[psutil.Process] = []
    with contextlib.suppress(psutil.NoSuchProcess):
        family = [psutil.Process(child.pid), *psutil.Process(child.pid).children(recursive=True)]
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGINT)
    _, left = psutil.wait_procs(family, _GRACE_SECONDS)
    for process in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    child.wait()
    get_run_logger().info("stopped dvc and its stage in %.1f s", time.monotonic() - began)
