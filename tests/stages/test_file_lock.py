"""One holder at a time of a lock on a file, whatever becomes of those who hold it or wait for it."""

import contextlib
import subprocess
import sys
import threading
import time

from child_processes import started

from stages.support.file_lock import file_lock

HOLDER = """
import subprocess, sys, time
from pathlib import Path
from stages.support.file_lock import file_lock
with file_lock(Path(sys.argv[1])) as held:
    if sys.argv[2] == "child":
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=sys.stdin, pass_fds=[held.descriptor])
    print("held", flush=True)
    time.sleep(60)
"""


@contextlib.contextmanager
def holder(repository, path, what):
    command = [sys.executable, "-c", HOLDER, str(path), what]
    with started(command, cwd=repository, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process


def waiter(path):
    """A thread that takes the lock, and an event when it has it."""
    taken = threading.Event()

    def take():
        with file_lock(path) as held:
            assert held.waited
            taken.set()

    threading.Thread(target=take, daemon=True).start()
    return taken


def test_the_lock_of_a_killed_process_is_free(repository, tmp_path):
    with holder(repository, tmp_path / "lock", "alone") as process:
        taken = waiter(tmp_path / "lock")
        assert not taken.wait(0.5)
        process.kill()
        assert taken.wait(10)


def test_a_child_that_has_the_descriptor_holds_the_lock_on(repository, tmp_path):
    with holder(repository, tmp_path / "lock", "child") as process:
        taken = waiter(tmp_path / "lock")
        process.kill()
        process.wait()
        assert not taken.wait(0.5)
        process.stdin.write("\n")  # the child ends
        process.stdin.flush()
        assert taken.wait(10)


def test_many_threads_hold_it_one_at_a_time_while_each_removes_it(tmp_path):
    """A waiter may get the lock of a file that its holder has removed: it must not count."""
    inside, most, said = 0, 0, []

    def work():
        nonlocal inside, most
        for _ in range(25):
            with file_lock(tmp_path / "folder" / "lock", lambda: said.append("waits"), remove=True):
                inside += 1
                most = max(most, inside)
                time.sleep(1e-4)
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert most == 1
    assert 0 < len(said) <= 150
    assert list((tmp_path / "folder").iterdir()) == []


def test_a_free_lock_is_not_waited_for_and_stays_where_it_is(tmp_path):
    with file_lock(tmp_path / "lock") as held:
        assert not held.waited
    assert (tmp_path / "lock").exists()
