"""The driver flow: what the deployments run. It starts `dvc`, which decides what is due; the stages are flows of their own."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import prefect
from prefect.logging import get_run_logger
from prefect.runtime import flow_run

from pipeline.env import PARENT, ROOT, child_environment, lock
from pipeline.layout import STAGES
from pipeline.sections import override, typed_sections
from risloc.params import ParamError, read_yaml

__all__ = ["pipeline"]

_GRACE_SECONDS = 20.0


def _flow_run_name() -> str:
    given = flow_run.parameters
    return str(given.get("name") or ("experiment" if given.get("experiment") else "repro"))


@prefect.flow(name="pipeline", flow_run_name=_flow_run_name)
def pipeline(
    target: str | None = None,
    set_params: dict[str, Any] | None = None,
    name: str | None = None,
    experiment: bool = False,
) -> None:
    """Bring the pipeline up to date, or run an experiment beside it.

    target : stop after this stage; None for the last one.
    set_params : dotted parameters and their values, such as {"loss.lam_cov": 0.5}; needs `experiment`.
    name : the experiment's name; None lets DVC choose.
    experiment : False: `dvc repro` in the workspace, one at a time. True: `dvc exp run --temp`, which leaves the
        workspace as it is, any number at once.

    Raises
    ------
    ParamError
        An argument that cannot work, before anything runs.
    RuntimeError
        dvc failed; its lines are in this flow's log.
    """
    command = dvc_command(target, set_params or {}, name, experiment)
    if experiment:
        _run(command)
    else:
        with lock("workspace"):
            _run(command)


def dvc_command(target: str | None, set_params: Mapping[str, Any], name: str | None, experiment: bool) -> list[str]:
    """The dvc call for these arguments, after they have been checked against params.yaml; see `pipeline`."""
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
    _check(set_params)
    command = ["exp", "run", "--temp"] if experiment else ["repro"]
    command += ["--name", name] if experiment and name else []
    for key, value in set_params.items():
        command += ["--set-param", f"{key}={json.dumps(value)}"]
    return command + ([target] if target else [])


def _check(set_params: Mapping[str, Any]) -> None:
    params = override(read_yaml(ROOT / "params.yaml"), set_params)
    typed_sections("evaluate", params)


def _run(command: list[str]) -> None:
    """Run dvc in a process group of its own, its lines into the flow's log; end the whole group when cancelled."""
    log = get_run_logger()
    log.info("dvc %s", " ".join(command))
    child = subprocess.Popen(
        [sys.executable, "-m", "dvc", *command],
        cwd=ROOT,
        env=child_environment(**{PARENT: str(flow_run.id)}),
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
        raise RuntimeError(f"dvc {' '.join(command)} ended with code {code}; its last lines above say why")


def _end(child: "subprocess.Popen[str]") -> None:
    """Ctrl-C to dvc and the stage it runs, so that both clean up; then the hard way."""
    for number in (signal.SIGINT, signal.SIGKILL):
        try:
            os.killpg(child.pid, number)
            child.wait(_GRACE_SECONDS)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue
