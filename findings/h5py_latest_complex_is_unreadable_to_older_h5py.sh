#!/usr/bin/env bash
# A complex array written with libver="latest" by h5py 3.16.0 (HDF5 2.0.0) cannot be opened by h5py 3.13.0 (HDF5 1.14.6),
# and the older one's message does not say that the file is newer.
#
# Seen: the same array written with the default libver opens in both. With libver="latest" h5py 3.13.0 ends in
#     OSError/KeyError: ... (bad version number for datatype message)
# libver="latest" is documented to give up compatibility; what surprises is that one attribute-free dataset of complex128, which
# h5py has stored as a compound of two doubles since its beginning, is enough, and that a reader of last year calls it damaged.
# The h5py documentation ("Version bounding") names the option; the datatype message of HDF5 2.0 has a new version.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
for version in 3.16.0 3.13.0; do
  python3 -m pip install --quiet --disable-pip-version-check --target "$folder/$version" "h5py==$version" "numpy==2.2.6"
done
cat >"$folder/write.py" <<'PY'
import sys
import h5py, numpy
for name, bound in (("plain", None), ("latest", "latest")):
    with h5py.File(f"{sys.argv[1]}/{name}.h5", "w", libver=bound) as file:
        file["y"] = numpy.ones((2, 3), dtype=numpy.complex128)
print("written by h5py", h5py.__version__, "HDF5", h5py.version.hdf5_version)
PY
cat >"$folder/read.py" <<'PY'
import sys
import h5py
for name in ("plain", "latest"):
    try:
        with h5py.File(f"{sys.argv[1]}/{name}.h5", "r") as file:
            print(name, "read", file["y"].dtype, file["y"].shape)
    except (OSError, KeyError, RuntimeError) as error:
        print(name, type(error).__name__, error)
print("by h5py", h5py.__version__, "HDF5", h5py.version.hdf5_version)
PY
PYTHONPATH="$folder/3.16.0" python3 "$folder/write.py" "$folder"
PYTHONPATH="$folder/3.16.0" python3 "$folder/read.py" "$folder" | tee "$folder/newer"
PYTHONPATH="$folder/3.13.0" python3 "$folder/read.py" "$folder" | tee "$folder/older"
grep -q "^plain read complex128" "$folder/newer" && grep -q "^latest read complex128" "$folder/newer"
grep -q "^plain read complex128" "$folder/older"
grep -q "^latest .*bad version number for datatype message" "$folder/older"
echo "as described"
