"""One Prefect flow a stage: parameters and paths in, the stage's work, everything it reports into MLflow."""

import contextlib
import hashlib
import inspect
import json
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import prefect
from prefect import Flow, State
from prefect.exceptions import PrefectException
from prefect.logging import get_run_logger
from prefect.settings import PREFECT_API_URL

from pipeline import signals
from pipeline.artifacts import rows_of, table
from pipeline.env import COPY, PARENT, ROOT, lock
from pipeline.first_use import database_made
from pipeline.layout import clear_outs, paths_of
from pipeline.runner_setting import runner_setting
from pipeline.runners import open_runner
from pipeline.sections import stage_function
from pipeline.storage import study_storage
from pipeline.tracking.runs import dependency_checksums, stage_run
from pipeline.tracking.server import NoAnswerError

__all__ = ["PrefectAwayError", "StageError", "TransientStageError", "run_stage", "stage_flow"]


def stage_flow(stage: str, typed: Mapping[str, Any], on_done: Callable[[], object]) -> Flow[..., None]:
    """The flow that runs `stage` once, and `on_done` after it; its parameters are the sections that the stage uses."""

    def work(sections: dict[str, Any], paths: dict[str, Path], params: dict[str, Any]) -> None:
        signals.install()  # again: prefect has just installed its own
        with stage_run(stage, params, get_run_logger().info) as report, _execution(stage) as how:
            stage_function(stage)(**typed, **paths, **how, report=report)
        on_done()
        if "metrics" in paths:
            values = json.loads(paths["metrics"].read_text(encoding="utf-8"))
            table("metrics", rows_of(values), f"{stage}: {paths['metrics'].name}")

    work.__doc__ = stage_function(stage).__doc__
    return prefect.flow(name=stage, flow_run_name=_run_name(stage), validate_parameters=False)(work)


class StageError(RuntimeError):
    """A stage ended with an exception, which stands in the flow's log; this says which and why in one line."""


class TransientStageError(StageError):
    """A stage failed for a reason that passes by itself: another try may help."""


class PrefectAwayError(TransientStageError):
    """Prefect's server does not answer, so that the stage did not begin or is not whole."""


def run_stage(stage: str, params: Mapping[str, Any], typed: Mapping[str, Any], into: Path | None) -> bool:
    """Run `stage` on `params` as a flow, results under `into` or else in place; return whether Prefect's server was informed.

    typed : the sections of `params` that the stage takes, by `typed_sections`. False if the server became
    unreachable while the stage ran to its end.

    Raises
    ------
    SettingError
        An environment variable has an invalid value; nothing has started.
    StageError
        The stage failed. TransientStageError among these: another try may help.
    """
    study_storage()
    used = {name: params[name] for name in typed}
    paths = paths_of(stage, COPY, ROOT, into)
    if into is not None:
        clear_outs(stage, paths)
    done = threading.Event()
    with prefect.tags(*_tags()), _alone(stage, used, paths):
        flow: Callable[..., Any] = stage_flow(stage, typed, done.set)
        try:
            database_made()
            state: State[None] = flow(sections=used, paths=paths, params=dict(params), return_state=True)
        except (httpx.HTTPError, PrefectException, RuntimeError) as error:  # the stage's own are in the state
            if not done.is_set():
                raise PrefectAwayError(f"{stage}: Prefect's server does not answer: {error}; {_remedy()}") from error
            sys.stderr.write(f"{stage} is done; Prefect's server is unreachable and was not informed: {error}\n")
            return False
    if not state.is_completed():
        cause = state.result(raise_on_failure=False)
        kind = TransientStageError if isinstance(cause, NoAnswerError) else StageError
        raise kind(f"{stage} failed: {type(cause).__name__}: {cause}")
    return True


def _remedy() -> str:
    if PREFECT_API_URL.value() is not None:
        return "start the server, or unset PREFECT_API_URL to use a temporary one"
    return (
        "this was a temporary server; start the stage again, or set PREFECT_API_URL to a running server (make server)"
    )


@contextlib.contextmanager
def _execution(stage: str) -> Iterator[dict[str, Any]]:
    """How the stage is executed, as far as it asks: no result depends on it, and no flow's record may hold it."""
    asked = inspect.signature(stage_function(stage)).parameters
    with contextlib.ExitStack() as opened:
        known: dict[str, Callable[[], Any]] = {
            "runner": lambda: opened.enter_context(open_runner(runner_setting())),
            "storage": study_storage,
        }
        yield {name: setting() for name, setting in known.items() if name in asked}


@contextlib.contextmanager
def _alone(stage: str, sections: Mapping[str, Any], paths: Mapping[str, Path]) -> Iterator[None]:
    """Let one run at a time do the same resumable work: same stage, parameters, inputs and place.

    Raises
    ------
    TransientStageError
        Another run did the work, and the driver flow waits for this one: it calls dvc again, which finds the other's results.
    """
    if "state" not in paths:
        yield
        return
    key = json.dumps([str(paths["state"]), sections, dependency_checksums(stage)], sort_keys=True)
    name = f"{stage}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
    with lock(name, lambda: sys.stderr.write(f"{stage}: waiting for another run of the same\n")) as waited:
        if waited and PARENT in os.environ:
            raise TransientStageError(
                f"{stage}: another run has just done the same; dvc takes it from its run cache when it is called again"
            )
        yield


def _run_name(stage: str) -> str:
    experiment = os.environ.get("DVC_EXP_NAME")
    return f"{stage}-{experiment}" if experiment else stage


def _tags() -> list[str]:
    named = {"exp": os.environ.get("DVC_EXP_NAME"), "parent": os.environ.get(PARENT)}
    return [f"{key}:{value}" for key, value in named.items() if value]
