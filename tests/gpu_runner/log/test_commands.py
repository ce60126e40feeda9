"""What is wanted of a run: commands add up, old ones are over, and no other file is obeyed."""

import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import build
from gpu_runner.log.commands import MAX_BYTES, NAME, CommandReader, Commands, post_command
from unfrozen.plain import NotPlain


def wanted(directory: Path, attempt: int = 0) -> Commands:
    """What a run that begins to read now is asked for."""
    return CommandReader(directory, "one", attempt).read()


def test_a_run_that_nobody_asks_for_anything_goes_on(tmp_path: Path) -> None:
    assert wanted(tmp_path) == Commands()


def test_commands_that_come_before_they_are_read_add_up(tmp_path: Path) -> None:
    mailbox = CommandReader(tmp_path, "one", 0)
    pause = post_command(tmp_path, "one", 0, "pause")
    save = post_command(tmp_path, "one", 0, "checkpoint")
    assert mailbox.read() == Commands(save.seq, paused=True, save=save.seq)
    post_command(tmp_path, "one", 0, "pause")
    go = post_command(tmp_path, "one", 0, "resume")
    assert mailbox.read() == Commands(go.seq, paused=False, save=save.seq)
    assert pause.seq < save.seq < go.seq
    look = post_command(tmp_path, "one", 0, "evaluate")
    assert mailbox.read() == Commands(look.seq, save=save.seq, look=look.seq)
    assert post_command(tmp_path, "one", 0, "stop").stop
    assert mailbox.read().stop


def test_what_an_earlier_attempt_was_reported_is_over(tmp_path: Path) -> None:
    stop = post_command(tmp_path, "one", 0, "stop")
    assert wanted(tmp_path, attempt=1) == Commands()
    pause = post_command(tmp_path, "one", 1, "pause")
    assert pause == Commands(pause.seq, paused=True)
    assert pause.seq > stop.seq
    assert wanted(tmp_path, attempt=1) == pause
    assert wanted(tmp_path, attempt=0) == Commands()


def test_a_number_is_never_given_twice_even_if_the_file_is_lost(tmp_path: Path) -> None:
    mailbox = CommandReader(tmp_path, "one", 0)
    first = post_command(tmp_path, "one", 0, "pause")
    assert mailbox.read() == first
    (tmp_path / NAME).unlink()
    assert mailbox.read() == Commands(first.seq)  # who takes the file away lets the run go on
    assert post_command(tmp_path, "one", 0, "checkpoint").seq > first.seq
    assert mailbox.read().save > first.seq


def test_only_its_owner_can_read_the_file_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    post_command(tmp_path, "one", 0, "pause")
    assert stat.S_IMODE((tmp_path / NAME).stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


@pytest.mark.slow
def test_no_command_of_many_in_a_moment_is_taken_for_an_earlier_one(tmp_path: Path) -> None:
    mailbox = CommandReader(tmp_path, "one", 0)
    for _ in range(300):
        assert mailbox.read().seq < post_command(tmp_path, "one", 0, "pause").seq
        assert mailbox.read().seq < post_command(tmp_path, "one", 0, "resume").seq


def test_an_unchanged_file_is_not_opened_again(tmp_path: Path) -> None:
    mailbox = CommandReader(tmp_path, "one", 0)
    post_command(tmp_path, "one", 0, "pause")
    assert mailbox.read().paused
    (tmp_path / NAME).chmod(0)
    assert mailbox.read().paused
    assert mailbox.problem == ""


def torn(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:40])


def foreign(path: Path) -> None:
    post_command(path.parent, "another", 0, "stop")


def of_another_version(path: Path) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | {"v": 2, "stop": True}))


def with_a_word_for_a_flag(path: Path) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | {"stop": "yes"}))


def with_a_flag_for_a_number(path: Path) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | {"seq": True}))


def endless(path: Path) -> None:
    path.write_text(" " * MAX_BYTES + path.read_text())


def nested(path: Path) -> None:
    path.write_text("[" * MAX_BYTES)


def a_list(path: Path) -> None:
    path.write_text("[]")


def empty(path: Path) -> None:
    path.write_text("")


def binary(path: Path) -> None:
    path.write_bytes(bytes(range(256)))


def a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def a_link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def open_to_others(path: Path) -> None:
    path.chmod(0o622)
    path.write_text(path.read_text() + "\n")


@pytest.mark.parametrize(
    "damage",
    [
        *(torn, foreign, of_another_version, with_a_word_for_a_flag, with_a_flag_for_a_number),
        *(endless, nested, a_list, empty, binary, a_pipe, a_folder, a_link, open_to_others),
    ],
)
def test_any_other_file_changes_nothing_and_is_named(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    mailbox = CommandReader(tmp_path, "one", 0)
    before = post_command(tmp_path, "one", 0, "pause")
    assert mailbox.read() == before
    damage(tmp_path / NAME)
    assert mailbox.read() == before
    assert str(tmp_path / NAME) in mailbox.problem
    if damage in (a_pipe, a_folder, a_link):  # which nothing of ours may replace
        with pytest.raises(NotPlain):
            post_command(tmp_path, "one", 0, "checkpoint")
    else:
        after = post_command(tmp_path, "one", 0, "checkpoint")
        assert mailbox.read() == after
        assert mailbox.problem == ""


@pytest.mark.slow
def test_two_servers_lose_no_command_of_each_other(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from gpu_runner.log.commands import post_command\n"
        "print(*[post_command(Path(sys.argv[1]), 'one', 0, 'checkpoint').seq for _ in range(100)])"
    )
    servers = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path)],
            env={**os.environ, "PYTHONPATH": str(build.ROOT / "py")},
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    given = [number for server in servers for number in server.communicate()[0].split()]
    assert len(set(given)) == 200
    assert wanted(tmp_path).save == max(map(int, given))
