"""What is installed here, what is missing and how to get it, found by trying; nothing of it is needed to say so."""

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
"""What the wheel asks for: each package, and the name by which it is imported."""

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


def findings() -> list[Finding]:
    """All of them; where something is missing that all depends on, what needs it is left out."""
    modules, packages = _needed()
    found = [*_platform(), *_libraries(modules), *packages, *_optional()]
    if not verdict(found):
        found += [_llvm(), *_networks()]
    if not verdict(found):
        found.append(_trial())
    return found


def report(found: Sequence[Finding], as_json: bool) -> str:
    """As lines, or as JSON for scripts."""
    if as_json:
        return json.dumps([vars(finding) for finding in found], indent=2)
    marks = {True: "ok", False: "NOT OK", None: "-"}
    return "\n".join(f"{marks[finding.good]:<8}{finding.name:<20} {finding.what}" for finding in found)


def verdict(found: Sequence[Finding]) -> str | None:
    """What will not do, in one line; None where all will."""
    bad = ", ".join(finding.name for finding in found if finding.good is False)
    return f"doctor: {bad}: see above" if bad else None


def _platform() -> list[Finding]:
    try:
        version = importlib.metadata.version("risloc")
    except importlib.metadata.PackageNotFoundError:
        version = "not installed, run from its source"
    return [
        Finding("risloc", version, True),
        Finding("python", platform.python_version(), True if (3, 11) <= sys.version_info[:2] < (3, 13) else None),
        Finding("system", f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors", None),
    ]


def _libraries(modules: dict[str, ModuleType]) -> list[Finding]:
    """What those packages that are there say of themselves."""
    found = []
    if "torch" in modules:
        torch = modules["torch"]
        threads = f"{torch.get_num_threads()} (OMP_NUM_THREADS sets them)"
        cuda = "none; the CPU does"
        if torch.cuda.is_available():
            cuda = f"{torch.cuda.get_device_name()}: used by the pipeline's training, not used by locate"
        found += [Finding("threads", threads, None), Finding("accelerator", cuda, None)]
    if "h5py" in modules:
        found.append(Finding("HDF5", modules["h5py"].version.hdf5_version, True))
    return found


def _needed() -> tuple[dict[str, ModuleType], list[Finding]]:
    """The packages that all depends on, those that can be imported and what is to be said of each."""
    modules, found, ranges = {}, [], _ranges()
    for name, module in NEEDED.items():
        remedy = f"pip install '{name}{ranges.get(name, '')}'"
        try:
            version = importlib.metadata.version(name)
            modules[name] = importlib.import_module(module)
            found.append(_in_range(name, version, ranges))
        except importlib.metadata.PackageNotFoundError:
            found.append(Finding(name, f"not installed; {remedy}", False))
        except (ImportError, OSError) as error:
            words = f"{version}, it cannot be imported ({error}); {remedy} --force-reinstall"
            found.append(Finding(name, " ".join(words.split()), False))
    return modules, found


def _optional() -> list[Finding]:
    found, ranges = [], _ranges()
    for name, remedy in OPTIONAL.items():
        try:
            found.append(_in_range(name, importlib.metadata.version(name), ranges))
        except importlib.metadata.PackageNotFoundError:
            found.append(Finding(name, f"not installed; {remedy}", None))
    return found


def _ranges() -> dict[str, str]:
    """The versions of each package that risloc declares; none where that cannot be known."""
    try:
        from packaging.requirements import Requirement

        declared = [Requirement(text) for text in importlib.metadata.requires("risloc") or ()]
    except (ImportError, importlib.metadata.PackageNotFoundError):
        return {}
    return {each.name.lower(): str(each.specifier) for each in declared}


def _in_range(name: str, version: str, ranges: dict[str, str]) -> Finding:
    if name in ranges:
        from packaging.specifiers import SpecifierSet

        if not SpecifierSet(ranges[name]).contains(version, prereleases=True):
            return Finding(name, f"{version}, expected {ranges[name]}: pip install '{name}{ranges[name]}'", None)
    return Finding(name, version, True)


def _llvm() -> Finding:
    from risloc.scenes.raytracer import RayTracerError, find_llvm

    try:
        return Finding("LLVM 19", str(find_llvm()), True)
    except RayTracerError as error:
        return Finding("LLVM 19", f"risloc trace: {error}", None)


def _networks() -> list[Finding]:
    from risloc.learning.checkpoint import SHIPPED, CheckpointError
    from risloc.locating.locator import load_model

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
    from risloc.io.measurements import measurements_of
    from risloc.locating.locator import locate
    from risloc.physics.geometry import position_of
    from risloc.scenes.named_scenario import scenario
    from risloc.scenes.simulation import simulate

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
