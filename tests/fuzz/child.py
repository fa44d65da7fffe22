"""One process of a fuzzing run: python -m tests.fuzz.child READER FINDINGS LIBFUZZER-ARGUMENT...

`tests.fuzz.fuzzer` starts it, and again when an input has ended it: a crash of a library, too much memory, too much time.
"""

import sys
import traceback
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["risloc", "ruamel.yaml", "h5py._hl"]):
    from tests.fuzz.readers import READERS, Reader, judge, working_folder


def main() -> None:
    """Fuzz until libFuzzer ends the process; each kind of finding is kept once, with its traceback."""
    name, findings, *arguments = sys.argv[1:]
    with working_folder() as folder:
        for seed in READERS[name].seeds():  # what is imported and built once is no input's fault
            _once(READERS[name], seed, folder, Path(findings))
        atheris.Setup([sys.argv[0], *arguments], lambda content: _once(READERS[name], content, folder, Path(findings)))
        atheris.Fuzz()


def _once(reader: Reader, content: bytes, folder: Path, findings: Path) -> None:
    try:
        judge(reader, content, folder)
    except Exception as error:  # noqa: BLE001 - every exception that gets here is what is looked for
        place = traceback.extract_tb((error.__cause__ or error).__traceback__)[-1]
        kind = f"{type(error).__name__}-{Path(place.filename).stem}-{place.lineno}"
        if not (findings / f"{kind}.txt").exists():
            (findings / f"{kind}.txt").write_text("".join(traceback.format_exception(error))[-20000:], encoding="utf-8")
            (findings / kind).write_bytes(content)


if __name__ == "__main__":
    main()
