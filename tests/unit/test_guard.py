"""The guard of tests/conftest.py: a unit test that reached outside would depend on the host and nobody would notice."""

import socket
import subprocess

import pytest


def test_a_unit_test_cannot_start_a_process() -> None:
    with pytest.raises(RuntimeError, match=r"subprocess\.Popen"):
        subprocess.run(["true"])


def test_a_unit_test_cannot_open_a_connection() -> None:
    with socket.socket() as opened, pytest.raises(RuntimeError, match=r"socket\.connect"):
        opened.connect(("127.0.0.1", 9))


@pytest.mark.processes
def test_a_marked_test_can() -> None:
    assert subprocess.run(["true"]).returncode == 0
