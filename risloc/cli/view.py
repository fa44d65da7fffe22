"""`risloc view`: an interactive page of what was located, served to this machine's browser or written as one file."""

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
from risloc.cli.sandbox import measured, tried
from risloc.cli.search_options import SearchOptions, search_options
from risloc.cli.view_page import Record, check_plotly, page, record_of
from risloc.cli.view_server import ViewServer
from risloc.io.measurement_reader import MeasurementReader
from risloc.locating.locator import Locator
from risloc.plotting.scene_view import scene_view
from risloc.utils.atomic_files import write_bytes
from risloc.utils.progress import shown_progress

__all__ = ["view"]

MOST_WRITTEN, MOST_SERVED = 20, 1000  # scenes: in a file each takes some 0.3 MB
KEPT = 16  # records that the server has at hand


@click.command()
@click.argument("file", type=FileName())
@search_options
@click.option("--scene", "scenes", type=click.IntRange(0), multiple=True, metavar="N",
              help="Show this scene; may be given several times. [all]")  # fmt: skip
@click.option("--html", "html_path", type=FileName(dir_okay=False),
              help=f"Write the page with its scenes ({MOST_WRITTEN} at most) to one file, and serve nothing.")  # fmt: skip
@click.option("--port", type=click.IntRange(0, 65535), help="Of the server, on 127.0.0.1. [a free one]")
@click.option("--no-open", is_flag=True, help="Say the address, and open no browser.")
def view(
    file: Path, scenes: tuple[int, ...], html_path: Path | None, port: int | None, no_open: bool, **search: Any
) -> None:
    """Show the scenes in FILE and their sources on an interactive page, until Ctrl-C.

    Array, spectrum, sources with deviations and, where the file has it, the truth, in space; slices of the spectrum; the
    codebook; a table. Sources are located as by `risloc locate`, when their scene is looked at.

    \b
    Examples:
      risloc view room.h5
      risloc view room.h5 --html room.html              one file, which needs no network
      risloc view room.h5 --scene 0 --scene 3
      risloc view room.h5 --method nomp --no-open --port 8080
    """
    targets = targets_of({"FILE": file}, {"--html": html_path})
    if html_path is not None and port is not None:
        raise click.UsageError("--port, --html: expected one of the two, got both; a file is not served")
    options = SearchOptions(**search)
    check_plotly()
    bad = tried(file, measured)
    with MeasurementReader(file) as reader:
        most, remedy = (
            (MOST_SERVED, "") if html_path is None else (MOST_WRITTEN, ", or serve the page (without --html)")
        )
        chosen = _good(_chosen(scenes, len(reader), most, remedy), bad, named=bool(scenes))
        options, note = options.decided(reader)
        locator = options.locator(reader)
        record = functools.partial(_record, reader, locator)
        title, notes = file.name, [note] if note else []
        subtitle = "; ".join([options.describe(reader), *notes, *locator.notes])
        if html_path is not None:
            write_bytes(targets["--html"], page(title, subtitle, chosen, _records(chosen, record)).encode())
            click.echo(f"wrote {html_path}")
        else:
            answer = _at_hand(chosen, record)
            with _server(port or 0, page(title, subtitle, chosen, None), answer) as server:
                answer(chosen[0])  # what is wrong with the file is said here, not in the browser
                _serve(server, no_open)


def _chosen(scenes: tuple[int, ...], there: int, most: int, remedy: str) -> list[int]:
    """The numbers of the scenes to show, in order."""
    beyond = [scene for scene in scenes if scene >= there]
    if beyond:
        raise CommandError(f"--scene: expected 0..{there - 1}, got {beyond[0]}")
    chosen = sorted(set(scenes)) or list(range(there))
    if len(chosen) > most:
        raise CommandError(f"view: expected at most {most} scenes, got {len(chosen)}: choose some with --scene{remedy}")
    return chosen


def _good(chosen: list[int], bad: Mapping[int, str], *, named: bool) -> list[int]:
    """The scenes without those that cannot be located, which may not be named one by one."""
    ours = {scene: bad[scene] for scene in chosen if scene in bad}
    if ours and (named or len(ours) == len(chosen)):
        raise CommandError(f"view: {in_words(ours, len(chosen))}; choose others with --scene")
    if ours:
        click.echo(f"risloc: warning: {in_words(ours, len(chosen))}, and left out", err=True)
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
        words = f"--port {port}: expected a port that is free, got {error.strerror}; give another one, or none for a free one"
        raise CommandError(words, NOT_DONE) from None


def _serve(server: ViewServer, no_open: bool) -> None:
    click.echo(f"{server.url} (Ctrl-C ends it)")
    sys.stdout.flush()
    if not no_open:
        webbrowser.open(server.url)
    server.serve_forever()


def _at_hand(chosen: Sequence[int], record: Callable[[int], Record]) -> Callable[[int], Record]:
    """Records of the chosen scenes, one made at a time; those looked at last are kept."""
    shown, lock, kept = frozenset(chosen), threading.Lock(), functools.lru_cache(KEPT)(record)

    def answer(scene: int) -> Record:
        if scene not in shown:
            raise LookupError(scene)
        with lock:
            return kept(scene)

    return answer
