"""Take screenshots of the viewer, the evaluation page and MLflow in a real Chromium.

    python -m docs.build.screenshots [FOLDER [RESULTS]]        default: docs/screenshots, of the results in the repository

The viewer shows simulated scenes. The evaluation's page is RESULTS/reports/page/page.html and MLflow's store
RESULTS/mlflow.db, both of `make repro`; missing inputs are reported and skipped.
"""

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from mlflow import MlflowClient
from playwright.sync_api import BrowserContext, Page, ViewportSize

from docs.build.chromium import chromium
from pipeline.tracking.server import EXPERIMENT
from risloc.utils.atomic_files import write_bytes

__all__ = ["LARGEST", "main"]

DEFAULTS = ("docs/screenshots", ".")
LARGEST = 300_000
"""Bytes of a picture."""

SIZE: ViewportSize = {"width": 1280, "height": 800}
PHONE: ViewportSize = {"width": 390, "height": 844}
QUIET = {"DO_NOT_TRACK": "true", "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
AS_LEFT = """
localStorage.setItem("mlflow.workflowType_v1", '"machine_learning"');
localStorage.setItem("mlflow.assistant.panelOpen_v1", "false");
localStorage.setItem("mlflow.assistant.fab.autoOpenedOnFirstLoad_v1", "true");
"""
"""What MLflow's page remembers of one who trains models and has closed its assistant."""

PATIENCE = 120  # seconds that a server may take to start


def main() -> int:
    """Draw all pictures that there is something for; the exit code."""
    folder, results = map(Path, [*sys.argv[1:3], *DEFAULTS[len(sys.argv) - 1 :]])
    report, store = results / "reports" / "page" / "page.html", results / "mlflow.db"
    with chromium() as browser, browser.new_context(viewport=SIZE) as context:
        _viewer(context, folder)
        for source, draw in ((report, _report), (store, _mlflow)):
            if source.exists():
                draw(context, source, folder)
            else:
                print(f"{source}: missing, so no picture of it is taken; `make repro` makes it")
    return 0


def _viewer(context: BrowserContext, folder: Path) -> None:
    """A simulated scene on a desk and on a phone."""
    with tempfile.TemporaryDirectory() as made:
        room, html = Path(made) / "room.h5", Path(made) / "room.html"
        risloc = [sys.executable, "-m", "risloc"]
        subprocess.run([*risloc, "simulate", str(room), "--scenes", "4", "--snr", "15"], check=True)
        subprocess.run([*risloc, "view", str(room), "--html", str(html)], check=True)
        for name, size in {"viewer": SIZE, "viewer_phone": PHONE}.items():
            page = context.new_page()
            page.set_viewport_size(size)
            page.goto(html.as_uri())
            page.wait_for_selector("#status:empty", state="attached")
            _save(page, folder / f"{name}.png")


def _report(context: BrowserContext, report: Path, folder: Path) -> None:
    page = context.new_page()
    page.goto(f"{report.absolute().as_uri()}#glance")
    page.wait_for_load_state()
    _save(page, folder / "report.png")


def _mlflow(context: BrowserContext, store: Path, folder: Path) -> None:
    """The runs, and the curves of the newest training."""
    with _mlflow_ui(store) as (url, uri):
        client = MlflowClient(uri)
        experiment = client.get_experiment_by_name(EXPERIMENT)
        if experiment is None:
            print(f"no picture of MLflow is taken: {store} has no experiment {EXPERIMENT}")
            return
        context.add_init_script(AS_LEFT)
        runs = f"{url}/#/experiments/{experiment.experiment_id}/runs"
        page = context.new_page()
        page.goto(runs)
        page.get_by_role("link", name="train", exact=True).first.wait_for(timeout=1000 * PATIENCE)
        _save(page, folder / "mlflow_runs.png")
        for run in client.search_runs([experiment.experiment_id], "attributes.run_name = 'train'", max_results=1):
            page.goto(f"{runs}/{run.info.run_id}/model-metrics")
            page.get_by_placeholder("Search metric charts").fill("val/weighted_loss")
            page.wait_for_timeout(3000)  # the curves that were there go
            page.locator(".js-plotly-plot .scatterlayer path").nth(3).wait_for(timeout=1000 * PATIENCE)
            page.wait_for_timeout(3000)  # and the others come, one after another
            _save(page, folder / "mlflow_train.png")


@contextlib.contextmanager
def _mlflow_ui(store: Path) -> Iterator[tuple[str, str]]:
    """MLflow's page as `make ui` serves it, on a free port, and the URI of its store."""
    uri = f"sqlite:///{store.absolute()}"
    with tempfile.TemporaryFile() as log:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command = [sys.executable, "-m", "mlflow", "ui", "--host", "127.0.0.1", "--port", str(port)]
        command += ["--workers", "1", "--backend-store-uri", uri]
        with subprocess.Popen(command, env=os.environ | QUIET, stdout=log, stderr=log) as process:
            try:
                url = f"http://127.0.0.1:{port}"
                _wait_for(f"{url}/health", process)
                yield url, uri
            finally:
                process.terminate()


def _wait_for(url: str, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5):
            return
        time.sleep(0.2)
    raise TimeoutError(f"{url}: no answer within {PATIENCE} s; check that `make ui` works")


def _save(page: Page, path: Path) -> None:
    content = page.screenshot()
    if len(content) > LARGEST:
        raise ValueError(f"{path}: expected a picture of at most {LARGEST} bytes, got {len(content)}; show less")
    write_bytes(path, content)
    print(f"{path}: {len(content) // 1000} kB")


if __name__ == "__main__":
    sys.exit(main())
