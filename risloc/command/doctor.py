"""`risloc doctor`: the environment, what is missing, and whether a scene can be located here."""

import importlib.metadata
import json
import os
import platform
import sys
import time
from dataclasses import dataclass

import click
import h5py
import torch

from risloc.checkpoint import SHIPPED, CheckpointError
from risloc.command.words import NOT_DONE, CommandError
from risloc.geometry import position_of
from risloc.locating import load_model, locate
from risloc.measurements import measurements_of
from risloc.raytracer import RayTracerError, find_llvm
from risloc.shortcuts import scenario
from risloc.simulation import simulate

__all__ = ["doctor"]

NEEDED = ("torch", "numpy", "scipy", "h5py", "safetensors", "jaxtyping", "pyyaml", "click", "tqdm")
OPTIONAL = {
    "matplotlib": "risloc locate --png: pip install 'risloc[figures]'",
    "plotly": "risloc view: pip install 'risloc[view]'",
    "dvc": "the pipeline, in the repository: make setup",
    "prefect": "the pipeline, in the repository: make setup",
    "mlflow": "the pipeline, in the repository: make setup",
    "optuna": "the pipeline, in the repository: make setup",
    "sionna-rt": "risloc trace: pip install 'risloc[channels]'",
}


@dataclass(frozen=True)
class Finding:
    """One line: what was looked at, what is there, and whether that will do (None: nothing depends on it)."""

    name: str
    what: str
    good: bool | None


@click.command()
@click.option("--json", "as_json", is_flag=True, help="As JSON, for scripts.")
def doctor(as_json: bool) -> None:
    """Say what is installed, what is missing and how to get it, and locate a source to see that all works.

    \b
    Examples:
      risloc doctor
      risloc doctor --json
    """
    findings = [*_platform(), *_packages(), _llvm(), *_networks()]
    if all(finding.good is not False for finding in findings):
        findings.append(_trial())
    if as_json:
        click.echo(json.dumps([vars(finding) for finding in findings], indent=2))
    else:
        for finding in findings:
            mark = {True: "ok", False: "MISSING", None: "-"}[finding.good]
            click.echo(f"{mark:<8}{finding.name:<20} {finding.what}")
    if bad := [finding.name for finding in findings if finding.good is False]:
        raise CommandError(f"doctor: {', '.join(bad)}: see above", NOT_DONE)


def _platform() -> list[Finding]:
    version = importlib.metadata.version("risloc")
    cuda = torch.cuda.get_device_name() if torch.cuda.is_available() else "none; the CPU does"
    python = sys.version_info[:2]
    return [
        Finding("risloc", version, True),
        Finding("python", platform.python_version(), True if (3, 11) <= python < (3, 13) else None),
        Finding("system", f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors", None),
        Finding("threads", f"{torch.get_num_threads()} (OMP_NUM_THREADS sets them)", None),
        Finding("accelerator", cuda, None),
        Finding("HDF5", h5py.version.hdf5_version, True),
    ]


def _packages() -> list[Finding]:
    found = []
    for name in (*NEEDED, *OPTIONAL):
        try:
            found.append(Finding(name, importlib.metadata.version(name), True))
        except importlib.metadata.PackageNotFoundError:
            remedy = OPTIONAL.get(name, f"pip install {name}")
            found.append(Finding(name, f"not installed; {remedy}", None if name in OPTIONAL else False))
    return found


def _llvm() -> Finding:
    try:
        return Finding("LLVM 19", str(find_llvm()), True)
    except RayTracerError as error:
        return Finding("LLVM 19", f"risloc trace: {error}", None)


def _networks() -> list[Finding]:
    found = []
    for name in SHIPPED:
        try:
            size = sum(parameter.numel() for parameter in load_model(name).parameters())
            found.append(Finding(f"network {name}", f"{size:,} parameters", True))
        except CheckpointError as error:
            found.append(Finding(f"network {name}", f"{error}: install risloc again", False))
    return found


def _trial() -> Finding:
    """One source at 20 dB, simulated and located, must come out where it is."""
    began = time.monotonic()
    world = scenario("default")
    scenes = simulate(world, seed=1, split="test", start=0, stop=1, snr_db=20.0, count=1)
    found = locate(measurements_of(world, scenes))
    true = position_of(scenes.truth.location[0, 0].double())
    error = float((found.position[0, 0] - true).norm())
    words = f"a source at {float(scenes.truth.location[0, 0, 2]):.2f} m, {100 * error:.1f} cm off, "
    return Finding(
        "locating", f"{words}{time.monotonic() - began:.1f} s", bool(found.present.sum() == 1) and error < 0.5
    )
