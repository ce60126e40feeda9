"""What to type: the runner's command for full fine-tuning, PEFT's settings for adapters."""

from __future__ import annotations

from typing import Final

from unfrozen.decision.choices import Choice
from unfrozen.decision.options import Option
from unfrozen.planner.commands import commands as planner_commands
from unfrozen.planner.controls import Json
from unfrozen.planner.state import State

_ALPHA: Final = 32
"""What "LoRA Without Regret" scales by at every rank."""
_RATE: Final = (
    "The runner trains every weight, so this is for PEFT. Start at ten times the learning rate of"
    " full fine-tuning."
)
_FOUR_BITS: Final = """\
quantised = BitsAndBytesConfig(
    load_in_4bit=True,
    bnb_4bit_quant_type="nf4",
    bnb_4bit_use_double_quant=True,
    bnb_4bit_compute_dtype=torch.bfloat16,
)
"""


def planner_state(option: Option, choice: Choice) -> State | None:
    """The state in which the planner shows this way to train one task; None for a prompt."""
    if option.way is None:
        return None
    state = option.way.state | {"tokens": str(choice.tokens)}
    return state | ({"price": f"{choice.price:g}"} if choice.price is not None else {})


def command(option: Option, choice: Choice) -> Json | None:
    """What to type for one task, and what has to be said about it; None for a prompt."""
    state = planner_state(option, choice)
    if option.way is None or state is None:
        return None
    if option.key != "full":
        return {"text": _settings(option), "note": _RATE}
    found = planner_commands(option.way.plan, option.way.state, "GiB")
    differs = found["differs"]
    assert isinstance(differs, list)
    note = f"Differs from the plan: {'; '.join(differs)}." if differs else ""
    return {"text": found["run"], "note": " ".join(filter(None, (str(found["where"]), note)))}


def _settings(option: Option) -> str:
    lines = [
        "adapters = LoraConfig(",
        f'    r={option.rank}, lora_alpha={_ALPHA}, target_modules="all-linear"',
        ")",
    ]
    text = "\n".join(lines)
    return _FOUR_BITS + text if option.key == "qlora" else text
