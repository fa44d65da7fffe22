"""Measurements as other programs write them, made by hand from the arrays of the layout: no line is shared with the readers."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import scipy.io

Arrays = Mapping[str, Any]

TRUTH = ("location", "power", "count")


def pairs(x: np.ndarray, real: str = "real", imaginary: str = "imag", kind: str = "f8") -> np.ndarray:
    """Complex numbers as a compound."""
    made = np.empty(x.shape, [(real, kind), (imaginary, kind)])
    made[real], made[imaginary] = x.real, x.imag
    return made


def matlab_73(path: Path, arrays: Arrays) -> None:
    """As MATLAB's save -v7.3: a user block, reversed axes, scalars of 1 x 1, text as numbers, structs as groups."""
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, value in arrays.items():
            if isinstance(value, str):
                file[name], kind = np.frombuffer(value.encode("utf-16-le"), "u2").reshape(-1, 1), "char"
            else:
                x = np.atleast_2d(np.asarray(value))
                logical = x.dtype == bool
                kind = "logical" if logical else "double"
                x = x.astype("u1") if logical else pairs(x) if np.iscomplexobj(x) else x.astype("f8")
                file[name] = x.T
            file[name].attrs["MATLAB_class"] = np.bytes_(kind)
        if "truth" in file:
            file["truth"].attrs["MATLAB_class"] = np.bytes_("struct")
    with path.open("r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")


def octave_hdf5(path: Path, arrays: Arrays) -> None:
    """As Octave's save -hdf5: a group with type and value for each variable, which may be a struct."""

    def put(group: h5py.Group, name: str, kind: str, value: Any) -> h5py.Group:
        made = group.create_group(name)
        made.attrs["OCTAVE_NEW_FORMAT"] = np.uint8(1)
        made["type"] = np.bytes_(kind)
        if value is None:
            return made.create_group("value")
        made["value"] = value
        return made

    with h5py.File(path, "w") as file:
        groups = {"": file}
        for name, value in arrays.items():
            folder, _, last = name.rpartition("/")
            if folder not in groups:
                groups[folder] = put(file, folder, "scalar struct", None)
            group, x = groups[folder], np.asarray(value)
            if isinstance(value, str):
                put(group, last, "sq_string", np.frombuffer(value.encode(), "i1").reshape(-1, 1))
            elif x.ndim == 0:
                put(group, last, "scalar", float(x))
            elif np.iscomplexobj(x):
                put(group, last, "complex matrix", pairs(np.atleast_2d(x).T))
            elif x.dtype == bool:
                put(group, last, "bool matrix", x.T.astype("u1"))
            else:
                put(group, last, "matrix", np.atleast_2d(x).T.astype("f8"))


def _with_attributes(path: Path, arrays: Arrays, change: Callable[[str, np.ndarray], np.ndarray]) -> None:
    with h5py.File(path, "w") as file:
        for name, value in {**arrays, "format": "risloc measurements", "version": 1}.items():
            if np.ndim(value) == 0 or name.endswith(("span_deg", "span_m")):
                file.attrs[name] = value
            else:
                file[name] = change(name, np.asarray(value))


def julia(path: Path, arrays: Arrays) -> None:
    """As HDF5.jl: attributes of the layout, members r and i, reversed axes."""
    _with_attributes(path, arrays, lambda _, x: x.T)


def cpp_two_arrays(path: Path, arrays: Arrays) -> None:
    """As a C++ program without a complex type: y_real and y_imag, reversed as a column-major library keeps them, scalars as datasets."""
    with h5py.File(path, "w") as file:
        for name, value in arrays.items():
            x = np.asarray(value).T if not isinstance(value, str) else value
            if np.iscomplexobj(x):
                file[f"{name}_real"], file[f"{name}_imag"] = x.real.astype("f4"), x.imag.astype("f4")
            else:
                file[name] = x


