"""Mapped work as Prefect tasks: on threads, on processes of this host, or on a Dask cluster.

An item is a task of the stage's flow, with retries where another try may help. A window of a few items a worker is under
way at a time, so that memory is bounded and results come while the rest still waits.
"""

import contextlib
import errno
import logging
import multiprocessing
import os
import signal
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, CancelledError, Future
from datetime import UTC
from functools import lru_cache, partial
from itertools import islice
from typing import Any, Self, TypeVar

import prefect
from prefect import State, Task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas import objects
from prefect.context import FlowRunContext, TagsContext
from prefect.events.related import RESOURCE_CACHE
from prefect.futures import PrefectWrappedFuture
from prefect.logging import get_run_logger
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED, temporary_settings
from prefect.task_runners import ProcessPoolTaskRunner, TaskRunner, ThreadPoolTaskRunner
from prefect.types import DateTime

from pipeline.runner_setting import RUNNER, RunnerSetting
from risloc.utils.atomic_files import full
from stages.support.mapping import SERIAL, Runner
from stages.support.resumable import source_digest

__all__ = ["TaskMapper", "open_runner"]

T = TypeVar("T")
R = TypeVar("R")

_Call = Callable[[], Any]
_Future = PrefectWrappedFuture[Any, Any]
_Submitted = tuple[_Call, _Future]

_WINDOW = 4
"""Items under way for each worker: enough that none waits while the oldest result is still to come."""
_LOSSES = 3
"""How often a piece of work may end without a result, or the pool of processes may break, while one result is awaited."""
_PATIENCE = 30
"""Seconds in which a Dask scheduler must answer."""
_MISTAKES = (
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    AssertionError,
    ImportError,
    RuntimeError,
)
_CLOSED = (errno.EROFS, errno.EACCES)


@contextlib.contextmanager
def open_runner(setting: RunnerSetting) -> Iterator[Runner]:
    """The runner that was asked for, within a flow; what it started has ended when the block has.

    No task waits for Prefect's server, so the work goes on when that is away: the flow has checked its version, a task
    with tags would look up a limit of each of them, and a process that is told of the flow need not look it up.

    Raises
    ------
    ConnectionError
        No Dask scheduler at the address, or one without a worker.
    """
    if setting.kind == "serial":
        yield SERIAL
        return
    context = FlowRunContext.get()
    assert context is not None, "mapped work consists of tasks of a flow: open the runner within a flow"
    url = str(context.client.api_url)  # of the server that this process has started, where there is no other
    settings = temporary_settings({PREFECT_API_URL: url, PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED: False})
    assert context.flow is not None, "the stage's own"
    assert context.flow_run is not None, "the stage's own"
    flow = objects.Flow(id=context.flow_run.flow_id, name=context.flow.name, labels={})
    task_context = context.model_copy(update={"flow": _FLOW})
    untagged = TagsContext(current_tags=set())
    with settings, untagged, task_context, contextlib.closing(_mapper(setting, flow)) as mapper:
        yield mapper


