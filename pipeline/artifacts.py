"""What a flow shows on Prefect's pages beside its log: progress that moves, tables, links.

They are for people to look at. Outside a flow nothing is shown, and without a server the work continues without them.
"""

import contextlib
import contextvars
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from uuid import UUID

import httpx
from prefect.artifacts import (
    create_link_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.context import FlowRunContext
from prefect.exceptions import PrefectException
from prefect.logging import get_run_logger
from prefect.runtime import flow_run

__all__ = ["Progress", "link", "rows_of", "table"]

_SECONDS_BETWEEN_MOVES = 2.0


def link(key: str, url: str, text: str, description: str) -> None:
    """A link named `text` on the page of this flow run."""
    _show(lambda: create_link_artifact(link=url, link_text=text, key=_key(key), description=description))


def table(key: str, rows: Sequence[Mapping[str, object]], description: str) -> None:
    """A table on the page of this flow run; a number that JSON has no word for is shown as text."""
    shown = [{name: value if _plain(value) else str(value) for name, value in row.items()} for row in rows]
    _show(lambda: create_table_artifact(table=shown, key=_key(key), description=description))


def rows_of(values: Mapping[str, object]) -> list[dict[str, object]]:
    """The table of metrics: a row each."""
    return [{"metric": name, "value": value} for name, value in values.items()]


class Progress:
    """The progress artifact of one flow run, which shows whatever it is at: an epoch, then the next.

    A thread of its own moves it every other second, so that the work never waits for the server.
    """

    def __init__(self) -> None:
        self._at: tuple[float, str] | None = None
        self._over = threading.Event()
        self._mover: threading.Thread | None = None

    @contextlib.contextmanager
    def moving(
        self, progress: AbstractContextManager[Callable[[int], None]], total: int, what: str, part: tuple[int, int]
    ) -> Iterator[Callable[[int], None]]:
        """`progress`, and beside it the artifact, over `total` items named `what`.

        The artifact shows the share of the whole, of which these items are part `part[0]`, counted from 0, of `part[1]`.
        """
        with progress as advance:
            if FlowRunContext.get() is None:
                yield advance
                return
            done, (finished, parts) = 0, part

            def advance_both(more: int) -> None:
                nonlocal done
                done += more
                self._at = (100.0 * (finished + min(1.0, done / max(total, 1))) / parts, what)
                advance(more)

            advance_both(0)
            if self._mover is None:
                context = contextvars.copy_context()
                self._mover = threading.Thread(target=context.run, args=(self._move,), daemon=True)
                self._mover.start()
            yield advance_both

    def close(self) -> None:
        """Show the last of it."""
        self._over.set()
        if self._mover is not None:
            self._mover.join(_SECONDS_BETWEEN_MOVES)

    def _move(self) -> None:
        artifact: UUID | None = None
        shown = None
        while True:
            last, at = self._over.wait(_SECONDS_BETWEEN_MOVES), self._at
            if at is not None and at != shown:
                if artifact is None:
                    artifact = _show(partial(create_progress_artifact, at[0], _key("progress"), at[1]))
                else:
                    _show(partial(update_progress_artifact, artifact, *at))
                shown = at
            if last:
                return


def _show(call: Callable[[], object]) -> UUID | None:
    """The id of what is shown, if anything is."""
    if FlowRunContext.get() is None:
        return None
    try:
        shown = call()
        return shown if isinstance(shown, UUID) else None
    except (httpx.HTTPError, PrefectException, RuntimeError) as error:
        get_run_logger().debug("Prefect's server did not accept the artifact: %s", error)
        return None


def _key(name: str) -> str:
    """Prefect lists the artifacts of one key as versions of one thing: here, of a flow."""
    flow = flow_run.flow_name or "flow"
    return "-".join([flow, name]).lower().replace("_", "-")


def _plain(value: object) -> bool:
    return isinstance(value, (str, int)) or (isinstance(value, float) and abs(value) < float("inf"))
