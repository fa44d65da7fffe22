"""What fuzzing has kept: every input is read or refused, again and again."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fuzz.harmlessness import Alone, harmless
from tests.fuzz.readers import CORPUS, READERS, Reader, does_no_harm, judge, working_folder


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


@pytest.mark.parametrize("name", READERS)
def test_no_input_harms_the_library_beneath(name: str, repository: Path, folder: Path) -> None:
    """Nothing in the repository crashes h5py or a reader of YAML, keeps it busy or fills its memory."""
    inputs = {path.name: path.read_bytes() for path in sorted((repository / CORPUS / name).glob("*"))}
    inputs |= {f"seed {number}": seed for number, seed in enumerate(READERS[name].seeds())}
    assert [each for each, content in inputs.items() if not does_no_harm(READERS[name], content, folder)] == []


def _endless(content: bytes, folder: Path) -> None:
    while True:
        pass


def _full(content: bytes, folder: Path) -> None:
    bytearray(2**30)


def _killed(content: bytes, folder: Path) -> None:
    os.kill(os.getpid(), 9)


def _raising(content: bytes, folder: Path) -> None:
    raise ValueError("damaged")


@pytest.mark.parametrize(("alone", "fine"), [(_endless, False), (_full, False), (_killed, False), (_raising, True)])
def test_harm_is_seen_and_an_exception_is_none(alone: Alone, fine: bool, tmp_path: Path) -> None:
    assert harmless(alone, b"", tmp_path) == fine


def test_a_program_that_a_file_starts_would_be_seen(tmp_path: Path) -> None:
    infected = Reader(
        lambda content, folder: os._exit(os.system("true")), ValueError, list, lambda content, folder: None
    )
    with pytest.raises(Exception, match=r"os\.system"):
        judge(infected, b"", tmp_path)
    assert os.system("true") == 0, "the watch is over"
