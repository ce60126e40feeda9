"""The machine, sampled beside a loop: what is logged, what is reported once, what never happens."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gpu_runner.log.writer import EventLog, SystemClock
from gpu_runner.system.gpus import Gpus
from gpu_runner.system.sampler import MOST_ERRORS, Sampler
from run_process import ROOT
from stand_in_gpus import StandInGpu, write_gpus
from unfrozen.schema import read_line


def opened(folder: Path) -> EventLog:
    return EventLog(folder / "events.jsonl", run="run", clock=SystemClock())


def events(folder: Path, kind: str = "sys") -> list[dict[str, Any]]:
    lines = (folder / "events.jsonl").read_text().splitlines()
    verdicts = list(map(read_line, lines))
    assert not [verdict.problem for verdict in verdicts if verdict.problem]
    assert not sum(verdict.unknown for verdict in verdicts)
    return [event for event in map(json.loads, lines) if event["kind"] == kind]


def wait(until: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not until():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_a_sample_holds_memory_at_once_and_then_shares_of_the_processors(tmp_path: Path) -> None:
    with opened(tmp_path) as log, Sampler(log, lambda: 7, seconds=0.02) as sampler:
        wait(lambda: sampler.samples > 2)
    first, second, *_ = events(tmp_path)
    assert first["step"] == 7
    memory = {"sys/rss_bytes", "sys/ram_bytes", "sys/ram_total_bytes"}
    assert first["m"].keys() == memory
    assert second["m"].keys() == memory | {"sys/process_cpu", "sys/machine_cpu"}
    assert 0 < first["m"]["sys/ram_bytes"] < first["m"]["sys/ram_total_bytes"]
    assert first["m"]["sys/rss_bytes"] > 1 << 20


def both_gpus() -> Gpus:
    return Gpus.open([StandInGpu().uuid, "GPU-b"])


def test_every_gpu_has_series_of_its_own(tmp_path: Path, gpus_file: Path) -> None:
    write_gpus(gpus_file, StandInGpu(), StandInGpu(uuid="GPU-b", celsius=91, reasons=0x20))
    with (
        opened(tmp_path) as log,
        Sampler(log, lambda: 1, open_gpus=both_gpus, seconds=0.01) as sampler,
    ):
        wait(lambda: sampler.samples > 3)
    sample = events(tmp_path)[0]
    assert sample["m"]["gpu/power/0"] == sample["m"]["gpu/power/1"] == 412.5
    assert (sample["m"]["gpu/throttled/0"], sample["m"]["gpu/throttled/1"]) == (0, 1)
    assert sample["throttle"] == {"1": ["heat"]}
    (alert,) = events(tmp_path, "alert")  # once, however often it is seen
    assert alert["text"] == "GPU 1 is throttled at 91 °C: heat."


def test_a_lost_gpu_is_reported_and_the_rest_is_sampled(tmp_path: Path, gpus_file: Path) -> None:
    write_gpus(gpus_file, StandInGpu(), StandInGpu(uuid="GPU-b"))
    with (
        opened(tmp_path) as log,
        Sampler(log, lambda: 1, open_gpus=both_gpus, seconds=0.01) as sampler,
    ):
        wait(lambda: sampler.samples > 0)
        write_gpus(gpus_file, replace(StandInGpu(), memory=-15), StandInGpu(uuid="GPU-b"))
        wait(lambda: len(events(tmp_path, "alert")) > 0)
        before = sampler.samples
        wait(lambda: sampler.samples > before + 1)
    (alert,) = events(tmp_path, "alert")
    assert alert["text"] == "GPU 0 does not answer any more: GPU is lost."
    assert "gpu/power/1" in events(tmp_path)[-1]["m"]
    assert "gpu/power/0" not in events(tmp_path)[-1]["m"]


def test_gpus_that_cannot_be_asked_are_reported_once_and_the_machine_is_sampled(
    tmp_path: Path, gpus_file: Path
) -> None:
    write_gpus(gpus_file, StandInGpu(), init=18)
    with (
        opened(tmp_path) as log,
        Sampler(log, lambda: 1, open_gpus=both_gpus, seconds=0.01) as sampler,
    ):
        wait(lambda: sampler.samples > 2)
    (alert,) = events(tmp_path, "alert")
    assert alert["level"] == "info"
    assert "version mismatch" in alert["text"]


def test_an_error_of_its_own_is_reported_once_and_ends_it_after_a_few(tmp_path: Path) -> None:
    seen: list[str] = []

    def broken() -> dict[str, float]:
        raise OSError(f"file {len(seen)}")

    reports: list[tuple[str, str, int]] = []
    with opened(tmp_path) as log:
        sampler = Sampler(
            log,
            lambda: 3,
            more_metrics=broken,
            seconds=0.001,
            report=lambda *given: reports.append(given),
        )
        sampler.start()
        assert sampler._thread is not None
        sampler._thread.join()
        sampler.stop()
    assert reports == [("warn", "The machine was not sampled: OSError: file 0.", 3)]
    assert sampler.samples == 0
    assert MOST_ERRORS > 1


def test_a_driver_that_hangs_holds_up_neither_the_loop_nor_its_end(tmp_path: Path) -> None:
    asked, go_on = threading.Event(), threading.Event()

    class Hanging(Gpus):
        def __init__(self) -> None:
            self.lost = []

        def read(self) -> list[Any]:
            asked.set()
            go_on.wait()
            return []

        def close(self) -> None:
            pass

    with opened(tmp_path) as log:
        sampler = Sampler(log, lambda: 1, open_gpus=Hanging)
        sampler.start()
        thread = sampler._thread
        assert asked.wait()
        sampler.stop()
    assert thread is not None
    assert thread.is_alive()
    go_on.set()  # it finds the log closed, and says nothing
    thread.join()
    assert events(tmp_path) == []


@pytest.mark.slow
def test_a_child_that_is_forked_off_has_nothing_to_end_and_its_parent_goes_on(
    tmp_path: Path,
) -> None:
    script = f"""
import os, sys, time, warnings
warnings.simplefilter("ignore", DeprecationWarning)
from pathlib import Path
from gpu_runner.log.writer import EventLog, SystemClock
from gpu_runner.system.sampler import Sampler
import pytest
log = EventLog(Path({str(tmp_path / "events.jsonl")!r}), run="run", clock=SystemClock())
sampler = Sampler(log, lambda: 1, seconds=0.001)
sampler.start()
while sampler.samples < 3:
    time.sleep(0.001)
child = os.fork()
if not child:
    sampler.stop()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
before = sampler.samples
while sampler.samples < before + 3:
    time.sleep(0.001)
sampler.stop()
log.close()
assert "torch" not in sys.modules
"""
    subprocess.run(
        [sys.executable, "-c", script], check=True, env={"PYTHONPATH": str(ROOT / "py")}, timeout=60
    )
    lines = (tmp_path / "events.jsonl").read_text().splitlines()
    numbers = [json.loads(line)["seq"] for line in lines]
    assert numbers == list(range(len(numbers)))


def test_who_has_no_log_starts_no_thread(tmp_path: Path) -> None:
    with opened(tmp_path) as log, Sampler(log, lambda: 1, enabled=False) as sampler:
        assert sampler._thread is None
    assert events(tmp_path) == []
