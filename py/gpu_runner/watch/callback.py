"""`unfrozen.Callback`: watches the Trainer of transformers, and those of TRL.

The page may pause, save and stop such a run through the Trainer's own control after a step. What
the Trainer logs is shown beside what is measured here, but not what both have: its loss is a mean
over some steps without NaN.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import transformers
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from gpu_runner.memory.loop import LoopBehavior, Optimizers
from gpu_runner.memory.loop_advice import LoopOptions
from gpu_runner.watch.hooks import ErrorBoundary, guarded, unwrap_optimizer
from gpu_runner.watch.memory import MemoryOptions
from gpu_runner.watch.options import WatchOptions
from gpu_runner.watch.predictions import read_lengths
from gpu_runner.watch.run import WatchedRun
from gpu_runner.watch.run_log import WatchTerminal

MOST_POINTS: Final = 300  # of the planned learning rates
MEASURED: Final = frozenset(("loss", "grad_norm", "learning_rate", "epoch", "num_tokens"))
"""What a Trainer logs and every run has."""


class Callback(TrainerCallback):
    """A callback for a Trainer, with the options of `unfrozen.watch`.

    `run` is the watched run while the Trainer trains.
    """

    def __init__(self, **options: Any) -> None:
        self.run: WatchedRun | None = None
        self._guard = ErrorBoundary(WatchTerminal().warn)
        self._options = WatchOptions(**options)

    @guarded("the trainer is not watched")
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
        """Start to watch. A second start (auto_find_batch_size) closes the first run."""
        del control, kwargs
        if self.run is not None:
            self.run.close("stopped", "the trainer restarted")
        rows, collator = (getattr(train_dataloader, one, None) for one in ("dataset", "collate_fn"))
        given = [] if optimizer is None else [unwrap_optimizer(optimizer)]
        options = replace(
            self._options,
            tokenizer=self._options.tokenizer or processing_class,
            steps=int(state.max_steps),
            trainer=f"transformers Trainer {transformers.__version__}",
            can=("pause", "checkpoint", "evaluate", "stop"),
            config=args.to_sanitized_dict(),
            plan=planned_rates(lr_scheduler, int(state.max_steps)),
            start_step=int(state.global_step),
            lengths=_read_lengths(rows, collator),
            memory=MemoryOptions(
                behavior=LoopBehavior(int(args.gradient_accumulation_steps), keeps_output=""),
                options=trainer_options(args),
                per_batch=int(args.per_device_train_batch_size),
            ),
        )
        self.run = WatchedRun(model, Optimizers(*given), options)

    @guarded("the page cannot control the trainer")
    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        """Log the step that has ended, and pass on the commands of the page."""
        del args, state, kwargs
        if self.run is not None:
            self.run.end_of_step()
            if self.run.should_stop:
                control.should_training_stop = True
            if self.run.wants_save:
                self.run.wants_save = False
                control.should_save = True
        return control

    @guarded("what the trainer logs is not shown")
    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Show what the Trainer logs beside its loss, such as the rewards of TRL's trainers."""
        del args, state, control, kwargs
        if self.run is not None:
            own = {name: value for name, value in (logs or {}).items() if name not in MEASURED}
            self.run.log({name: one for name, one in own.items() if not name.startswith("train_")})

    @guarded("a checkpoint could not be logged")
    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Log the checkpoint that the Trainer has saved."""
        del control, kwargs
        if self.run is not None:
            self.run.saved(f"{args.output_dir}/checkpoint-{state.global_step}")

    @guarded("the run could not be closed")
    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Close the run, at the last step or before."""
        del args, control, kwargs
        if self.run is not None:
            early = state.global_step < state.max_steps
            asked = "asked by the page" if self.run.should_stop else "the trainer stopped early"
            self.run.close("stopped" if early else "finished", asked if early else "")


def trainer_options(args: TrainingArguments) -> LoopOptions:
    """Return how the options of such a Trainer are typed."""
    name = "activation_checkpointing" if hasattr(args, "activation_checkpointing") else ""
    return LoopOptions(
        "per_device_train_batch_size={sequences}, gradient_accumulation_steps={parts}",
        f"{name or 'gradient_checkpointing'}=True",
        "max_length={length}" if hasattr(args, "max_length") else LoopOptions().length,
    )


def _read_lengths(rows: Any, collator: Any) -> tuple[int, ...]:
    """Return the lengths of the training examples; empty where they cannot be read."""
    try:
        return tuple(read_lengths(rows, collator))
    except Exception:  # a data set's own code may raise anything
        return ()


def planned_rates(scheduler: Any, steps: int) -> dict[str, Any]:
    """Return the rates of a scheduler that is a function of the step, at up to MOST_POINTS."""
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
    except Exception:  # a custom function may need more than the step
        return {}
    return {"lr": [float(f"{rate:.6g}") for rate in rates], "lr_steps": places}
