"""The address that a server leaves for other commands, while it lives."""

import os
import socket
import stat
from pathlib import Path

import pytest

from gpu_runner.address import FILE, Address, find, published

TOKEN = "0" * 32


@pytest.fixture
def address() -> Address:
    return Address("http://127.0.0.1:1", TOKEN, os.getpid())


def test_an_address_leads_to_the_article_a_run_and_a_plan(address: Address) -> None:
    assert address.front() == f"http://127.0.0.1:1/#t={TOKEN}"
    assert address.run("a b/c") == f"http://127.0.0.1:1/runs/?run=a%20b%2Fc#t={TOKEN}"
    assert address.plan("gpus=8") == f"http://127.0.0.1:1/planner/#t={TOKEN}&planner?gpus=8"
    assert address.plan("") == f"http://127.0.0.1:1/planner/#t={TOKEN}&planner"


def test_it_is_found_while_the_server_answers_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        served = Address(f"http://127.0.0.1:{listener.getsockname()[1]}", TOKEN, os.getpid())
        with published(runs, served):
            assert find(runs) == served
            assert stat.S_IMODE((runs / FILE).stat().st_mode) == 0o600
        assert find(runs) is None
        assert not (runs / FILE).exists()


def test_one_that_was_killed_or_ended_is_not_found(tmp_path: Path, address: Address) -> None:
    with published(tmp_path, address):
        assert find(tmp_path) is None  # nobody listens on port 1
    dead = Address("http://127.0.0.1:1", TOKEN, 2**22 + 1)
    with published(tmp_path, dead):
        assert find(tmp_path) is None
    (tmp_path / FILE).write_text("{")
    assert find(tmp_path) is None


def test_the_newer_of_two_servers_keeps_its_address(tmp_path: Path, address: Address) -> None:
    newer = Address("http://127.0.0.1:2", TOKEN, os.getpid())
    with published(tmp_path, address):
        (tmp_path / FILE).unlink()
        with published(tmp_path, newer):
            pass
        assert not (tmp_path / FILE).exists()
        (tmp_path / FILE).write_text('{"origin": "http://127.0.0.1:2", "token": "1", "pid": 1}')
    assert (tmp_path / FILE).exists()
