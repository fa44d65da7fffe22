"""What fuzzing has kept: every input is read or refused, again and again."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.fuzz_readers import CORPUS, READERS, Reader, judge, working_folder


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with working_folder() as made:
        yield made


@pytest.mark.parametrize("name", READERS)
def test_every_input_is_read_or_refused(name: str, repository: Path, folder: Path) -> None:
    inputs = [path.read_bytes() for path in sorted((repository / CORPUS / name).glob("*"))]
    said = [judge(READERS[name], content, folder) for content in [*READERS[name].seeds(), *inputs]]
    assert said[0] is None, "the first seed is a valid file"
    assert any(said), "the others would find nothing"


def test_a_program_that_a_file_starts_would_be_seen(tmp_path: Path) -> None:
    infected = Reader(lambda content, folder: os._exit(os.system("true")), ValueError, list)
    with pytest.raises(Exception, match=r"os\.system"):
        judge(infected, b"", tmp_path)
    assert os.system("true") == 0, "the watch is over"
