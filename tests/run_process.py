"""Runs in processes of their own, for tests that kill, stop, or multiply them."""

import atexit
import contextlib
import functools
import io
import itertools
import json
import multiprocessing
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).parents[1]


@functools.cache
def _own_ports() -> tuple[socket.socket, Iterator[int]]:
    """A socket that no other process has while this one lives, and the ports that go with it.

    They lie below those that the system lends, so that nobody is given one between asking for it
    and listening.
    """
    for first in range(10_000, 32_000, 100):
        claim = socket.socket()
        with contextlib.suppress(OSError):
            claim.bind(("127.0.0.1", first))
            atexit.register(claim.close)
            return claim, itertools.cycle(range(first + 1, first + 100))
        claim.close()
    raise AssertionError("every hundred of ports is taken")


def free_port() -> int:
    """A loopback port that nobody listens on, and that no other process of these tests will use."""
    for port in _own_ports()[1]:
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("a cycle ends nowhere")


def torchrun(*arguments: str, processes: int) -> subprocess.Popen[str]:
    """`torchrun --standalone … -m gpu_runner …`, as one types it."""
    settings = {**os.environ, "PYTHONPATH": str(ROOT / "py"), "OMP_NUM_THREADS": "1"}
    several = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    return subprocess.Popen(
        [sys.executable, *several, "-m", "gpu_runner", *arguments],
        env=settings,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


class Command:
    """`unfrozen …` in processes that begin with everything loaded, used as `subprocess.Popen` is.

    Those of one run with several are set up as torchrun does it.
    """

    def __init__(self, arguments: tuple[str, ...], processes: int, limits: dict[int, int]) -> None:
        reading, writing = children().Pipe(duplex=False)
        make, given = children().Process, (writing, arguments, limits, dict(os.environ))
        if processes == 1:
            self.started = [make(target=_typed, args=(given,))]
            self.started[0].start()
        else:
            self.started = together(_typed, given, processes)
        writing.close()
        self.stdout = open(os.dup(reading.fileno()), encoding="utf-8")  # noqa: PTH123, SIM115
        reading.close()

    def poll(self) -> int | None:
        """The exit code of the run, the first that is not 0, once all its processes have ended."""
        codes = [child.exitcode for child in self.started]
        return None if None in codes else next((code for code in codes if code), 0)

    @property
    def returncode(self) -> int | None:
        return self.poll()

    def send_signal(self, number: int) -> None:
        """Send every process a signal."""
        for child in self.started:
            assert child.pid is not None
            os.kill(child.pid, number)

    def kill(self) -> None:
        """End every process at once."""
        for child in self.started:
            child.kill()

    def wait(self) -> None:
        """Return once all processes have ended."""
        for child in self.started:
            child.join()

    def communicate(self) -> tuple[str, None]:
        """Everything it still says, once it has ended."""
        said = self.stdout.read()
        self.stdout.close()
        self.wait()
        return said, None


def runner(
    *arguments: str,
    processes: int = 1,
    largest_file: int | None = None,
    most_data: int | None = None,
) -> Command:
    """`unfrozen …`, on one process or several; no file grows beyond `largest_file`.

    No process may have more than `most_data` bytes of its own, as under `ulimit -d`.
    """
    limits = {resource.RLIMIT_FSIZE: largest_file, resource.RLIMIT_DATA: most_data}
    return Command(arguments, processes, {k: most for k, most in limits.items() if most})


def _typed(given: tuple[Connection, tuple[str, ...], dict[int, int], dict[str, str]]) -> None:
    """The command in this process, which is a child: what it says goes into the connection."""
    from gpu_runner.cli.command_line import main

    output, arguments, limits, settings = given
    for stream in (1, 2):
        os.dup2(output.fileno(), stream)
    output.close()
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
    os.environ.update(settings)
    # Who starts the tests in the background ignores Ctrl-C, and a child would too.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for limit, most in limits.items():
        resource.setrlimit(limit, (most, most))
    main(list(arguments))


def events(run: Path) -> list[dict[str, Any]]:
    """Every whole event of a run."""
    found = []
    for line in (run / "events.jsonl").read_text("utf-8").splitlines():
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError:
            continue  # torn by a kill
    return found


def losses(run: Path) -> dict[int, tuple[float, float]]:
    """Step → (loss, gradient norm); of a step taken twice, both times must agree."""
    found: dict[int, tuple[float, float]] = {}
    for event in events(run):
        if event["kind"] == "metrics" and "train/loss" in event["m"]:
            pair = (event["m"]["train/loss"], event["m"]["train/grad_norm"])
            assert found.setdefault(event["step"], pair) == pair
    return found


def wait_for_step(runs: Path, step: int, process: Command | subprocess.Popen[str]) -> Path:
    """The run's directory once its log says that `step` is done."""
    while process.poll() is None:
        for run in runs.iterdir() if runs.exists() else ():
            if (run / "events.jsonl").exists() and last_step(run) >= step:
                return run
        time.sleep(0.01)
    raise AssertionError(
        f"the run ended before step {step}: {process.stdout and process.stdout.read()}"
    )


def wait_for_line(start: str, process: Command | subprocess.Popen[str]) -> None:
    """Return once the run prints a line that begins so: sooner than its log could be read."""
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        said.append(line)
        if line.startswith(start):
            return
    raise AssertionError(f"no line {start!r} in {''.join(said)}")


def last_step(run: Path) -> int:
    """The newest step that the log tells of."""
    return max((event["step"] for event in events(run)), default=0)


def children() -> ForkServerContext:
    """Where processes come from that begin with everything loaded and nothing computed."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["loaded_libraries"])
    return context


def begin(target: Callable[[Any], None], argument: Any) -> ForkServerProcess:
    """A child that calls `target(argument)`, started."""
    child = children().Process(target=target, args=(argument,))
    child.start()
    return child


def together(target: Any, argument: Any, size: int = 2) -> list[Any]:
    """`size` children that call `target(argument)` as the processes of one run, started."""
    port, make = free_port(), children().Process
    started = [
        make(target=as_rank, args=(rank, size, port, target, argument)) for rank in range(size)
    ]
    for child in started:
        child.start()
    return started


def as_rank(rank: int, size: int, port: int, target: Any, argument: Any) -> None:
    """What torchrun sets up, in this process, which is a child."""
    found = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in found.items()})
    os.environ["MASTER_ADDR"] = "127.0.0.1"
    target(argument)


def late_share(memory: Iterable[dict[str, Any]]) -> float:
    """What a busy machine may measure beyond the prediction, as a share of it.

    Gloo may hold what one unit of a sharded model gathered a moment longer than the step does.
    """
    parts = [(event["components"].get("gathered", 0), event["total_bytes"]) for event in memory]
    return max(gathered / total for gathered, total in parts)


def fail_on_first(folder: str) -> None:
    """The first process divides by zero for all; what each of them hears goes to `folder`/rank."""
    import torch

    from gpu_runner.world import join

    world = join(torch.device("cpu"))
    try:
        world.on_first(lambda: 1 // 0)
    except Exception as error:
        (Path(folder) / str(world.rank)).write_text(f"{type(error).__name__}: {error}")
    world.close()


def call_main(given: tuple[str, str, Any]) -> None:
    """The `main` of a module; what is said on the way goes to the end of a file."""
    import importlib

    file, module, words = given
    with open(file, "a") as said:  # noqa: PTH123
        for stream in (1, 2):
            os.dup2(said.fileno(), stream)
    code = importlib.import_module(module).main(words)
    sys.stdout.flush()
    sys.exit(code)


def serve_quickly(words: list[str], token: str) -> None:
    """`unfrozen serve` in this process, which is a child.

    It waits a fifth as long as others, and takes any number of commands a second.
    """
    from gpu_runner.cli.command_line import main
    from gpu_runner.serve import connections, control, guard, stream

    for module, name in (
        (connections, "HEAD_SECONDS"),
        (connections, "BODY_SECONDS"),
        (control, "BODY_SECONDS"),
        (stream, "HEARTBEAT_SECONDS"),
    ):
        setattr(module, name, getattr(module, name) / 5)
    guard.Allowance.__init__.__defaults__ = (1e6, 1e6)
    os.environ["UNFROZEN_TOKEN"] = token
    main(["serve", "--no-open", *words])


def train_here(options: dict[str, Any]) -> None:
    """A new run in this process, which is a child."""
    from gpu_runner.config.load import resolve
    from gpu_runner.run.fine_tune import fine_tune

    fine_tune(resolve(options), _quiet_console())


def stand_after(step: int, target: Callable[[Any], None], argument: Any) -> None:
    """`target(argument)` in this process, which is a child and stops itself after a step.

    Its run neither ends nor goes on before the test has seen it: see `wait_until_standing`.
    """
    from gpu_runner.train import loop

    timed_step = loop.timed_step

    def step_or_stand(training: Any, number: int) -> Any:
        if number == step + 1:
            os.kill(os.getpid(), signal.SIGSTOP)
        return timed_step(training, number)

    loop.timed_step = step_or_stand
    target(argument)


def wait_until_standing(*started: Any) -> None:
    """Return once a child has stopped itself; SIGCONT lets it go on.

    Of the processes of one run the others may wait for what that one would send.
    """
    processes = [psutil.Process(child.pid) for child in started]
    while all(process.status() != psutil.STATUS_STOPPED for process in processes):
        assert not [child for child in started if not child.is_alive()]
        time.sleep(0.005)


def begin_apart(options_and_changes: tuple[dict[str, Any], dict[str, Any], str]) -> None:
    """A new run, or one that goes on, whose process 1 is given something else than process 0.

    What each of them hears goes to a folder, as a file named by its number.
    """
    from gpu_runner.config.load import resolve
    from gpu_runner.errors import RunnerError
    from gpu_runner.run.fine_tune import fine_tune
    from gpu_runner.run.resume import resume

    options, changes, folder = options_and_changes
    rank = os.environ["RANK"]
    given = options | (changes if rank == "1" else {})
    try:
        if "run" in given:
            resume(Path(given["run"]), _quiet_console())
        else:
            fine_tune(resolve(given), _quiet_console())
    except RunnerError as error:
        (Path(folder) / rank).write_text(str(error), "utf-8")


def train_with_short_beats(options: dict[str, Any]) -> None:
    """The same, with a sign of life twice a second."""
    from gpu_runner.run import control, recorder

    control.BEAT_SECONDS = recorder.BEAT_SECONDS = 0.5
    train_here(options)


def train_until_one_ends(options_and_way: tuple[dict[str, Any], str]) -> None:
    """A run whose process 1 ends before step 3, in a way, while process 0 waits without an error.

    It waits as for a kernel of NCCL, outside of Python: gloo would see a closed connection.
    """
    from dataclasses import replace
    from datetime import timedelta

    import torch.distributed as dist

    from gpu_runner.train import loop
    from gpu_runner.world import peers

    options, way = options_and_way
    step, rank = loop.timed_step, int(os.environ["RANK"])
    if way == "kill":
        peers.GRACE_SECONDS = 1.0  # nothing that process 0 waits for comes in this time or a longer
    if way == "stop":  # each process on a machine of its own, of which one is lost
        this = peers.Peer.this()
        peers.Peer.this = lambda: replace(this, machine=f"machine {rank}")
        peers.SILENT_SECONDS = 3.0

    def until_third(training: Any, number: int) -> Any:
        if number < 3:
            return step(training, number)
        if rank == 0:
            dist.distributed_c10d._get_default_store().wait(["never"], timedelta(minutes=30))
        if way == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if way == "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        if way == "exit":
            sys.exit(3)
        raise ZeroDivisionError("of process 1")

    loop.timed_step = until_third
    train_here(options)


def resume_here(run: str) -> None:
    """The same for a run that goes on."""
    from gpu_runner.run.resume import resume

    resume(Path(run), _quiet_console())


def resume_further(run_and_steps: tuple[str, int]) -> None:
    """The same for a run that goes on to so many steps in all."""
    from gpu_runner.run.resume import ResumeOptions, resume

    run, steps = run_and_steps
    resume(Path(run), _quiet_console(), ResumeOptions(steps=steps))


def train_here_and_copy_checkpoints(options: dict[str, Any]) -> None:
    """The same, with a copy of every checkpoint beside it: what others are compared with."""
    import shutil

    from gpu_runner.run.checkpointer import Checkpointer

    save = Checkpointer.save

    def save_and_copy(self: Any, state: Any) -> Any:
        saved = save(self, state)
        if self.world.first:
            shutil.copytree(saved.path, self.directory / "copies" / saved.path.name)
        return saved

    Checkpointer.save = save_and_copy  # type: ignore[method-assign]
    train_here(options)


def _quiet_console() -> Any:
    """One thread, no progress bars, and a console that nobody reads."""
    import torch
    import transformers
    from rich.console import Console

    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    return Console(file=io.StringIO())


def restore_and_weigh(folder: str) -> None:
    """Moments are written whole and read again by each process; what they hold goes to a file.

    `folder`/rank has two numbers: bytes of the process's own parts, and of the memory behind them.
    """
    import torch

    import tiny_llama
    from gpu_runner.checkpoint import training_state
    from gpu_runner.optim import optimizer as optim
    from gpu_runner.world import join, local

    world = join(torch.device("cpu"))
    model = tiny_llama.model()
    world.shard(model, None)
    made = optim.build(model, lr=1e-3, weight_decay=0.0)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    made.step(1e-3, torch.ones(()), 0.0)
    tensors, metadata = training_state.collect(model, made, world)
    world.on_first(lambda: training_state.write(Path(folder), tensors, metadata))
    read = optim.build(model, lr=1e-3, weight_decay=0.0)
    training_state.restore(Path(folder), model, read, world)
    held = [local(value) for state in read.state.values() for value in state.values()]
    own = sum(tensor.nbytes for tensor in held)
    behind = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in held}
    (Path(folder) / str(world.rank)).write_text(f"{own} {sum(behind.values())}")
    world.close()


def below(word: str) -> list[psutil.Process]:
    """Return what this process started, directly or not, whose command line has `word`."""
    found = []
    for one in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # it ended meanwhile
            found += [one] if word in one.cmdline()[:5] else []
    return found