class TaskMapper:
    """A `Runner` on one of Prefect's task runners, which `start` makes ready."""

    def __init__(self, start: Callable[[], TaskRunner[Any]], workers: int, *, hosts: bool = False) -> None:
        self.workers, self.hosts = workers, hosts
        self._start = start
        self._tasks = start().__enter__()

    def map(self, work: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
        """As `Runner` says. A process or a host that is lost costs what it was doing, which is then done again."""
        digest = source_digest(work.__module__) if self.hosts else None
        task: Task[Any, Any] = Task(
            _call,
            name=work.__name__,
            retries=2,
            retry_delay_seconds=[1, 10],
            retry_condition_fn=_may_pass,
            cache_policy=NO_CACHE,
            persist_result=False,
        )
        submit = partial(self._submit, task, work.__module__, digest)
        calls = (partial(work, item) for item in items)
        under_way: deque[_Submitted] = deque()
        try:
            while True:
                for call in islice(calls, _WINDOW * self.workers - len(under_way)):
                    under_way.append((call, submit(call)))
                if not under_way:
                    return
                yield self._result(under_way, submit)
        finally:
            _abandon([future.wrapped_future for _, future in under_way])

    def close(self) -> None:
        """Wait for what has begun, and end the workers."""
        self._tasks.__exit__(None, None, None)

    def _submit(self, task: Task[Any, Any], module: str, digest: str | None, call: _Call) -> _Future:
        return self._tasks.submit(task, {"call": call, "module": module, "digest": digest})

    def _result(self, under_way: deque[_Submitted], submit: Callable[[_Call], _Future]) -> Any:
        """Return the oldest result; work that has ended without one is started again."""
        error: BaseException | None = None
        for _ in range(_LOSSES):
            call, future = under_way[0]
            error = _loss(future)
            if error is None:
                under_way.popleft()
                return future.result()
            if isinstance(error, BrokenExecutor):
                get_run_logger().warning("A worker process has died; its work is repeated")
                self._restart()
                again = [(call, submit(call) if _loss(future) else future) for call, future in under_way]
                under_way.clear()
                under_way.extend(again)
            else:
                get_run_logger().warning(f"A piece of work has ended without a result ({_said(error)}); it is repeated")
                under_way[0] = call, submit(call)
        raise ChildProcessError(
            f"the same piece of work has ended {_LOSSES} times without a result ({_said(error)}), perhaps for lack of memory; "
            "use fewer workers, or smaller pieces (evaluate.batch, data.block, shards.scenes_per_shard)"
        ) from error

    def _restart(self) -> None:
        self._tasks.__exit__(None, None, None)
        self._tasks = self._start().__enter__()


class _Processes(ProcessPoolTaskRunner):
    """Processes of this host, where a task that exits is an error of its own future, and does not stop all others."""

    def __enter__(self) -> Self:
        """Start the pool, all of whose calls go through `_reported`."""
        super().__enter__()
        assert self._executor is not None, "the runner has started"
        submit: Callable[..., Any] = self._executor.submit
        vars(self._executor)["submit"] = partial(submit, _reported)
        return self


def _mapper(setting: RunnerSetting, flow: objects.Flow) -> TaskMapper:
    if setting.workers is None:
        return _on_cluster(str(setting.address))
    workers = setting.workers
    if setting.kind == "threads":
        return TaskMapper(partial(ThreadPoolTaskRunner, workers), workers)
    if setting.kind == "processes":
        return TaskMapper(partial(_Processes, workers, initializer=_begin_process, initargs=(flow,)), workers)
    from prefect_dask.task_runners import DaskTaskRunner

    logging.getLogger("distributed").setLevel(logging.WARNING)
    local = {"n_workers": workers, "threads_per_worker": 1, "host": "127.0.0.1", "dashboard_address": None}
    return TaskMapper(partial(DaskTaskRunner, cluster_kwargs=local), workers)


def _on_cluster(address: str) -> TaskMapper:
    """A worker for each thread that the scheduler's workers have by now."""
    from distributed import Client
    from prefect_dask.task_runners import DaskTaskRunner

    try:
        with Client(address, timeout=_PATIENCE, set_as_default=False) as client:  # type: ignore[no-untyped-call]
            client.wait_for_workers(1, timeout=_PATIENCE)
            workers = sum(client.nthreads().values())
    except (OSError, TimeoutError) as error:
        raise ConnectionError(
            f"{RUNNER}: expected a Dask scheduler with a worker at {address}, found none within {_PATIENCE} s; start "
            "`dask scheduler`, and `dask worker` in this folder"
        ) from error
    return TaskMapper(partial(DaskTaskRunner, address=address), workers, hosts=True)


def _call(call: _Call, module: str, digest: str | None) -> Any:
    """The body of a task, in whatever process runs it. digest : of the sources of `module`, None where they are the same."""
    if digest is not None and _digest_here(module) != digest:
        raise ValueError(
            f"{module}: the worker on {socket.gethostname()} (process {os.getpid()}) has different code than this run; "
            "restart `dask worker` in a folder with this code"
        )
    return call()


def _reported(call: _Call) -> Any:
    """Call it in a worker. What is no `Exception` would end the thread that serves all futures of the pool, for ever."""
    try:
        return call()
    except Exception:
        raise
    except BaseException as error:
        raise ChildProcessError(_said(error)) from error


def _stage() -> None:
    """Stands for the stage's flow in workers, which then need not load what the flow works with."""


_FLOW = prefect.Flow(_stage, name="stage")
_digest_here = lru_cache(maxsize=None)(source_digest)


def _may_pass(task: Task[Any, Any], run: objects.TaskRun, state: State[Any]) -> bool:
    """Whether another try may help: not where the work itself is at fault, nor where there is no room to write."""
    error = state.result(raise_on_failure=False)
    no_room = isinstance(error, OSError) and (full(error) is not None or error.errno in _CLOSED)
    return not isinstance(error, _MISTAKES) and not no_room


def _loss(future: _Future) -> BaseException | None:
    """Why the task has ended without a result, or None. What went wrong in the work itself is a result: a state."""
    try:
        return future.wrapped_future.exception()
    except CancelledError as error:
        return error


def _said(error: BaseException | None) -> str:
    return f"{type(error).__name__}: {error}"


def _abandon(futures: Sequence[Any]) -> None:
    """What has not begun is taken back, and what has is waited for: nothing writes any more when this returns.

    A scheduler does not say what has begun, so there all of the window is waited for.
    """
    begun = [future for future in futures if not (isinstance(future, Future) and future.cancel())]
    for future in begun:
        with contextlib.suppress(Exception):
            future.exception()


def _begin_process(flow: objects.Flow) -> None:
    """Leave Ctrl-C to the process that started this one, and end this one when that has ended for any reason.

    flow : the one whose tasks run here, which each of their events names.
    """
    RESOURCE_CACHE[f"flow.{flow.id}"] = {"kind": "flow", "role": "flow", "object": flow}, DateTime.now(UTC)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, name="end-with-parent", daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None, "only a process that multiprocessing has started"
    parent.join()
    os._exit(1)
