"""Requests as files: in order, whole or not at all, answered once, and robust to a kill at any moment."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from lobula.errors import StoreError
from lobula.exploration import inbox


def test_requests_come_in_order_and_go_when_answered(tmp_path: Path) -> None:
    assert inbox.pending(tmp_path) == []
    numbers = [inbox.submit(tmp_path, inbox.NOTE, {"node": None, "text": str(index)}) for index in range(20)]
    found = inbox.pending(tmp_path)
    assert [request.id for request in found] == numbers
    assert [request.content["text"] for request in found] == [str(index) for index in range(20)]
    inbox.answer(tmp_path, numbers[3], {"verdict": "done"})
    assert numbers[3] not in [request.id for request in inbox.pending(tmp_path)]
    assert inbox.answer_to(tmp_path, numbers[3]) == {"verdict": "done"}
    assert inbox.answer_to(tmp_path, numbers[4]) is None


def test_waiting_ends_with_the_answer_or_the_time(tmp_path: Path) -> None:
    number = inbox.submit(tmp_path, inbox.STOP, {"reason": "enough"})
    began = time.monotonic()
    assert inbox.wait_for(tmp_path, number, 0.2) is None
    assert time.monotonic() - began >= 0.2
    thread = threading.Timer(0.3, inbox.answer, (tmp_path, number, {"verdict": "done"}))
    thread.start()
    assert inbox.wait_for(tmp_path, number, 60) == {"verdict": "done"}
    thread.join()


def test_a_kill_between_answer_and_removal_does_not_open_the_request_again(tmp_path: Path) -> None:
    number = inbox.submit(tmp_path, inbox.STOP, {"reason": "enough"})
    request = tmp_path / "inbox" / f"{number}.json"
    text = request.read_text()
    inbox.answer(tmp_path, number, {"verdict": "done"})
    request.write_text(text)  # as if the controller had died before it was removed
    assert inbox.pending(tmp_path) == []
    inbox.answer(tmp_path, number, {"verdict": "done"})
    assert not request.exists()


def test_foreign_and_half_written_files_are_left_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    number = inbox.submit(tmp_path, inbox.NOTE, {"text": "good"})
    folder = tmp_path / "inbox"
    (folder / f".{number}.json.1.partial").write_text('{"id": ')
    (folder / "notes.json").write_text("{}")
    broken = folder / f"{number[:-8]}ffffffff.json"
    broken.write_text('{"kind": "note", ')
    assert [request.id for request in inbox.pending(tmp_path)] == [number]
    assert broken.name in caplog.text
    assert broken.exists()


@pytest.mark.parametrize("number", ["../../etc/passwd", "", "1", "a/b"])
def test_only_ids_name_files(tmp_path: Path, number: str) -> None:
    with pytest.raises(StoreError, match="expected the id"):
        inbox.answer(tmp_path, number, {})
    with pytest.raises(StoreError, match="expected the id"):
        inbox.answer_to(tmp_path, number)


def test_writers_that_are_killed_leave_whole_requests_only(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from lobula.exploration import inbox\n"
        "print('ready', flush=True)\n"
        "while True: inbox.submit(Path(sys.argv[1]), 'note', {'text': 'x' * 5000})"
    )
    for delay in (0.0, 0.05, 0.11, 0.2):
        writer = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
        assert writer.stdout.readline() == b"ready\n"
        time.sleep(delay)
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
    requests = inbox.pending(tmp_path)
    assert requests
    assert all(request.content == {"text": "x" * 5000} for request in requests)
    assert len(requests) == len(list((tmp_path / "inbox").glob("*.json")))
