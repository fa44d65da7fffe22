#!/usr/bin/env bash
# GNU Octave 7.3.0 (Debian 12) loses complex numbers on the way to and from HDF5, twice without a message:
#
#   1. `load` of a complex array as h5py has written it since its beginning (a compound of two doubles named r and i) makes a complex
#      matrix of the right size, whose numbers are all 0. The same compound with the names real and imag is loaded with its numbers.
#      HDF5 converts compounds by the names of their members; members that the file lacks keep what the memory held.
#   2. `save -hdf5` of a complex scalar of single precision writes its imaginary part as 0.
#   3. `save -hdf5` of a complex matrix of single precision ends in "error while writing 'x' to hdf5 file": the compound that it makes
#      has two floats of 4 bytes at the offsets 0 and 8 in an item of 16 bytes.
#
# What to do: write members named real and imag for Octave, and convert to double before `save -hdf5`.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if ! command -v octave-cli >/dev/null; then
  test "$(id -u)" = 0 || { echo "Octave is missing: install Debian's package octave=7.3.0-2, or run this as root" >&2; exit 1; }
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends octave=7.3.0-2 >/dev/null
fi
octave-cli --version | grep -q "version 7.3.0" || { echo "expected Octave 7.3.0, got $(octave-cli --version | head -1)" >&2; exit 1; }
python3 -m pip install --quiet --disable-pip-version-check --target "$folder/h5py" "h5py==3.16.0" "numpy==2.2.6"
export PYTHONPATH="$folder/h5py"
cat >"$folder/write.py" <<'PY'
import sys
import h5py, numpy
x = numpy.array([[1 + 2j, 3 - 4j]])
pairs = numpy.zeros(x.shape, [("real", "f8"), ("imag", "f8")])
pairs["real"], pairs["imag"] = x.real, x.imag
for name, array in (("r_i", x), ("real_imag", pairs)):
    with h5py.File(f"{sys.argv[1]}/{name}.h5", "w") as file:
        file["y"] = array
PY
python3 "$folder/write.py" "$folder"
cat >"$folder/octave.m" <<'M'
a = load('r_i.h5'); printf('r_i %d %d %s\n', iscomplex(a.y), numel(a.y), mat2str(a.y.'));
b = load('real_imag.h5'); printf('real_imag %s\n', mat2str(b.y.'));
s = single(2 + 1i); save -hdf5 scalar.h5 s
x = single([1 + 2i, 3 - 4i]);
try, save('-hdf5', 'matrix.h5', 'x'); disp('matrix saved'); catch e, printf('matrix %s\n', e.message); end
M
(cd "$folder" && octave-cli --quiet --norc octave.m 2>"$folder/errors") | tee "$folder/said"
python3 -c 'import sys, h5py; print("stored", h5py.File(sys.argv[1], "r")["s/value"][()])' "$folder/scalar.h5" | tee -a "$folder/said"
grep -q '^r_i 1 2 \[0 0\]$' "$folder/said"
grep -q '^real_imag \[1+2i 3-4i\]$' "$folder/said"
grep -q "^matrix save: error while writing 'x' to hdf5 file" "$folder/said"
grep -q '^stored (2.*, 0.*)$' "$folder/said"
echo "as described"
