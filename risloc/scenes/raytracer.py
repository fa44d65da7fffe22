"""Trace the paths of waves between points with Sionna RT (the extra `channels`), in a process of its own.

On a CPU the tracer needs LLVM 19; with another LLVM it aborts its process at the first trace. Therefore LLVM is located
first, and tracing runs in a child process, which is started for each call. A call takes some seconds and uses no GPU.

Axes: order (reflections of a path), rx, tx. Positions are in metres, the third axis is up.
"""

import html
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["RayTracerError", "find_llvm", "trace"]

LLVM = "DRJIT_LIBLLVM_PATH"
_PLACES = ("/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib/llvm-19/lib", "/usr/lib64")
_LIBRARY = "libLLVM.so.19.1"
_SAMPLES = 20_000  # rays from each transmitter that search for sequences of reflections; the paths found are exact
_MOST_PATHS = 200_000  # from one transmitter to all receivers
_TOGETHER = 8  # transmitters traced at once: 0.5 GB with 144 receivers and 3 reflections


class RayTracerError(RuntimeError):
    """The tracer or its LLVM is missing, or tracing failed; the message states the problem and its remedy."""


def find_llvm() -> Path:
    """Find the library of LLVM 19: the value of DRJIT_LIBLLVM_PATH, or else where Debian's package libllvm19 installs it.

    Returns
    -------
    Path
        The file of the library.

    Raises
    ------
    RayTracerError
        The library is not found.
    """
    configured = os.environ.get(LLVM)
    candidates = [Path(configured)] if configured else [Path(place) / _LIBRARY for place in _PLACES]
    for path in candidates:
        if path.is_file() and re.search(r"LLVM\D*19", path.name):
            return path
    where = f"{LLVM} = {configured}" if configured else ", ".join(_PLACES)
    raise RayTracerError(
        f"LLVM 19: expected {_LIBRARY} in {where}, found none; install Debian's package libllvm19, or set {LLVM} to the file"
    )


def trace(
    faces: Sequence[tuple[str, np.ndarray]],
    tx: np.ndarray,
    rx: np.ndarray,
    *,
    carrier_hz: float,
    max_depth: int,
    thickness_m: float,
) -> np.ndarray:
    """Compute the sums of path coefficients over the paths of each number of reflections 0..max_depth.

    A path of length d in free space has the coefficient wavelength / (4 pi d) exp(-j 2 pi d / wavelength). Antennas are
    isotropic and vertically polarised; faces reflect specularly according to their material. There is no scattering,
    diffraction or transmission. The same input gives the same paths.

    Parameters
    ----------
    faces
        The ITU material and the corners [4, 3] of each plane face.
    tx : [tx, 3]
        The positions of the transmitters in metres.
    rx : [rx, 3]
        The positions of the receivers in metres.
    carrier_hz
        The carrier frequency in hertz.
    max_depth
        The maximum number of reflections of a path.
    thickness_m
        The thickness of the faces in metres.

    Returns
    -------
    [order, rx, tx]
        The sums, complex64.

    Raises
    ------
    RayTracerError
        Sionna RT or LLVM 19 is missing, or a material is unknown or not defined at this frequency.
    """
    if importlib.util.find_spec("sionna") is None:
        raise RayTracerError("sionna-rt: the ray tracer is not installed: pip install 'risloc[channels]'")
    environment = os.environ | {LLVM: str(find_llvm())}
    with tempfile.TemporaryDirectory() as folder:
        job, paths = Path(folder) / "job.npz", Path(folder) / "paths.npy"
        scene = _xml(faces, thickness_m)
        np.savez(job, scene=scene, tx=tx, rx=rx, carrier_hz=carrier_hz, max_depth=max_depth)
        command = [sys.executable, "-m", __name__, str(job), str(paths)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            last = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1]
            raise RayTracerError(f"the ray tracer failed with exit code {done.returncode}: {last}")
        return np.load(paths)


