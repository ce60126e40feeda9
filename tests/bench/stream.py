"""The way of an event from the trainer to the page, beside its bars.

    python3 build.py bench stream

Twelve scalars are logged; writers are killed with kill −9 at random; a long log is read by a bare
client, and by eight that stop reading; a page follows a run of many steps whose server is killed
again and again. A picture counts as updated when the step that it shows is on the screen.
"""

from __future__ import annotations

import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median, quantiles

import psutil
from playwright.sync_api import sync_playwright

import build
from browser.run_reader import RunReader, write
from conftest import CHROMIUM_FLAGS, Server
from crash.test_log_kill import die_while_writing
from crash.test_slow_clients import open_stream
from gpu_runner.log.tail import Tail, parse
from gpu_runner.log.writer import EventLog, SystemClock
from tests.bench import Ratio, show
from unfrozen.events import METRICS

EVENTS, LOG_KILLS, SERVER_KILLS = 20_000, 100, 20
REPLAYED, HELD, CLIENTS, DRAWN, FOLLOWED = 100_000, 1_000_000, 8, 100_000, 100
SCALARS = {metric.name: 1.2345678 for metric in METRICS[:12]}
P50_MICROSECONDS, P99_MICROSECONDS = 25.0, 100.0
REPLAY_SECONDS, ROOM_MEBIBYTES, UPDATE_SECONDS, PIXEL_SECONDS = 2.0, 24.0, 0.05, 0.15
# When each step was on the screen, and the longest wait of the page's main thread since the last.
FOLLOW = """() => {
  const [text, told] = [() => document.querySelector("run-view .run-step")?.textContent ?? "", []];
  let [before, longest, shown] = [performance.now(), 0, text()];
  const { port1, port2 } = new MessageChannel();
  port1.onmessage = () => {
    const now = performance.now();
    longest = Math.max(longest, now - before);
    before = now;
    setTimeout(() => port2.postMessage(0));
  };
  port2.postMessage(0);
  const frame = () => {
    if (text() !== shown) {
      shown = text();
      told.push([Number.parseInt(shown.slice(5)), Date.now() / 1000, longest / 1000]);
      longest = 0;
    }
    requestAnimationFrame(frame);
  };
  requestAnimationFrame(frame);
  window.told = told;
}"""


def percentiles_microseconds(call: Callable[[int], object]) -> tuple[float, float]:
    """Median and 99th percentile of the time of one call, over all events."""
    times = []
    for step in range(EVENTS):
        start = time.perf_counter_ns()
        call(step)
        times.append((time.perf_counter_ns() - start) / 1000)
    cuts = quantiles(times, n=100)
    return cuts[49], cuts[98]


def logging(folder: Path) -> tuple[list[Ratio], Ratio]:
    """What an event costs the trainer, beside its bars and beside the least that can be written."""
    with EventLog(folder / "events.jsonl", run="bench", clock=SystemClock()) as log:
        p50, p99 = percentiles_microseconds(lambda step: log.emit("metrics", step, m=SCALARS))
    bare = os.open(folder / "bare.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    least, _ = percentiles_microseconds(
        lambda _: os.write(bare, json.dumps(SCALARS).encode() + b"\n")
    )
    os.close(bare)
    bars = [
        Ratio("one event, median", p50, P50_MICROSECONDS, "µs"),
        Ratio("one event, 99th percentile", p99, P99_MICROSECONDS, "µs"),
    ]
    return bars, Ratio("json.dumps and os.write", p50, least, "µs")


def lost_events(folder: Path) -> int:
    """Return how many events that a writer knew to be safe are missing after LOG_KILLS deaths."""
    chance, path = random.Random(1), folder / "killed" / "events.jsonl"
    safe: set[tuple[int, int]] = set()
    for kill in range(LOG_KILLS):
        safe |= {*die_while_writing(path, kill, chance.uniform(0, 0.02))}
    tail, found = Tail(path), set()
    while lines := tail.read():
        events = [parse(line) or {} for _, line in lines]
        found |= {(event.get("att"), event.get("step")) for event in events}
    return len(safe - found)


def long_log(runs: Path, events: int) -> None:
    """Write a log of so many events."""
    (runs / "long").mkdir(parents=True, exist_ok=True)
    envelope = {"v": 1, "run": "long", "att": 0, "t": 1.0, "rt": 1.0, "kind": "metrics"}
    event = {**envelope, "seq": "%d", "step": "%d", "m": {"train/loss": 2.5, "opt/lr": 1e-5}}
    line = json.dumps(event).replace('"%d"', "%d") + "\n"
    with (runs / "long" / "events.jsonl").open("w", encoding="utf-8") as file:
        file.writelines(line % (seq, seq) for seq in range(events))


