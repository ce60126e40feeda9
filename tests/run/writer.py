"""A process that writes a run's log through the real `EventLog`, at a chosen pace.

    python tests/run/writer.py RUNS_DIR RUN_ID --steps 200 --pace 0.05 [--end finished] [--resume]

It stands for the trainer where a test is about the log, the server or the page: the same file, the
same lock, the same way to die. After every event it prints the event's number once it is safe.
SIGUSR1 lets it end after the step that it is in; one that lingers takes all its steps, and then
waits for that.
"""

import argparse
import math
import signal
import sys
import time
from pathlib import Path

from gpu_runner.log.writer import EventLog, SystemClock

GIB = 1024**3
LAYERS = {"params": 0.25, "grads": 0.25, "moments": 0.5}
PREDICTED = {
    "load": {"params": 0.25},
    "end_of_forward": {"params": 0.25, "moments": 0.5, "activations": 0.31, "logits_loss": 0.12},
    "end_of_backward": {**LAYERS, "activations": 0.04, "logits_loss": 0.02},
    "optimizer_step": {**LAYERS, "workspace": 0.01},
}


def sized(parts: dict[str, float], factor: float) -> dict[str, int]:
    """Gibibytes to bytes."""
    return {name: int(gib * factor * GIB) for name, gib in parts.items()}


def rate(step: int, steps: int) -> float:
    """Warm-up over a tenth, then a cosine to zero."""
    warm = max(1, steps // 10)
    if step <= warm:
        return 3e-4 * step / warm
    return 1.5e-4 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def start(log: EventLog, steps: int) -> None:
    """The first events of a run."""
    plan = [*range(1, steps + 1, max(1, steps // 200))]
    log.emit(
        "run.start",
        0,
        config={"micro_batch_rows": 8},
        versions={"torch": "2.13.0"},
        hardware={"device": "cpu", "threads": 2},
        model={"name": "demo", "num_parameters": 1_836_288, "layers": 6},
        data={
            "train_rows": 1200,
            "train_tokens": 30_000,
            "trainable_tokens": 9000,
            "eval_rows": 100,
        },
        recipe={"name": "fp32"},
        bytes_per_parameter=16,
        predicted={
            "peak_instant": "end_of_forward",
            "peak_bytes": sum(sized(PREDICTED["end_of_forward"], 1.0).values()),
            "instants": {name: sized(parts, 1.0) for name, parts in PREDICTED.items()},
        },
        plan={"steps": steps, "lr_steps": plan, "lr": [rate(step, steps) for step in plan]},
    )
    for prompt, text in (("reverse: planet", "planet planet"), ("capital of Norway?", "Oslo")):
        log.emit("sample", 0, prompt=prompt, text=text, when="before")
    evaluate(log, 0, steps)


def evaluate(log: EventLog, step: int, steps: int) -> None:
    """Task loss falls, general loss creeps up."""
    done = step / steps
    for suite, base, change in (
        ("task", 2.61, -1.9),
        ("general", 0.92, 0.38),
        ("general/copying", 0.71, 0.1),
    ):
        delta = change * (1 - math.exp(-3 * done))
        log.emit(
            "eval", step, suite=suite, loss=base + delta, delta=delta, baseline=base, tokens=5000
        )


def train_step(log: EventLog, step: int, steps: int, nan_at: int) -> None:
    """Everything the trainer says about one step."""
    noise = math.sin(step * 12.9898) * 43758.5453 % 1 - 0.5
    loss = (
        math.nan if 0 < nan_at <= step else 2.6 * math.exp(-2.5 * step / steps) + 0.25 + 0.2 * noise
    )
    scalars = {"train/loss": loss, "opt/lr": rate(step, steps), "train/grad_norm": 1 + noise}
    scalars |= {
        "perf/tokens_per_second": 5200 + 400 * noise,
        "perf/step_seconds": 0.18 - 0.02 * noise,
    }
    log.emit("metrics", step, m=scalars)
    if step == 1:
        for place, (instant, parts) in enumerate(PREDICTED.items()):
            measured = sized(parts, 0.97 + 0.02 * place)
            total = sum(measured.values())
            log.emit(
                "mem",
                step,
                instant=instant,
                components=measured,
                total_bytes=total,
                source="tensors",
            )
    if step == steps // 2:
        log.emit("alert", step, level="warn", text="general loss is 0.25 nats above step 0")
    if step % max(1, steps // 10) == 0:
        evaluate(log, step, steps)
        log.emit("beat", step, expect_next_in=1.0)


def train(log: EventLog, args: argparse.Namespace, last: int) -> None:
    """The steps to `last`, or to the one in which SIGUSR1 comes."""
    asked: list[int] = []
    signal.signal(signal.SIGUSR1, lambda number, _: asked.append(number))
    for step in range(args.first, last + 1):
        train_step(log, step, args.steps, args.nan_at)
        print(step, flush=True)
        time.sleep(args.pace)
        if asked and not args.linger:
            break
    while args.linger and not asked:
        log.emit("beat", last, expect_next_in=1.0)
        time.sleep(0.2)


def main() -> None:
    """Write, flush after each event, and stop when told or killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("runs", type=Path)
    parser.add_argument("run_id")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--until", type=int, default=10**9)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--pace", type=float, default=0.0)
    parser.add_argument("--end", default="")
    parser.add_argument("--nan-at", type=int, default=0)
    parser.add_argument(
        "--hang", action="store_true", help="stay alive and silent after the last step"
    )
    parser.add_argument(
        "--linger", action="store_true", help="beat after the last step until SIGUSR1, then end"
    )
    args = parser.parse_args()
    path = args.runs / args.run_id / "events.jsonl"
    log = EventLog(path, run=args.run_id, clock=SystemClock(), attempt=int(args.first > 1))
    if args.first > 1:
        log.emit("run.resume", args.first - 1, from_step=args.first - 1)
    else:
        start(log, args.steps)
    last = min(args.steps, args.until)
    train(log, args, last)
    if args.end:
        for prompt, text in (("reverse: planet", "tenalp"), ("capital of Norway?", "olsO")):
            log.emit("sample", last, prompt=prompt, text=text, when="after")
        log.emit(
            "run.end",
            last,
            status=args.end,
            reason="" if args.end == "finished" else "the test said so",
        )
    while args.hang:
        time.sleep(1)
    log.close()


if __name__ == "__main__":
    sys.exit(main())