def r_vectors(path: Path, arrays: Arrays) -> None:
    """As rhdf5 in R: each scalar and text is a vector of one, axes are reversed, complex numbers have an axis of two."""
    with h5py.File(path, "w") as file:
        for name, value in arrays.items():
            if isinstance(value, str):
                file[name] = np.array([value.encode()], dtype="S16")
            elif np.ndim(value) == 0:
                file[name] = np.array([value])
            elif np.iscomplexobj(value) and name in ("y", "H"):
                file[name] = np.stack([value.real, value.imag], axis=-1).T
            else:
                file[name] = pairs(value.T, "r", "i") if np.iscomplexobj(value) else np.asarray(value).T


def netcdf(path: Path, arrays: Arrays) -> None:
    """As xarray writes with invalid_netcdf=True: named axes, here in an order of their own, and attributes of one element."""
    axes = {"y": ("snap", "scene", "ant"), "H": ("elem", "scene", "ant"), "codes": ("elem", "snap", "scene")}
    layout = {"y": ("scene", "snap", "ant"), "H": ("scene", "ant", "elem"), "codes": ("scene", "snap", "elem")}
    sizes = dict(zip(("scene", "snap", "ant"), arrays["y"].shape, strict=True)) | {"elem": arrays["H"].shape[-1]}
    with h5py.File(path, "w") as file:
        for axis, size in sizes.items():
            file[axis] = np.arange(size)
            file[axis].make_scale(axis)
        for name, value in arrays.items():
            if name in axes:
                file[name] = np.asarray(value).transpose([layout[name].index(axis) for axis in axes[name]])
                for number, axis in enumerate(axes[name]):
                    file[name].dims[number].attach_scale(file[axis])
            elif isinstance(value, str) or "/" in name or name == "noise_var":
                file[name] = value
            else:
                file.attrs[name] = np.atleast_1d(value)


def hdf5_2(path: Path, arrays: Arrays) -> None:
    """The complex type of HDF5 2.0."""
    kinds = {"complex64": h5py.h5t.COMPLEX_IEEE_F32LE, "complex128": h5py.h5t.COMPLEX_IEEE_F64LE}
    _with_attributes(
        path, {name: value for name, value in arrays.items() if not np.iscomplexobj(value)}, lambda _, x: x
    )
    with h5py.File(path, "a") as file:
        for name, value in arrays.items():
            if np.iscomplexobj(value):
                space = h5py.h5s.create_simple(value.shape)
                data = h5py.h5d.create(file.id, name.encode(), kinds[value.dtype.name], space)
                data.write(h5py.h5s.ALL, h5py.h5s.ALL, np.ascontiguousarray(value))


def integer_samples(path: Path, arrays: Arrays) -> None:
    """As an SDR recorder: y in 16-bit integers I, Q with a scale."""
    y = arrays["y"]
    scale = max(np.abs(y.real).max(), np.abs(y.imag).max()) / 32767
    _with_attributes(path, {name: value for name, value in arrays.items() if name != "y"}, lambda _, x: x)
    with h5py.File(path, "a") as file:
        file["y"] = np.stack([np.rint(y.real / scale), np.rint(y.imag / scale)], axis=-1).astype("i2")
        file["y"].attrs["scale_factor"] = scale


def npz(path: Path, arrays: Arrays) -> None:
    np.savez_compressed(path, **arrays)


def mat_5(path: Path, arrays: Arrays) -> None:
    """As MATLAB's save -v7, with codes as doubles and the truth as a struct."""
    plain = {name: value for name, value in arrays.items() if "/" not in name}
    plain["codes"] = np.asarray(plain["codes"]) * 1.0
    truth = {name: arrays[f"truth/{name}"] for name in TRUTH}
    scipy.io.savemat(path, {**plain, "truth": truth}, do_compression=True)


WRITERS: dict[str, tuple[str, Callable[[Path, Arrays], None]]] = {
    "MATLAB 7.3": ("m.mat", matlab_73),
    "Octave": ("m.h5", octave_hdf5),
    "Julia": ("m.jl.h5", julia),
    "C++": ("m.h5", cpp_two_arrays),
    "R": ("m.h5", r_vectors),
    "netCDF": ("m.nc", netcdf),
    "HDF5 2.0": ("m.h5", hdf5_2),
    "16-bit samples": ("m.h5", integer_samples),
    "npz": ("m.npz", npz),
    "mat 5": ("m.mat", mat_5),
}
"""The name of a file and its writer, by the program or format."""
