"""Checks what is installed and what is missing by trying it. None of the packages is needed to run the checks."""

import importlib
import importlib.metadata
import json
import os
import platform
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType

__all__ = ["NEEDED", "OPTIONAL", "Finding", "findings", "report", "verdict"]

NEEDED = {
    "torch": "torch",
    "numpy": "numpy",
    "scipy": "scipy",
    "h5py": "h5py",
    "safetensors": "safetensors",
    "jaxtyping": "jaxtyping",
    "ruamel.yaml": "ruamel.yaml",
    "click": "click",
    "tqdm": "tqdm",
    "packaging": "packaging",
}
"""The packages that the wheel requires, with the names by which they are imported."""

OPTIONAL = {
    "matplotlib": "needed by risloc locate --png; run: pip install 'risloc[figures]'",
    "plotly": "needed by risloc view; run: pip install 'risloc[view]'",
    "dvc": "needed by the pipeline in the repository; run: make setup",
    "prefect": "needed by the pipeline in the repository; run: make setup",
    "mlflow": "needed by the pipeline in the repository; run: make setup",
    "optuna": "needed by the pipeline in the repository; run: make setup",
    "sionna-rt": "needed by risloc trace; run: pip install 'risloc[channels]'",
}


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Parameters
    ----------
    name
        What was checked.
    what
        What is installed or missing, and how to fix it.
    good
        Whether it is good; None if no required part depends on it.
    """

    name: str
    what: str
    good: bool | None


def findings() -> list[Finding]:
    """Run all checks. If a required package is missing, the checks that need it are left out.

    Returns
    -------
    list of Finding
        The results.
    """
    modules, packages = _needed()
    checks = [*_platform(), *_libraries(modules), *packages, *_optional()]
    if not verdict(checks):
        checks += [_llvm(), *_networks()]
    if not verdict(checks):
        checks.append(_trial())
    return checks


def report(checks: Sequence[Finding], as_json: bool) -> str:
    """Format the results.

    Parameters
    ----------
    checks
        The results.
    as_json
        Whether to return JSON instead of one line per check.

    Returns
    -------
    str
        The text.
    """
    if as_json:
        return json.dumps([vars(check) for check in checks], indent=2)
    marks = {True: "ok", False: "NOT OK", None: "-"}
    return "\n".join(f"{marks[check.good]:<8}{check.name:<20} {check.what}" for check in checks)


def verdict(checks: Sequence[Finding]) -> str | None:
    """Name the checks that failed.

    Parameters
    ----------
    checks
        The results.

    Returns
    -------
    str or None
        One line; None if no check failed.
    """
    failed = ", ".join(check.name for check in checks if check.good is False)
    return f"doctor: failed checks: {failed}; see above" if failed else None


def _platform() -> list[Finding]:
    try:
        version = importlib.metadata.version("risloc")
    except importlib.metadata.PackageNotFoundError:
        version = "not installed; running from its source"
    return [
        Finding("risloc", version, True),
        Finding("python", platform.python_version(), True if (3, 11) <= sys.version_info[:2] < (3, 13) else None),
        Finding("system", f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors", None),
    ]


def _libraries(modules: dict[str, ModuleType]) -> list[Finding]:
    """Describe the threads, the accelerator and HDF5 as the installed packages report them."""
    checks = []
    if "torch" in modules:
        torch = modules["torch"]
        threads = f"{torch.get_num_threads()} (set by OMP_NUM_THREADS)"
        cuda = "none; the CPU is used"
        if torch.cuda.is_available():
            cuda = f"{torch.cuda.get_device_name()}, used for training in the pipeline, not by risloc locate"
        checks += [Finding("threads", threads, None), Finding("accelerator", cuda, None)]
    if "h5py" in modules:
        checks.append(Finding("HDF5", modules["h5py"].version.hdf5_version, True))
    return checks


def _needed() -> tuple[dict[str, ModuleType], list[Finding]]:
    """Return the required packages that can be imported, and the check of each."""
    modules, checks, ranges = {}, [], _ranges()
    for name, module in NEEDED.items():
        remedy = f"pip install '{name}{ranges.get(name, '')}'"
        try:
            version = importlib.metadata.version(name)
            modules[name] = importlib.import_module(module)
            checks.append(_in_range(name, version, ranges))
        except importlib.metadata.PackageNotFoundError:
            checks.append(Finding(name, f"not installed; run: {remedy}", False))
        except (ImportError, OSError) as error:
            message = f"{version}, cannot be imported ({error}); run: {remedy} --force-reinstall"
            checks.append(Finding(name, " ".join(message.split()), False))
    return modules, checks


def _optional() -> list[Finding]:
    checks, ranges = [], _ranges()
    for name, remedy in OPTIONAL.items():
        try:
            checks.append(_in_range(name, importlib.metadata.version(name), ranges))
        except importlib.metadata.PackageNotFoundError:
            checks.append(Finding(name, f"not installed; {remedy}", None))
    return checks


def _ranges() -> dict[str, str]:
    """Return the range of versions that risloc declares for each package; empty if it is not installed."""
    try:
        from packaging.requirements import Requirement

        declared = [Requirement(text) for text in importlib.metadata.requires("risloc") or ()]
    except (ImportError, importlib.metadata.PackageNotFoundError):
        return {}
    return {requirement.name.lower(): str(requirement.specifier) for requirement in declared}


def _in_range(name: str, version: str, ranges: dict[str, str]) -> Finding:
    if name in ranges:
        from packaging.specifiers import SpecifierSet

        if not SpecifierSet(ranges[name]).contains(version, prereleases=True):
            return Finding(name, f"{version}, expected {ranges[name]}; run: pip install '{name}{ranges[name]}'", None)
    return Finding(name, version, True)


def _llvm() -> Finding:
    from risloc.scenes.raytracer import RayTracerError, find_llvm

    try:
        return Finding("LLVM 19", str(find_llvm()), True)
    except RayTracerError as error:
        return Finding("LLVM 19", f"needed by risloc trace; {error}", None)


def _networks() -> list[Finding]:
    from risloc.learning.checkpoint import SHIPPED, CheckpointError
    from risloc.locating.networks import load_model

    checks = []
    for name in SHIPPED:
        try:
            size = sum(parameter.numel() for parameter in load_model(name).parameters())
            checks.append(Finding(f"network {name}", f"{size:,} parameters", True))
        except CheckpointError as error:
            checks.append(Finding(f"network {name}", f"{error}; reinstall risloc", False))
    return checks


def _trial() -> Finding:
    """Simulate one source at 20 dB and check that it is located within 0.5 m."""
    from risloc.io.measurements import measurements_of
    from risloc.locating.locate import locate
    from risloc.physics.geometry import position_of
    from risloc.scenes.named_scenario import scenario
    from risloc.scenes.simulation import simulate

    began = time.monotonic()
    world = scenario("default")
    scenes = simulate(world, seed=1, split="test", start=0, stop=1, snr_db=20.0, count=1)
    found = locate(measurements_of(world, scenes))
    true = position_of(scenes.truth.location[0, 0].double())
    error = float((found.position[0, 0] - true).norm())
    distance, seconds = float(scenes.truth.location[0, 0, 2]), time.monotonic() - began
    result = f"a source at {distance:.2f} m with an error of {100 * error:.1f} cm in {seconds:.1f} s"
    return Finding("locating", result, bool(found.present.sum() == 1) and error < 0.5)
