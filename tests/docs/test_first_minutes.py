"""A recording shows what happened, in order and in one folder, and nothing where a command failed."""

import re

import pytest

from docs.build.command_line import FAILING, TRACED, commands_of, rerun
from docs.build.first_minutes import RecordingError, record


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


def test_a_page_s_commands_are_run_again_and_its_words_stay(tmp_path):
    page = "Words.\n\n```console\n$ echo one > file\n```\n\n```console\n$ cat file; exit 1\nold\nolder\n```\n\n```bash\necho no\n```\n"
    assert commands_of(page) == ["echo one > file", "cat file; exit 1"]
    done = rerun(page, tmp_path, failing=["cat file; exit 1"])
    assert done == page.replace("old\nolder", "one")
    with pytest.raises(RecordingError, match=r"expected `cat file; exit 1` to succeed, got exit code 1; it said: one$"):
        rerun(page, tmp_path)
    assert rerun(page, tmp_path, kept="file;") == page


def test_every_console_block_of_the_command_line_is_run_by_its_program(repository):
    page = (repository / "docs" / "command_line.md").read_text(encoding="utf-8")
    commands = commands_of(page)
    assert len(commands) == page.count("```console") >= 8
    assert set(FAILING) <= set(commands)
    assert sum(TRACED in command.split() for command in commands) == 2
    assert "python -m docs.build.command_line" in page