def _xml(faces: Sequence[tuple[str, np.ndarray]], thickness_m: float) -> str:
    """Write the scene in Mitsuba's format: one rectangle per face; its two axes and normal are the columns of a matrix."""
    lines = ['<scene version="2.1.0">']
    for material in dict.fromkeys(material for material, _ in faces):
        name = html.escape(material)
        lines.append(
            f'<bsdf type="itu-radio-material" id="{name}"><string name="type" value="{name}"/>'
            f'<float name="thickness" value="{thickness_m}"/></bsdf>'
        )
    for number, (material, corners) in enumerate(faces):
        u, v = (corners[1] - corners[0]) / 2, (corners[3] - corners[0]) / 2
        normal = np.cross(u, v)
        columns = [u, v, normal / np.linalg.norm(normal), corners.mean(0)]
        matrix = np.vstack([np.stack(columns, axis=1), [0.0, 0.0, 0.0, 1.0]])
        lines.append(
            f'<shape type="rectangle" id="face{number}"><transform name="to_world">'
            f'<matrix value="{" ".join(map(repr, map(float, matrix.flat)))}"/></transform><ref name="bsdf" id="{html.escape(material)}"/></shape>'
        )
    return "".join([*lines, "</scene>"])


def _work(job: Path, paths: Path) -> None:
    """Trace the paths of a job; this runs in the child process."""
    import drjit
    import mitsuba

    mitsuba.set_variant("llvm_ad_mono_polarized")
    import sionna.rt

    if threads := os.environ.get("OMP_NUM_THREADS"):
        drjit.set_thread_count(int(threads))
    with np.load(job) as given:
        scene = sionna.rt.load_scene_from_string(str(given["scene"]), merge_shapes=False)
        scene.frequency = float(given["carrier_hz"])
        np.save(paths, _coefficients(scene, given["tx"], given["rx"], int(given["max_depth"])))


def _coefficients(scene: Any, tx: np.ndarray, rx: np.ndarray, max_depth: int) -> np.ndarray:
    """Compute the coefficients [order, rx, tx]; the points are the elements of one array at the origin."""
    import sionna.rt

    scene.add(sionna.rt.Transmitter("tx", position=[0.0, 0.0, 0.0]))
    scene.add(sionna.rt.Receiver("rx", position=[0.0, 0.0, 0.0]))
    solver = sionna.rt.PathSolver(deterministic=True)
    scene.rx_array = _isotropic(rx, scene)
    found = np.zeros((max_depth + 1, len(rx), len(tx)), dtype=np.complex64)
    for start in range(0, len(tx), _TOGETHER):
        part = slice(start, start + _TOGETHER)
        scene.tx_array = _isotropic(tx[part], scene)
        paths = solver(
            scene,
            max_depth=max_depth,
            samples_per_src=_SAMPLES,
            max_num_paths_per_src=_MOST_PATHS,
            synthetic_array=False,
            refraction=False,
        )
        values = paths.cir(normalize_delays=False, out_type="numpy")[0][0, :, 0, :, :, 0]  # [rx, tx, path]
        if values.shape[-1]:
            order = (paths.interactions.numpy()[:, 0, :, 0] != sionna.rt.InteractionType.NONE).sum(0)
            for reflections in range(max_depth + 1):
                found[reflections, :, part] = np.where(order == reflections, values, 0).sum(-1)
    return found


def _isotropic(positions: np.ndarray, scene: Any) -> Any:
    """Make an array of vertically polarised isotropic antennas; Sionna expects positions in wavelengths."""
    import mitsuba
    from sionna.rt import AntennaArray
    from sionna.rt.antenna_pattern import antenna_pattern_registry

    pattern = antenna_pattern_registry.get("iso")(polarization="V")
    places = (positions / scene.wavelength.numpy()).astype(np.float32)
    return AntennaArray(antenna_pattern=pattern, normalized_positions=mitsuba.Point3f(*places.T))


if __name__ == "__main__":
    _work(Path(sys.argv[1]), Path(sys.argv[2]))
