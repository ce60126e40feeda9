"""Compare the planner with rows that it was never compared with, and count how far it is off.

    .venv/bin/python docs/first_look.py           what is missing in web/truth/first_look.json
    .venv/bin/python docs/first_look.py --table   nothing written: kinds, medians, nine in ten

A first look is written once, with the commit whose planner took it, and never again: what is done
about a miss later does not change it. A row that the planner has no words for waits. The spread of
all speeds, as this code estimates them, is written into py/unfrozen/plan/record.py each time.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from unfrozen.answer.later import SPEED, Look, grouped, look, read_rows
from unfrozen.plan.record import KINDS, Spread

ROOT: Final = Path(__file__).parents[1]
TRUTH: Final = ROOT / "web" / "truth"
FIRST: Final = TRUTH / "first_look.json"
RECORD: Final = ROOT / "py" / "unfrozen" / "plan" / "record.py"
BLOCK: Final = re.compile(r"(# counted by docs/first_look\.py\n).*?(# end\n)", re.DOTALL)
PLANNER: Final = [
    *(f"py/unfrozen/{room}" for room in ("model", "hardware", "job", "memory", "plan")),
    ":!py/unfrozen/plan/record.py",
]


def main() -> None:
    """Take every first look that is missing, or print the table."""
    looks = looked()
    if "--table" in sys.argv[1:]:
        for of in ("memory", "speed"):
            print_table(of, [item for item in looks if item.row.of == of])
        return
    taken = write_first_looks(looks)
    RECORD.write_text(BLOCK.sub(counted(looks), RECORD.read_text()))
    print(f"{taken} first looks taken, {sum(bool(item.refused) for item in looks)} rows refused")


def looked() -> list[Look]:
    """Every later row beside what the planner says of it."""
    said = read("said.json")
    rows = [
        *read_rows(read("memory_later.json"), said, found=False),
        *read_rows(read("speeds_later.json"), said, found=False),
        *read_rows(read("found_later.json"), said, found=True),
    ]
    return [look(row) for row in rows]


def read(name: str) -> Any:
    """A file of the truth set."""
    return json.loads((TRUTH / name).read_text(encoding="utf-8"))


def write_first_looks(looks: list[Look]) -> int:
    """Add the errors of rows that have none; how many."""
    known = read(FIRST.name)
    commit = committed()
    new = {
        item.row.key: {"commit": commit, "error": round(item.error, 4)}
        for item in looks
        if item.error is not None and item.row.key not in known["rows"]
    }
    known["rows"] |= new
    lines = [f"  {json.dumps(key)}: {json.dumps(row)}" for key, row in known["rows"].items()]
    head = json.dumps({key: value for key, value in known.items() if key != "rows"}, indent=1)
    rows = ",\n".join(lines)
    FIRST.write_text(f'{head.removesuffix("}").rstrip()},\n "rows": {{\n{rows}\n }}\n}}\n')
    return len(new)


def committed() -> str:
    """The last commit that changed the planner; ends where a change is not committed yet."""
    if git("status", "--porcelain", "--", *PLANNER):
        sys.exit("commit the planner first: a first look names the commit that took it")
    return git("log", "-1", "--format=%h", "--abbrev=7", "--", *PLANNER)


def git(*words: str) -> str:
    """What git answers, in this repository."""
    answer = subprocess.run(
        ["git", *words], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return answer.stdout.strip()


def counted(looks: list[Look]) -> str:
    """The lines of `SPEEDS`: the spread of every kind and of all."""
    errors: dict[str, list[float]] = {kind: [] for kind in (*KINDS, "all")}
    for item in looks:
        if item.row.of == SPEED and item.error is not None:
            errors[item.kind].append(item.error)
            errors["all"].append(item.error)
    rows = "".join(f'    "{kind}": {shown(Spread.of(found))},\n' for kind, found in errors.items())
    return rf"\1SPEEDS: Final[dict[str, Spread]] = {{\n{rows}}}\n\2"


def shown(spread: Spread) -> str:
    """A spread as source, to a thousandth."""
    return f"Spread({spread.runs}, {spread.half:.3f}, {spread.most:.3f}, {spread.worst:.3f})"


def print_table(of: str, looks: list[Look]) -> None:
    """One line a kind, the largest first, and one for all."""
    print(of)
    for group in grouped(looks):
        spread = group.spread
        told = "no row is planned"
        if spread:
            told = f"{spread.half:7.1%} {spread.most:7.1%} {group.worst:+8.1%}"
        print(f"  {group.name:34} {group.rows:3} {told} {' '.join(group.refused)}")
    errors = [item.error for item in looks if item.error is not None]
    whole = Spread.of(errors)
    print(f"  {'all':34} {len(looks):3} {whole.half:7.1%} {whole.most:7.1%}")


if __name__ == "__main__":
    main()
