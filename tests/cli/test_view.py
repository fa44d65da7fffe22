"""`risloc view` without a browser: what the page shows is what was located, the file needs nothing else, the server is careful."""

import base64
import contextlib
import dataclasses
import hashlib
import http.client
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from child_processes import started

from risloc.cli.main import run
from risloc.cli.view_page import COLUMNS
from risloc.cli.view_server import ViewServer
from risloc.io.measurement_reader import MeasurementReader
from risloc.learning.checkpoint import shipped_checkpoint
from risloc.locating.locator import Locator
from risloc.locating.networks import load_model
from risloc.physics.geometry import polar_of, position_of
from risloc.plotting.interactive import BANDS, codebook_figure, direction_figure, range_figure, space_figure
from risloc.plotting.scene_view import scene_view

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def page(room: Path) -> "Page":
    path = room.with_suffix(".html")
    assert run(["view", str(room), "--html", str(path)]) == 0
    return Page(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def views(room: Path) -> list:
    return viewed(room)


def viewed(path: Path, model: str | None = "default") -> list:
    with MeasurementReader(path) as reader:
        network = load_model(model) if model else None
        locator = Locator(reader.setup, reader.snapshots, reader.antennas, network)
        return [scene_view(locator, reader.read(slice(i, i + 1))) for i in range(len(reader))]


class Page(HTMLParser):
    """A page's tags with their attributes, and each text with the tag that was opened last before it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags, self.inside, self.last = [], [], ("", {})
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list) -> None:
        self.last = (tag, dict(attributes))
        self.tags.append(self.last)

    def handle_endtag(self, tag: str) -> None:
        self.last = ("", {})

    def handle_data(self, data: str) -> None:
        self.inside.append((*self.last, data))

    def scripts(self) -> list[str]:
        return [data for tag, own, data in self.inside if tag == "script" and "type" not in own]

    def records(self) -> dict:
        return json.loads(next(data for tag, own, data in self.inside if own.get("id") == "records"))

    def policy(self) -> str:
        return next(own["content"] for tag, own in self.tags if tag == "meta" and "http-equiv" in own)


def test_the_table_is_what_locate_says(room: Path, page: Page, tmp_path: Path) -> None:
    assert run(["locate", str(room), "--json", str(tmp_path / "a.json")]) == 0
    located = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))["scenes"]
    records = page.records()
    assert list(records) == ["0", "1", "2"]
    assert [data for tag, _, data in page.inside if tag == "option"] == ["0", "1", "2"]
    for scene in located:
        rows = records[str(scene["scene"])]["rows"]
        for row, source in zip(rows, scene["sources"], strict=True):
            cell = dict(zip(COLUMNS, row["cells"], strict=True))
            for name in ("x", "y", "z", "distance"):
                both = [float(text) for text in cell[f"{name} [m]"].split(" ± ")]
                assert both == pytest.approx([source[f"{name}_m"], source[f"{name}_std_m"]], abs=6e-4)
            for name in ("azimuth", "elevation"):
                assert float(cell[f"{name} [°]"].split()[0]) == pytest.approx(source[f"{name}_deg"], abs=6e-3)
            assert cell["resolved"] == ("yes" if source["resolved"] else "no")


def test_the_file_needs_nothing_else(page: Page) -> None:
    assert not {"iframe", "object", "base", "img"} & {tag for tag, _ in page.tags}
    for _, own in page.tags:
        assert "src" not in own
        assert own.get("href", "data:,") == "data:,"
    policy = page.policy()
    assert policy.startswith("default-src 'none'; ")
    assert "connect-src 'none'" in policy
    assert "http" not in policy
    digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in page.scripts()]
    assert re.findall(r"'sha256-([^']+)'", policy) == digests
    assert len(digests) == 2
    assert "unsafe-eval" not in policy
    columns = [data for tag, own, data in page.inside if tag == "th"]
    assert columns == list(COLUMNS)
    labels = [own for _, own in page.tags if own.get("role") == "figure"]
    for record in page.records().values():
        assert {own["id"] for own in labels} == set(record["figures"])
        assert all(len(figure["words"]) > 30 for figure in record["figures"].values())


def test_names_that_come_from_outside_are_escaped(room: Path, tmp_path: Path) -> None:
    evil = tmp_path / "<img src=x onerror=alert(1)>&amp;.h5"
    shutil.copy(room, evil)
    model = tmp_path / "<script>"
    shutil.copytree(shipped_checkpoint("default"), model)
    out = tmp_path / "out.html"
    assert run(["view", str(evil), "--checkpoint", str(model), "--scene", "1", "--html", str(out)]) == 0
    page = Page(out.read_text(encoding="utf-8"))
    assert "img" not in {tag for tag, _ in page.tags}
    assert len(page.scripts()) == 2
    said = "".join(data for tag, _, data in page.inside if tag in ("h1", "p"))
    assert evil.name in said
    assert str(model) in said
    assert list(page.records()) == ["1"]


def test_errors_are_distances_to_the_truth(room: Path, views: list) -> None:
    with h5py.File(room) as file:
        location = torch.from_numpy(file["truth/location"][:].astype(float))
    for view, true in zip(views, position_of(location[:, :2]), strict=True):
        found = view.found.position[0][view.found.present[0]]
        nearest = torch.cdist(found, true).amin(1)
        assert view.error[view.found.present[0]].numpy() == pytest.approx(nearest.numpy(), rel=1e-5)
        assert float(nearest.max()) < 0.5
        assert view.missed == 0


def test_the_spectrum_is_highest_at_the_sources(views: list) -> None:
    for view in views:
        assert view.covariance == "R_blend"
        assert bool((view.level.diff() <= 0).all())
        true = position_of(view.truth)
        cosine = (true / true.norm(dim=1, keepdim=True)) @ (view.points[0] / view.points[0].norm()).double()
        assert float(cosine.max()) > 0.9995  # within two degrees of a source
        v, u = np.unravel_index(int(view.slices.directions.nan_to_num(-1).argmax()), view.slices.directions.shape)
        at = torch.stack([view.slices.u[u], view.slices.v[v]])
        assert float((at - view.slices.through[:2]).norm()) < 0.05


def test_what_is_not_there_is_said(room: Path, tmp_path: Path) -> None:
    """No truth, no noise variance, no network, and, in the last scene, a source that was never there."""
    for name, options in {"unknown": ["--no-truth", "--no-noise-var"], "empty": ["--sources", "0"]}.items():
        path, out = tmp_path / f"{name}.h5", tmp_path / f"{name}.html"
        assert run(["simulate", str(path), "--scenes", "1", *options]) == 0
        assert run(["view", str(path), "--method", "nomp", "--html", str(out)]) == 0
    unknown, empty = (Page((tmp_path / f"{name}.html").read_text()).records()["0"] for name in ("unknown", "empty"))
    assert "residual white. The file has no truth, so the errors are unknown." in unknown["summary"]
    assert ", estimated; " in unknown["summary"]
    assert "(expected 1, fits from " in empty["summary"]
    assert "misfit " in empty["summary"]
    assert {row["cells"][-1] for row in unknown["rows"]} == {"–"}
    assert "R_samp" in unknown["figures"]["space"]["words"]
    assert empty["rows"] == []
    assert "0 true sources: 0 missed" in empty["summary"]


def test_figures_show_what_they_were_given(views: list) -> None:
    view = views[0]
    figure = space_figure(view)
    bands = [trace for trace in figure.data if trace.meta]
    assert [band.meta["within_db"] for band in bands] == list(BANDS)
    peak = float(view.level[0])
    for band, low in zip(bands, (0, *BANDS), strict=False):
        assert all(peak - band.meta["within_db"] <= level <= peak - low for level in np.asarray(band.marker.color))
    assert sum(len(band.x) for band in bands) == int((view.level >= peak - BANDS[-1]).sum())
    truth = next(trace for trace in figure.data if trace.name == "true source")
    np.testing.assert_allclose(np.stack([truth.x, truth.z, truth.y], 1), position_of(view.truth), rtol=1e-5)
    bar = next(trace for trace in figure.data if trace.mode == "lines")
    ends = np.stack([bar.x, bar.y, bar.z], 1).reshape(-1, 3, 3)
    lengths = np.linalg.norm(ends[:, 1] - ends[:, 0], axis=1)
    np.testing.assert_allclose(lengths, 2 * view.found.location_std[0, view.found.present[0], 2], rtol=1e-3)
    (image,) = codebook_figure(view).data
    np.testing.assert_allclose(np.cos(np.deg2rad(image.z)), view.codebook.real, atol=0.02)
    assert "r = " in range_figure(view).layout.annotations[0].text
    assert len(direction_figure(view).data) == 4


def test_echoes_are_joined_to_their_sources(tmp_path: Path) -> None:
    """In space and over directions; where none are found, the figures are as if none had been searched for."""
    path, out = tmp_path / "hall.h5", tmp_path / "hall.html"
    options = ["--preset", "hall", "--scenes", "1", "--snr", "20", "--sources", "1", "--seed", "4"]
    assert run(["simulate", str(path), *options]) == 0
    (view,) = viewed(path, None)
    echoes, source = view.found.echoes, view.found.location[0, :1]
    location = echoes.location[0, 0][echoes.present[0, 0]]
    assert len(location) >= 2
    lines, marks = space_figure(view).data[-2:]
    assert marks.name == "echo, joined to its source"
    drawn = np.stack([marks.x, marks.z, marks.y], axis=1)
    far = location[:, 2].clamp_max(2 * float(source[0, 2]))
    np.testing.assert_allclose(drawn, position_of(torch.cat([location[:, :2], far[:, None]], dim=1)), rtol=1e-5)
    np.testing.assert_allclose(marks.customdata, echoes.position[0, 0, : len(location)], rtol=1e-6)
    corners = np.stack([lines.x, lines.z, lines.y], axis=1).reshape(-1, 3, 3)
    np.testing.assert_array_equal(corners[:, 1], drawn)
    np.testing.assert_allclose(corners[:, 0], position_of(source).expand(len(location), 3), rtol=1e-6)
    over = direction_figure(view).data[-1]
    corners = np.stack([over.x, over.y], axis=1).reshape(-1, 3, 2)
    np.testing.assert_allclose(corners[:, 1], polar_of(location)[:, :2], atol=1e-6)
    np.testing.assert_allclose(corners[:, 0], polar_of(source)[:, :2].expand(len(location), 2), atol=1e-6)
    assert run(["view", str(path), "--html", str(out)]) == 0
    record = Page(out.read_text(encoding="utf-8")).records()["0"]
    assert record["rows"][0]["cells"][COLUMNS.index("echoes")] == str(len(location))
    assert f"1 source with {len(location)} echoes, " in record["summary"]
    plain = dataclasses.replace(view, found=dataclasses.replace(view.found, echoes=None))
    for draw in (space_figure, direction_figure):
        empty = dataclasses.replace(echoes, present=torch.zeros_like(echoes.present))
        none = dataclasses.replace(view, found=dataclasses.replace(view.found, echoes=empty))
        assert draw(none).to_json() == draw(plain).to_json()


BAD: dict[str, tuple[list[str], int, str]] = {
    "no file": (["nothing.h5"], 1, "nothing.h5: expected a measurement file, got no such file"),
    "no scene": (["{room}", "--scene", "3"], 1, "--scene: expected 0..2, got 3"),
    "no checkpoint": (
        ["{room}", "--checkpoint", "nowhere"],
        1,
        "--checkpoint nowhere: no such network; expected default, robust, or a folder",
    ),
    "beyond": (
        ["{room}", "--method", "hybrid", "--distance", "1", "99"],
        1,
        "the network was trained for distance_span_m",
    ),
    "learnt": (["{room}", "--method", "nomp", "--k-rule", "learnt"], 2, "use --method hybrid"),
    "onto itself": (["{room}", "--html", "{room}"], 2, "expected different files"),
    "no server": (
        ["{room}", "--html", "a.html", "--port", "0"],
        2,
        "--port, --html: expected one of them, got both",
    ),
    "no port": (["{room}", "--port", "65536"], 2, "65536 is not in the range"),
    "no room": (
        ["{room}", "--html", "/proc/none/a.html"],
        3,
        "cannot write to the directory /proc: No such file or directory",
    ),
    "many": (
        ["{many}", "--html", "a.html"],
        1,
        "expected at most 20 scenes, got 21; select some with --scene, or serve",
    ),
    "spoilt": (["{spoilt}", "--scene", "0", "--html", "a.html"], 1, "scene 0: y: expected finite numbers"),
}


@pytest.fixture(scope="module")
def files(room: Path) -> dict[str, Path]:
    """The room, one of many scenes, and one whose first scene is spoilt."""
    files = {"room": room, "many": room.with_name("many.h5"), "spoilt": room.with_name("spoilt.h5")}
    assert run(["simulate", str(files["many"]), "--scenes", "21"]) == 0
    shutil.copy(room, files["spoilt"])
    with h5py.File(files["spoilt"], "a") as file:
        file["y"][0, 0, 0] = float("nan")
    return files


@pytest.mark.parametrize("what", BAD)
def test_bad_input_is_one_line_and_a_code(
    what: str, files: dict[str, Path], tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments, code, words = BAD[what]
    monkeypatch.chdir(tmp_path)
    assert run(["view", *(text.format(**files) for text in arguments)]) == code
    said = capsys.readouterr().err
    assert words in said
    assert len(said.strip().splitlines()) == (1 if code != 2 else 4)
    assert list(tmp_path.iterdir()) == []


def test_without_plotly_one_line_says_how_to_get_it(
    room: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "plotly", None)
    assert run(["view", str(room), "--no-open"]) == 3
    assert capsys.readouterr().err == "risloc: view needs plotly; run: pip install 'risloc[view]'\n"


@pytest.fixture
def server():
    def record(scene: int) -> dict:
        if scene == 7:
            raise ValueError("scene 7: spoilt")
        return {"scene": [0, 1][scene]}

    with ViewServer(0, "<p>the page</p>", record) as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def asked(server: ViewServer, path: str, method: str = "GET", **headers: str) -> tuple[int, bytes, dict[str, str]]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    return answer.status, answer.read(), dict(answer.getheaders())


def test_the_server_serves_its_page_and_its_scenes_alone(server: ViewServer) -> None:
    status, content, headers = asked(server, "/")
    assert (status, content) == (200, b"<p>the page</p>")
    assert headers["Content-Security-Policy"] == "frame-ancestors 'none'"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert not any("Access-Control" in name for name in headers)
    assert asked(server, "/scene/1")[:2] == (200, b'{"scene": 1}')
    assert asked(server, "/scene/7")[:2] == (422, b"scene 7: spoilt")
    for path in (
        "/scene/2",
        "/scene/-1",
        "/scene/",
        "/scene/1/",
        "/scene/" + "9" * 5000,
        "/view.js",
        "/../../etc/passwd",
        "/?",
    ):
        assert asked(server, path)[0] == 404, path
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        assert asked(server, "/", method)[0] == 501


def test_the_server_refuses_other_hosts(server: ViewServer) -> None:
    port = server.port
    for host in (
        "evil.example",
        f"evil.example:{port}",
        "127.0.0.1",
        f"127.0.0.1:{port + 1}",
        "",
        f"127.0.0.1:{port}.evil",
    ):
        for path in ("/", "/scene/0"):
            status, content, _ = asked(server, path, Host=host)
            assert (status, b"own machine only" in content) == (403, True), host
    assert asked(server, "/", Host=f"localhost:{port}")[0] == 200


def test_the_server_listens_on_loopback_alone(server: ViewServer) -> None:
    assert server.socket.getsockname() == ("127.0.0.1", server.port)
    with socket.socket() as other:
        other.settimeout(2)
        assert other.connect_ex(("127.0.0.2", server.port)) != 0


def test_a_port_that_is_taken_is_said(room: Path, server: ViewServer, capsys: Capture) -> None:
    assert run(["view", str(room), "--port", str(server.port), "--no-open"]) == 3
    words = f"risloc: --port {server.port}: cannot use this port: Address already in use; use another port, or omit"
    assert capsys.readouterr().err.startswith(words)


@contextlib.contextmanager
def served(room: Path, *options: str) -> Iterator[tuple[subprocess.Popen, http.client.HTTPConnection]]:
    """`risloc view` in a process of its own, and a connection to it."""
    command = [sys.executable, "-m", "risloc", "view", str(room), "--no-open", *options]
    with started(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        url = re.match(r"http://(127\.0\.0\.1):(\d+)/ ", process.stdout.readline())
        with contextlib.closing(http.client.HTTPConnection(url[1], int(url[2]), timeout=60)) as connection:
            yield process, connection


def test_it_serves_until_ctrl_c(room: Path) -> None:
    with served(room, "--scene", "1") as (process, connection):
        connection.request("GET", "/scene/1")
        assert json.loads(connection.getresponse().read())["scene"] == 1
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said.strip() == "risloc: interrupted"


@pytest.mark.parametrize(
    ("number", "code", "last"), [(signal.SIGINT, 130, "risloc: interrupted"), (signal.SIGTERM, 143, "")]
)
def test_a_signal_ends_it_while_a_scene_is_located(room: Path, number: signal.Signals, code: int, last: str) -> None:
    """Python would stop the thread of the request within torch, which aborts the process, or within HDF5, which blocks it."""
    with served(room) as (process, connection):
        connection.request("GET", "/scene/2")
        time.sleep(0.2)
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
    assert (process.returncode, said.strip()) == (code, last)
