"""The flows that the deployments run. They start `dvc`, which decides what is due; the stages are flows of their own."""

import time
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import prefect
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.deployments import run_deployment
from prefect.logging import get_run_logger
from prefect.runtime import flow_run
from prefect.states import Cancelling

from pipeline.artifacts import link, rows_of, table
from pipeline.calls import call_dvc, dvc_command, execution, metrics_of, same_work
from pipeline.env import lock
from pipeline.layout import MEASURED
from risloc.config import ParamError
from risloc.learning.k_rules import BY_BIC
from stages.evaluation.method import HYBRID

__all__ = ["pipeline", "sweep"]

ABLATION = "pipeline/ablation"
_SECONDS_BETWEEN_LOOKS = 2.0
_HEADLINES = (f"position_error_median/{HYBRID.name}/", f"gospa/{HYBRID.by(BY_BIC).name}/")
"""Metrics of the stage evaluate that a sweep's table shows, by how their names begin."""


def _flow_run_name() -> str:
    given = flow_run.parameters
    return str(given.get("name") or ("experiment" if given.get("experiment") else given.get("target") or "repro"))


@prefect.flow(name="pipeline", flow_run_name=_flow_run_name)
def pipeline(
    target: str | None = None,
    set_params: dict[str, Any] | None = None,
    name: str | None = None,
    experiment: bool = False,
    runner: str | None = None,
    study: str | None = None,
    processes: int | None = None,
) -> None:
    """Bring the pipeline up to date, or run an experiment beside it.

    target : stop after this stage; None for the last one.
    set_params : dotted parameters and their values, such as {"loss.lam_cov": 0.5}; needs `experiment`.
    name : the experiment's name; None: `run-` and the beginning of the flow run's id.
    experiment : False: `dvc repro` in the workspace, one at a time. True: `dvc exp run --temp`, which leaves the
        workspace as it is, any number at once; of two that would do the same, the second waits and takes the results.
    runner, study, processes : how the stages run, see `calls.execution`; None leaves it to the worker's environment.

    Raises
    ------
    ParamError
        An argument that cannot work, before anything runs.
    DvcError
        dvc failed; its lines are in this flow's log.
    """
    ran = (name or f"run-{str(flow_run.id)[:8]}") if experiment else None
    command = dvc_command(target, set_params or {}, ran or name, experiment)
    environment = execution(runner, study, processes)
    log = get_run_logger()
    key = f"experiment-{same_work(target, set_params or {})}" if experiment else "workspace"
    with lock(key, lambda: log.info("waiting for another run of the same")):
        call_dvc(command, environment)
    stage = _measured(target)
    if values := metrics_of(ran, stage):
        table("results", rows_of(values), f"{stage}: metrics of {ran or 'the workspace'}")


@prefect.flow(name="pipeline", flow_run_name="sweep")
def sweep(
    sets: list[dict[str, Any]],
    side_by_side: int = 2,
    target: str | None = None,
    runner: str | None = None,
    study: str | None = None,
    processes: int | None = None,
) -> None:
    """Run an experiment for each of a list of parameter sets, as runs of the ablation deployment.

    sets : each {"set_params": {...}} and, if it is to be called something, "name".
    side_by_side : of them at once; workers must be there to take them.
    target, runner, study, processes : of each, see `pipeline`.

    Raises
    ------
    ParamError
        An argument of any of them that cannot work, before anything runs.
    RuntimeError
        At the end, naming those that failed; one that fails stops no other.
    """
    wanted = experiments(sets, str(flow_run.id)[:8])
    for one in wanted:
        dvc_command(target, one["set_params"], one["name"], experiment=True)
    if side_by_side < 1:
        raise ParamError(f"side_by_side: expected at least 1, got {side_by_side}")
    execution(runner, study, processes)
    same = {"experiment": True, "target": target, "runner": runner, "study": study, "processes": processes}
    ended = _fan_out([one | same for one in wanted], side_by_side)
    rows = []
    for one in wanted:
        values = metrics_of(one["name"], _measured(target))
        shown = {key: value for key, value in values.items() if target or key.startswith(_HEADLINES)}
        rows.append({"name": one["name"], **one["set_params"], "state": ended[one["name"]], **shown})
    table("sweep", rows, "the experiments of this sweep; dvc exp show lists them too")
    if failed := [f"{name} ({state})" for name, state in ended.items() if state != "Completed"]:
        raise RuntimeError(f"{len(failed)} of {len(wanted)} did not complete: {', '.join(failed)}")


def experiments(sets: Sequence[dict[str, Any]], prefix: str) -> list[dict[str, Any]]:
    """The parameter sets of a sweep, each with a name of its own; ParamError for one that is not {name?, set_params}."""
    if not sets:
        raise ParamError('sets: expected at least one, such as [{"name": "half", "set_params": {"loss.lam_cov": 0.5}}]')
    wanted = []
    for index, one in enumerate(sets):
        if not isinstance(one, dict) or not {"set_params"} <= set(one) <= {"name", "set_params"}:
            raise ParamError(f"sets[{index}]: expected set_params and optionally a name, got {one!r}")
        if not isinstance(one["set_params"], dict):
            raise ParamError(f"sets[{index}].set_params: expected a mapping, got {one['set_params']!r}")
        wanted.append({"name": one.get("name") or f"sweep-{prefix}-{index}", "set_params": one["set_params"]})
    names = [str(one["name"]) for one in wanted]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ParamError(f"sets: names must be unique, got more than once: {', '.join(sorted(twice))}")
    return wanted


def _measured(target: str | None) -> str:
    """Return the stage whose metrics are shown: the target, or the last one that has metrics."""
    return target if target in MEASURED else MEASURED[-1]


def _fan_out(wanted: list[dict[str, Any]], side_by_side: int) -> dict[str, str]:
    """Run the ablation deployment for each of `wanted`, `side_by_side` at once; the last state of each, by name.

    When this flow is cancelled, so are those under way.
    """
    waiting, active, ended = list(wanted), dict[str, UUID](), dict[str, str]()
    log = get_run_logger()
    with get_client(sync_client=True) as client:
        try:
            while waiting or active:
                while waiting and len(active) < side_by_side:
                    one = waiting.pop(0)
                    run = run_deployment(ABLATION, parameters=one, flow_run_name=one["name"], timeout=0)
                    assert isinstance(run, FlowRun)
                    active[one["name"]] = run.id
                    link(f"run-{one['name']}", f"/runs/flow-run/{run.id}", one["name"], "an experiment of this sweep")
                time.sleep(_SECONDS_BETWEEN_LOOKS)
                for name, run_id in list(active.items()):
                    state = client.read_flow_run(run_id).state
                    if state is not None and state.is_final():
                        ended[name] = str(state.name)
                        log.info("%s: %s, %d of %d finished", name, state.name, len(ended), len(wanted))
                        del active[name]
        except BaseException:
            for run_id in active.values():
                client.set_flow_run_state(run_id, Cancelling(), force=True)
            raise
    return {one["name"]: ended[one["name"]] for one in wanted}
