"""A recording shows what happened, in order and in one folder, and nothing where a command failed."""

import re

import pytest

from benchmarks.first_minutes import RecordingError, record


def test_a_recording_shows_commands_and_what_they_said(tmp_path):
    page = record(
        [("Write.", "echo one > file; pwd"), ("Read.", "cat file; printf '\\033[31mred\\033[0m\\n' >&2")], tmp_path
    )
    assert re.search(r"Write\.\n\n```console\n\$ echo one > file; pwd\n\.\n```\n\n\d+\.\d s\n", page)
    assert page.index("Write.") < page.index("Read.")
    assert "\none\nred\n```" in page
    assert str(tmp_path) not in page


def test_a_command_that_fails_ends_it(tmp_path):
    with pytest.raises(RecordingError, match=r"expected `echo no; exit 3` to succeed, got exit code 3; it said: no$"):
        record([("Fail.", "echo no; exit 3"), ("Never.", "touch there")], tmp_path)
    assert not (tmp_path / "there").exists()
