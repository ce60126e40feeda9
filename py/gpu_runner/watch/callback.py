"""`unfrozen.Callback`: the Trainer of transformers, and those of TRL, in the page.

The page may pause, save and stop such a run: the Trainer's own control does it after the step. What
the Trainer logs is not shown: its loss is a mean over some steps from which NaN is left out, its
evaluation loss a mean of batches' means, neither on one axis with what is measured here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import transformers
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from gpu_runner.watch.begin import processes
from gpu_runner.watch.looking import Rows
from gpu_runner.watch.memory.foretelling import Habits
from gpu_runner.watch.memory.holding import Known
from gpu_runner.watch.memory.metering import States
from gpu_runner.watch.memory.settings import Words
from gpu_runner.watch.memory.to_come import lengths_of
from gpu_runner.watch.taps import unwrapped
from gpu_runner.watch.told.described import Wishes
from gpu_runner.watch.watching import WatchedRun

MOST_POINTS: Final = 300  # of the planned learning rate


class Callback(TrainerCallback):
    """To be given to a Trainer as one of its `callbacks`; options as of `unfrozen.watch`.

    `run` is the watched run while the Trainer trains.
    """

    def __init__(
        self,
        *,
        task: Rows | None = None,
        general: Mapping[str, Rows] | None = None,
        tokenizer: Any = None,
        runs: str | Path = "runs",
        name: str | None = None,
        eval_every: int | None = None,
        prompts: Sequence[str] = (),
        new_tokens: int = 48,
        measure: bool = True,
        price: float | None = None,
        currency: str = "USD",
    ) -> None:
        self.run: WatchedRun | None = None
        self._wishes = Wishes(
            task=task,
            general=general,
            tokenizer=tokenizer,
            runs=runs,
            name=name,
            eval_every=eval_every,
            prompts=prompts,
            new_tokens=new_tokens,
            memory=Known(measure=measure),
            price=price,
            currency=currency,
        )

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: Any = None,
        processing_class: Any = None,
        optimizer: Any = None,
        lr_scheduler: Any = None,
        train_dataloader: Any = None,
        **kwargs: Any,
    ) -> None:
        """Begin to watch. A second start (auto_find_batch_size) ends the first."""
        del control, kwargs
        if self.run is not None:
            self.run.close("stopped", "the trainer started anew")
        rows, collator = (getattr(train_dataloader, one, None) for one in ("dataset", "collate_fn"))
        given = [] if optimizer is None else [unwrapped(optimizer)]
        many = processes()
        wishes = replace(
            self._wishes,
            tokenizer=self._wishes.tokenizer or processing_class,
            steps=int(state.max_steps),
            trainer=f"transformers Trainer {transformers.__version__}",
            can=("pause", "checkpoint", "evaluate", "stop") if many == 1 else (),
            config=args.to_sanitized_dict(),
            plan=planned_rates(lr_scheduler, int(state.max_steps)),
            start_step=int(state.global_step),
            processes=many,
            memory=Known(
                measure=self._wishes.memory.measure,
                habits=Habits(int(args.gradient_accumulation_steps), keeps_output=""),
                words=words_of(args),
                lengths=_lengths(rows, collator),
                rows_at_once=int(args.per_device_train_batch_size),
            ),
        )
        self.run = WatchedRun(model, States(*given), wishes)

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> TrainerControl:
        """A step has ended: tell it, and pass on what the page asks."""
        del args, state, kwargs
        if self.run is not None:
            self.run.end_of_step()
            if self.run.should_stop:
                control.should_training_stop = True
            if self.run.wants_save:
                self.run.wants_save = False
                control.should_save = True
        return control

    def on_save(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """The Trainer has written a checkpoint."""
        del control, kwargs
        if self.run is not None:
            self.run.saved(f"{args.output_dir}/checkpoint-{state.global_step}")

    def on_train_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """Training is over, at its last step or before."""
        del args, control, kwargs
        if self.run is not None:
            early = state.global_step < state.max_steps
            asked = "asked by the page" if self.run.should_stop else "the trainer stopped early"
            self.run.close("stopped" if early else "finished", asked if early else "")


def words_of(args: TrainingArguments) -> Words:
    """How such a Trainer is told to need less memory."""
    again = "activation_checkpointing" if hasattr(args, "activation_checkpointing") else ""
    return Words(
        "per_device_train_batch_size={rows}, gradient_accumulation_steps={parts}",
        f"{again or 'gradient_checkpointing'}=True",
        "max_length={length}" if hasattr(args, "max_length") else Words().length,
    )


def _lengths(rows: Any, collator: Any) -> tuple[int, ...]:
    """Of the rows to come, where they can be read; whatever is wrong with them is not ours."""
    try:
        return tuple(lengths_of(rows, collator))
    except Exception:
        return ()


def planned_rates(scheduler: Any, steps: int) -> dict[str, Any]:
    """The rates of a scheduler that is a function of the step, at up to MOST_POINTS; else none."""
    factors = getattr(scheduler, "lr_lambdas", None)
    bases = getattr(scheduler, "base_lrs", None)
    if not factors or not bases or steps < 1:
        return {}
    count = min(steps, MOST_POINTS)
    places = [1 + round(i * (steps - 1) / max(1, count - 1)) for i in range(count)]
    try:
        rates = [
            max(base * factor(step - 1) for base, factor in zip(bases, factors, strict=True))
            for step in places
        ]
    except Exception:  # a function of somebody's own that wants more than the step
        return {}
    return {"lr": [float(f"{rate:.6g}") for rate in rates], "lr_steps": places}
