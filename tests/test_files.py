"""Files appear whole or not at all, whatever befalls their writer, and nothing stays beside them."""

import errno
import os
import signal

import pytest

from diffens_core.support import files
from diffens_core.support.errors import DiffensError, WriteError
from diffens_core.support.files import alone_in, replacing, write_atomically


def names(folder) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_what_a_killed_process_left_is_removed_and_what_another_still_writes_is_kept(tmp_path):
    (tmp_path / ".partial-0123abcd-weights").write_bytes(b"half")
    with replacing(tmp_path / "first") as temporary:
        temporary.write_bytes(b"1")
        assert not temporary.name.endswith("abcd-weights") and names(tmp_path) == {temporary.name}
        write_atomically(tmp_path / "second", b"2")
        assert names(tmp_path) == {temporary.name, "second"}
    assert (tmp_path / "first").read_bytes() == b"1" and names(tmp_path) == {"first", "second"}


def test_a_killed_process_holds_nothing(tmp_path):
    told, tell = os.pipe()
    if not (child := os.fork()):
        try:
            with alone_in(tmp_path), replacing(tmp_path / "weights") as temporary:
                temporary.write_bytes(b"half")
                os.write(tell, b"!")
                signal.pause()
        finally:
            os._exit(1)
    os.read(told, 1)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert any(name.endswith("-weights") for name in names(tmp_path))
    with alone_in(tmp_path):
        write_atomically(tmp_path / "weights", b"whole")
    assert names(tmp_path) == {"weights", ".lock"}


def test_a_user_s_own_hidden_files_are_kept(tmp_path):
    others = {".partial-notes", ".partial-0123abcd", ".hidden"}
    for name in others:
        (tmp_path / name).touch()
    write_atomically(tmp_path / "file", b"")
    assert names(tmp_path) == others | {"file"}


def test_a_temporary_file_that_is_taken_for_abandoned_before_it_is_held_is_made_again(tmp_path, monkeypatch):
    taken, lock = [], files.flock

    def late(file, operation):
        if not taken:
            taken.append(file.name)
            (tmp_path / file.name).unlink()
        lock(file, operation)

    monkeypatch.setattr(files, "flock", late)
    write_atomically(tmp_path / "file", b"content")
    assert taken and names(tmp_path) == {"file"} and (tmp_path / "file").read_bytes() == b"content"


def test_without_locks_files_are_written_all_the_same(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    for missing in (None, refuse):
        monkeypatch.setattr(files, "flock", missing)
        write_atomically(tmp_path / "file", b"old")
        write_atomically(tmp_path / "file", b"new")
        assert (tmp_path / "file").read_bytes() == b"new" and names(tmp_path) == {"file"}


def test_an_error_of_the_system_names_the_file_and_leaves_the_old_one(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    said = rf"{path}: cannot be written \(No space left on device\); make room"
    with pytest.raises(WriteError, match=said), replacing(path):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert issubclass(WriteError, OSError) and path.read_bytes() == b"old" and names(tmp_path) == {"file"}
    with pytest.raises(DiffensError, match="^another$"), replacing(path):
        raise DiffensError("another")


def test_who_waits_for_another_says_so_once(tmp_path, monkeypatch, capsys):
    asked = []

    class Lock:
        def __init__(self, path):
            self.path = path

        def acquire(self, timeout=None):
            asked.append(timeout)
            if timeout:
                raise files.Timeout(self.path)

        def release(self):
            asked.append("released")

    monkeypatch.setattr(files, "FileLock", Lock)
    for _ in range(2):
        with alone_in(tmp_path):
            assert asked[-1] is None
    assert asked[-1] == "released" and capsys.readouterr().err.count(f"another process that works in {tmp_path}") == 1