def replay_seconds(server: Server) -> float:
    """Seconds until a client has the last event of the long log."""
    start, last = time.perf_counter(), f'"step": {REPLAYED - 1},'.encode()
    with open_stream(server) as wire:
        end = b""
        while last not in end:
            end = end[-100:] + wire.recv(1 << 20)
    return time.perf_counter() - start


def growth_mebibytes(server: Server) -> float:
    """How much the server grows over HELD events, read by one client beside CLIENTS that stop."""
    assert server.process is not None
    process = psutil.Process(server.process.pid)
    before, most = process.memory_info().rss, 0
    wires = [open_stream(server) for _ in range(CLIENTS)]
    last = f'"step": {HELD - 1},'.encode()
    with open_stream(server) as wire:
        end = b""
        while last not in end:
            end = end[-100:] + wire.recv(1 << 22)
            most = max(most, process.memory_info().rss)
    for wire in wires:
        wire.close()
    return (most - before) / 2**20


def followed(reader: RunReader, server: Server) -> tuple[float, float, int]:
    """Of a page that follows a long run: p99 from log to screen, p95 of an update, what it missed.

    The last is the events that are missing or repeated once its server was killed again and again.
    """
    runs = server.runs
    with write(runs, "live", "--steps", f"{2 * DRAWN}", "--until", f"{DRAWN}") as writer:
        writer.wait()
    reader.wait(lambda: reader.brief["step"] == DRAWN, "the long run")
    more = ("--steps", f"{2 * DRAWN}", "--first", f"{DRAWN + 1}", "--pace", "0.1")
    with write(runs, "live", *more) as trainer:
        reader.wait(lambda: reader.brief["step"] > DRAWN + 5, "its next steps")
        reader.page.evaluate(FOLLOW)
        reader.poll(lambda: reader.page.evaluate("told.length") >= FOLLOWED, "steps on the screen")
        told = reader.page.evaluate("told")[5:]
        for kill in range(SERVER_KILLS):
            at = reader.brief["step"]
            reader.poll(lambda at=at: reader.brief["step"] > at, "progress")  # type: ignore[misc]
            server.kill() if kill % 2 else server.stop()
            server.start()
        trainer.terminate()
    log = (runs / "live" / "events.jsonl").read_text("utf-8").splitlines()
    reader.poll(lambda: reader.brief["lastSeq"] == len(log) - 1, "the last event")
    events = [json.loads(line) for line in log]
    written = {event["step"]: event["t"] for event in events if event["kind"] == "metrics"}
    late = [at - written[step] for step, at, _ in told]
    state = reader.brief
    missed = abs(state["events"] - len(log)) + state["gaps"] + state["duplicates"]
    blocked = quantiles([longest for *_, longest in told], n=20)[18]
    return quantiles(late, n=100)[98], blocked, missed


def main() -> int:
    """Measure one after the other; 1 where a bar is missed."""
    with tempfile.TemporaryDirectory() as place, sync_playwright() as player:
        folder, runs = Path(place), Path(place, "runs")
        runs.mkdir(mode=0o700)
        rows, least = logging(folder)
        lost = lost_events(folder)
        server = Server(site=build.site(), runs=runs, log=folder / "server.log")
        long_log(runs, REPLAYED)
        server.start()
        replayed = median(replay_seconds(server) for _ in range(3))
        long_log(runs, HELD)
        grown = growth_mebibytes(server)
        browser = player.chromium.launch(executable_path=str(build.chromium()), args=CHROMIUM_FLAGS)
        try:
            page = browser.new_page()
            late, blocked, missed = followed(RunReader(page, server.url), server)
        finally:
            browser.close()
            server.stop()
    rows += [
        Ratio(f"{REPLAYED:,} events to a client", replayed, REPLAY_SECONDS, "s"),
        Ratio(f"growth, {HELD:,} events, {CLIENTS} slow clients", grown, ROOM_MEBIBYTES, "MiB"),
        Ratio(f"an update of {DRAWN:,} steps' charts, p95", blocked, UPDATE_SECONDS, "s"),
        Ratio("from the log to the screen, p99", late, PIXEL_SECONDS, "s"),
    ]
    show("the stream of a run", "its bar", rows)
    show("one event, 12 scalars", "json.dumps and os.write", [least])
    print(f"  events lost in {LOG_KILLS} kills of the writer: {lost}")
    print(f"  events missed or repeated in {SERVER_KILLS} kills of the server: {missed}")
    return int(lost + missed > 0 or any(row.value > row.baseline for row in rows))


if __name__ == "__main__":
    sys.exit(main())
