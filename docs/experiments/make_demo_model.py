"""Make the demo model: `python docs/experiments/make_demo_model.py [--steps N] [--out DIR]`.

Writes `model/`, `data/` (the generated files) and `card.json`. One seed decides everything: same
seed, same torch build and same thread count give the same weights. About ten minutes on two cores.

The hidden matrices are trained with Muon, embeddings and norms with AdamW, the fastest known
recipe for a network this small; fine-tuning does not depend on it. The loss counts completions
fully and prompts by a tenth, because half of a prompt is a dice roll nobody can predict.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from typing import Any, Final

import tokenizers
import torch
import transformers
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from demo_model.network import encode, new_model, score, token_losses, train_tokenizer
from demo_model.skills import SKILLS, task_rows, write_data
from gpu_runner import demo
from unfrozen.schedules import Schedule

SEED: Final = 1234
STEPS: Final = 1000
#: Rows of each skill in a step.
ROWS_A_STEP: Final[dict[str, int]] = {"addition": 64, "reversal": 24, "capitals": 24, "tenses": 24}
PROMPT_WEIGHT: Final = 0.1
MUON_LR: Final = 0.02
ADAMW_LR: Final = 3e-3
WARMUP_STEPS: Final = 50
CLIP_NORM: Final = 1.0


def optimizers(model: LlamaForCausalLM) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the blocks, AdamW for the embedding and the norms."""
    inside = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]
    rest = [p for n, p in model.named_parameters() if p.ndim != 2 or "embed" in n]
    return [
        torch.optim.Muon(inside, lr=MUON_LR, weight_decay=0.01, momentum=0.95),
        torch.optim.AdamW(rest, lr=ADAMW_LR, betas=(0.9, 0.98), weight_decay=0.0),
    ]


def step_loss(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, seed: int, step: int
) -> torch.Tensor:
    """Mean of the skills' weighted losses; rows depend on seed, skill and step only."""
    total = torch.zeros(())
    for skill, (draw, _) in SKILLS.items():
        rng = Random(f"{seed}-{skill}-{step}")
        ids, targets, completion = encode([draw(rng) for _ in range(ROWS_A_STEP[skill])], tokenizer)
        weights = torch.where(completion, 1.0, PROMPT_WEIGHT) * (targets >= 0)
        losses = token_losses(model, ids, targets)
        total = total + (losses * weights).sum() / weights.sum() / len(SKILLS)
    return total


def pretrain(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    steps: int,
    report: Callable[[str], None],
) -> None:
    """Train in place, reporting the held-out scores every 200 steps."""
    groups = [(o, o.param_groups[0]["lr"]) for o in optimizers(model)]
    share = Schedule("wsd", steps, peak=1.0, warmup_steps=WARMUP_STEPS, decay_steps=steps // 2)
    for step in range(1, steps + 1):
        loss = step_loss(model, tokenizer, SEED, step)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
        for optimizer, peak_lr in groups:
            optimizer.param_groups[0]["lr"] = peak_lr * share.at(step)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        if step % 200 == 0 or step == steps:
            found = {s: score(model, rows(), tokenizer) for s, (_, rows) in SKILLS.items()}
            text = "  ".join(f"{s} {nats:.3f} {exact:4.0%}" for s, (nats, exact) in found.items())
            report(f"step {step:5d}  loss {loss.item():.3f}  {text}")


def what_was_done(steps: int, threads: int) -> dict[str, object]:
    """The pre-training recipe as plain data for the card."""
    return {
        "seed": SEED,
        "steps": steps,
        "rows_a_step": dict(ROWS_A_STEP),
        "rows": steps * sum(ROWS_A_STEP.values()),
        "prompt_weight": PROMPT_WEIGHT,
        "optimizer": "Muon on the blocks' matrices, AdamW on embedding and norms",
        "muon_lr": MUON_LR,
        "adamw_lr": ADAMW_LR,
        "schedule": f"{WARMUP_STEPS} steps warm-up, flat, second half linear to zero",
        "clip_norm": CLIP_NORM,
        "threads": threads,
    }


def sha256(path: Path) -> str:
    """Hex digest of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def scores(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast
) -> dict[str, dict[str, float]]:
    """Held-out loss (nats a completion token) and exact share of each skill, and of the task."""
    held_out = {skill: rows() for skill, (_, rows) in SKILLS.items()} | {"task": task_rows()[1]}
    found = {}
    for name, rows in held_out.items():
        loss, exact = score(model, rows, tokenizer)
        found[name] = {"loss": round(loss, 5), "exact": round(exact, 4), "rows": len(rows)}
    return found


def write_card(
    directory: Path,
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    pretraining: Mapping[str, Any],
) -> None:
    """Write `card.json` for the model and data that lie in `directory`, described by their hashes.

    `pretraining` is what the script did: seed, steps, rows, tokens, rates, threads.
    """
    shipped = sorted(p for part in ("model", "data") for p in (directory / part).iterdir())
    card = {
        "name": "Unfrozen demo model",
        "licence": "MIT; every training text is generated by us",
        "architecture": {
            key: getattr(model.config, key)
            for key in (
                "model_type",
                "num_hidden_layers",
                "hidden_size",
                "intermediate_size",
                "num_attention_heads",
                "num_key_value_heads",
                "vocab_size",
                "max_position_embeddings",
                "tie_word_embeddings",
            )
        },
        "parameters": model.num_parameters(),
        "pretraining": dict(pretraining),
        "scores": scores(model, tokenizer),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "tokenizers": tokenizers.__version__,
        },
        "bytes": sum(path.stat().st_size for path in shipped),
        "sha256": {f"{p.parent.name}/{p.name}": sha256(p) for p in shipped},
    }
    text = json.dumps(card, indent=2, ensure_ascii=False) + "\n"
    directory.joinpath("card.json").write_text(text, encoding="utf-8")


def main() -> None:
    """Pre-train, then write model, data and card; `--data-only` keeps the model that is there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=demo.model_dir().parent)
    parser.add_argument("--data-only", action="store_true", help="keep the model; data and card")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.data_only:
        write_data(arguments.out / "data")
        known = json.loads((arguments.out / "card.json").read_text(encoding="utf-8"))
        place = arguments.out / "model"
        kept = LlamaForCausalLM.from_pretrained(place, dtype=torch.float32)
        pieces = PreTrainedTokenizerFast.from_pretrained(place)
        write_card(arguments.out, kept, pieces, known["pretraining"])
        return
    started = time.monotonic()

    def report(line: str) -> None:
        print(f"{time.monotonic() - started:6.0f} s  {line}", flush=True)

    tokenizer = train_tokenizer(SEED)
    model = new_model(tokenizer, SEED)
    report(f"{model.num_parameters():,} parameters, {len(tokenizer)} pieces")
    pretrain(model, tokenizer, arguments.steps, report)
    model.save_pretrained(arguments.out / "model")
    tokenizer.save_pretrained(arguments.out / "model")
    write_data(arguments.out / "data")
    write_card(arguments.out, model, tokenizer, what_was_done(arguments.steps, arguments.threads))


if __name__ == "__main__":
    main()
