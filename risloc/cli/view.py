"""`risloc view`: an interactive page of scenes and their sources, served on this machine or written to one file."""

import functools
import sys
import threading
import webbrowser
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from risloc.cli.errors import NOT_DONE, CommandError
from risloc.cli.located_scenes import in_words
from risloc.cli.output_files import FileName, targets_of
from risloc.cli.sandbox import measurement_steps, read_in_child
from risloc.cli.search_options import search_options
from risloc.cli.search_request import SearchRequest
from risloc.cli.view_page import Record, check_plotly, page, record_of
from risloc.cli.view_server import ViewServer
from risloc.io.measurement_reader import MeasurementReader
from risloc.locating.locator import Locator
from risloc.plotting.scene_view import scene_view
from risloc.utils.atomic_files import write_bytes
from risloc.utils.progress import shown_progress

__all__ = ["view"]

MOST_WRITTEN, MOST_SERVED = 20, 1000  # scenes; each takes about 0.3 MB in a file
CACHED = 16  # records that the server keeps


@click.command()
@click.argument("file", type=FileName())
@search_options
@click.option("--scene", "scenes", type=click.IntRange(0), multiple=True, metavar="N",
              help="Show this scene; can be repeated. [all]")  # fmt: skip
@click.option("--html", "html_path", type=FileName(dir_okay=False),
              help=f"Write the page with at most {MOST_WRITTEN} scenes to one file instead of serving it.")  # fmt: skip
@click.option("--port", type=click.IntRange(0, 65535), help="Port of the server on 127.0.0.1. [a free port]")
@click.option("--no-open", is_flag=True, help="Print the address without opening a browser.")
def view(
    file: Path, scenes: tuple[int, ...], html_path: Path | None, port: int | None, no_open: bool, **search: Any
) -> None:
    """Show the scenes in FILE and their sources on an interactive page.

    The page shows the surface, the spectrum and the sources with their standard deviations in space, with the truth if the file
    has it; slices of the spectrum; the codebook; and a table. Sources are located as by `risloc locate`, when their scene is
    selected. Ctrl-C stops the server.

    \b
    Examples:
      risloc view room.h5
      risloc view room.h5 --html room.html              a file that works offline
      risloc view room.h5 --scene 0 --scene 3
      risloc view room.h5 --method nomp --no-open --port 8080
    """
    targets = targets_of({"FILE": file}, {"--html": html_path})
    if html_path is not None and port is not None:
        raise click.UsageError("--port, --html: expected one of them, got both; a file needs no server")
    options = SearchRequest(**search)
    check_plotly()
    bad = read_in_child(file, functools.partial(measurement_steps, reading=options.reading))
    with MeasurementReader(file, options.reading) as reader:
        most, remedy = (
            (MOST_SERVED, "") if html_path is None else (MOST_WRITTEN, ", or serve the page (without --html)")
        )
        chosen = _good(_chosen(scenes, len(reader), most, remedy), bad, named=bool(scenes))
        locator = options.locator(reader)
        record = functools.partial(_record, reader, locator)
        title, subtitle = file.name, "; ".join(filter(None, [options.describe(reader), reader.how, *locator.notes]))
        if html_path is not None:
            write_bytes(targets["--html"], page(title, subtitle, chosen, _records(chosen, record)).encode())
            click.echo(f"wrote {html_path}")
        else:
            answer = _cached(chosen, record)
            with _server(port or 0, page(title, subtitle, chosen, None), answer) as server:
                answer(chosen[0])  # report a fault of the file here rather than in the browser
                _serve(server, no_open)


def _chosen(scenes: tuple[int, ...], count: int, most: int, remedy: str) -> list[int]:
    """Return the numbers of the scenes to show, in order."""
    beyond = [scene for scene in scenes if scene >= count]
    if beyond:
        raise CommandError(f"--scene: expected 0..{count - 1}, got {beyond[0]}")
    chosen = sorted(set(scenes)) or list(range(count))
    if len(chosen) > most:
        raise CommandError(f"view: expected at most {most} scenes, got {len(chosen)}; select some with --scene{remedy}")
    return chosen


def _good(chosen: list[int], bad: Mapping[int, str], *, named: bool) -> list[int]:
    """Leave out the scenes that cannot be located; fail if they were named one by one, or if no other is left."""
    rejected = {scene: bad[scene] for scene in chosen if scene in bad}
    if rejected and (named or len(rejected) == len(chosen)):
        raise CommandError(f"view: {in_words(rejected, len(chosen))}; select others with --scene")
    if rejected:
        click.echo(f"risloc: warning: {in_words(rejected, len(chosen))}; they are not shown", err=True)
    return [scene for scene in chosen if scene not in bad]


def _record(reader: MeasurementReader, locator: Locator, scene: int) -> Record:
    return record_of(scene_view(locator, reader.read(slice(scene, scene + 1))), scene)


def _records(chosen: Sequence[int], record: Callable[[int], Record]) -> dict[int, Record]:
    records = {}
    with shown_progress(len(chosen), "scenes", functools.partial(click.echo, err=True)) as advance:
        for scene in chosen:
            records[scene] = record(scene)
            advance(1)
    return records


def _server(port: int, text: str, record: Callable[[int], Record]) -> ViewServer:
    try:
        return ViewServer(port, text, record)
    except OSError as error:
        message = (
            f"--port {port}: cannot use this port: {error.strerror}; use another port, or omit --port for a free one"
        )
        raise CommandError(message, NOT_DONE) from None


def _serve(server: ViewServer, no_open: bool) -> None:
    click.echo(f"{server.url} (press Ctrl-C to stop)")
    sys.stdout.flush()
    if not no_open:
        webbrowser.open(server.url)
    server.serve_forever()


def _cached(chosen: Sequence[int], record: Callable[[int], Record]) -> Callable[[int], Record]:
    """Return a function that makes the records of the chosen scenes, one at a time, and caches the most recent ones."""
    scenes, lock, cached = frozenset(chosen), threading.Lock(), functools.lru_cache(CACHED)(record)

    def answer(scene: int) -> Record:
        if scene not in scenes:
            raise LookupError(scene)
        with lock:
            return cached(scene)

    return answer
