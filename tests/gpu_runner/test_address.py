"""The address that a server leaves for other commands, while it lives."""

import json
import os
import socket
import stat
import time
from collections.abc import Callable
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
        write(tmp_path, origin="http://127.0.0.1:2")
    assert (tmp_path / FILE).exists()


def write(runs: Path, **changes: object) -> None:
    """Write an address into a folder of runs as its owner would, with some of it changed."""
    whole = {"origin": "http://127.0.0.1:1", "token": TOKEN, "pid": os.getpid()} | changes
    (runs / FILE).write_text(json.dumps(whole))
    (runs / FILE).chmod(0o600)


def pipe(runs: Path) -> None:
    os.mkfifo(runs / FILE)


def device(runs: Path) -> None:
    (runs / FILE).symlink_to("/dev/zero")


def folder(runs: Path) -> None:
    (runs / FILE).mkdir()


def huge(runs: Path) -> None:
    write(runs)
    with (runs / FILE).open("a") as file:
        file.write(" " * 4096)


def sparse(runs: Path) -> None:
    write(runs)
    os.truncate(runs / FILE, 2**40)


def deep(runs: Path) -> None:
    (runs / FILE).write_text("[" * 4000)


def writable_by_others(runs: Path) -> None:
    write(runs)
    (runs / FILE).chmod(0o622)


def of_another_user(runs: Path) -> None:
    write(runs)
    os.chown(runs / FILE, 65534, 65534)


HOSTILE = [pipe, device, folder, huge, sparse, deep, writable_by_others]
HOSTILE += [of_another_user] * (os.geteuid() == 0)
CHANGES: list[dict[str, object]] = [
    {"origin": "http://evil.example:8384"},
    {"origin": "http://127.0.0.1:{port}@evil.example"},
    {"origin": "https://127.0.0.1:{port}"},
    {"origin": "http://127.0.0.1:{port}/x"},
    {"origin": "http://127.0.0.1:{port}\n"},
    {"origin": "http://127.0.0.1:99999"},
    {"token": "0" * 32 + "&x"},
    {"token": "\ud800" * 32},
    {"token": 0},
    {"pid": "1"},
    {"pid": -1},
    {"pid": 10**40},
    {"more": 1},
]


@pytest.mark.parametrize("leave", HOSTILE, ids=lambda leave: leave.__name__)
def test_what_is_no_file_of_the_user_is_no_address_and_nobody_waits_for_it(
    leave: Callable[[Path], None], tmp_path: Path
) -> None:
    leave(tmp_path)
    started = time.monotonic()
    assert find(tmp_path) is None
    assert time.monotonic() - started < 10


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_an_address_leads_to_this_machine_and_has_a_token(
    change: dict[str, object], tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        write(tmp_path, origin=f"http://127.0.0.1:{port}")
        assert find(tmp_path) is not None
        filled = {
            name: value.format(port=port) if isinstance(value, str) else value
            for name, value in change.items()
        }
        write(tmp_path, **{"origin": f"http://127.0.0.1:{port}"} | filled)
        assert find(tmp_path) is None


def test_what_stands_in_its_place_is_left_there(tmp_path: Path, address: Address) -> None:
    pipe(tmp_path)
    with published(tmp_path, address):
        assert find(tmp_path) is None
    assert stat.S_ISFIFO((tmp_path / FILE).stat().st_mode)
