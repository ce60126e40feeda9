"""Compare the planner with rows that it was never compared with, and count how far it is off.

    PYTHONPATH=web .venv/bin/python docs/first_look.py           what is missing in first_look.json
    … --table   kinds, medians, nine in ten, worst, and nothing written
    … --bars    what tests/unfrozen/plan/test_later_rows.py holds the planner to

A first look is written once, with the commit whose planner took it, and never again: what is done
about a miss later does not change it. The spread of all speeds and peaks, as this code estimates
them, is written into py/unfrozen/plan/record.py each time.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

from site_builder.measurements import MEASUREMENTS, compare_runs
from unfrozen.answer.accuracy import (
    COLLECTIONS,
    GIVEN,
    MEMORY,
    SPEED,
    Comparison,
    by_kind,
    errors_by_project,
    spread,
    worst_error,
)
from unfrozen.plan.record import KINDS, Band, Peaks

ROOT: Final = Path(__file__).parents[1]
FIRST: Final = MEASUREMENTS / "first_look.json"
RECORD: Final = ROOT / "py" / "unfrozen" / "plan" / "record.py"
BLOCK: Final = re.compile(r"(# counted by docs/first_look\.py\n).*?(# end\n)", re.DOTALL)
PLANNER: Final = [
    *(f"py/unfrozen/{room}" for room in ("model", "hardware", "job", "memory", "plan")),
    ":!py/unfrozen/plan/record.py",
]


def main() -> None:
    """Take every first look that is missing, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    one = parser.add_mutually_exclusive_group()
    one.add_argument("--table", action="store_true", help="print the table and write nothing")
    one.add_argument("--bars", action="store_true", help="print the bars and write nothing")
    given = parser.parse_args()
    looks = compare_runs(*COLLECTIONS)
    if given.table:
        for of in (MEMORY, SPEED):
            print_table(of, [item for item in looks if item.row.of == of])
        return
    if given.bars:
        print_bars(looks)
        return
    taken = write_first_looks(looks)
    RECORD.write_text(BLOCK.sub(counted(looks), RECORD.read_text()))
    print(f"{taken} first looks taken")


def write_first_looks(looks: list[Comparison]) -> int:
    """Add the errors of rows that have none; how many."""
    known = json.loads(FIRST.read_text(encoding="utf-8"))
    commit = committed()
    new = {
        item.row.key: {"commit": commit, "error": round(item.error, 4)}
        for item in looks
        if item.row.key not in known["rows"]
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
    answer = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True)
    return answer.stdout.strip()


def counted(looks: list[Comparison]) -> str:
    """The lines of `SPEEDS` and `MEMORIES`, one of every kind that has rows."""
    rows = ""
    for kind, errors in errors_by_project(looks).items():
        found = Band.of(errors)
        numbers = f"{found.runs}, {found.projects}, {found.half:.3f}, {found.most:.3f}"
        rows += f'    "{kind}": Band({numbers}),\n'
    peaks = ""
    for kind, projects in errors_by_project(looks, MEMORY).items():
        if not projects:
            continue
        seen = Peaks.of([*itertools.chain(*projects.values())])
        peaks += (
            f'    "{kind}": Peaks({seen.runs}, {seen.half:.3f}, {seen.most:.3f}, {seen.above}),\n'
        )
    speeds = f"SPEEDS: Final[dict[str, Band]] = {{\n{rows}}}\n"
    return rf"\1{speeds}MEMORIES: Final[dict[str, Peaks]] = {{\n{peaks}}}\n\2"


def print_table(of: str, looks: list[Comparison]) -> None:
    """One line a kind, the largest first, and one for all."""
    print(of)
    for kind, runs in by_kind(looks).items():
        found = spread(runs)
        print(
            f"  {kind:34} {len(runs):3} {found.half:7.1%} {found.most:7.1%}"
            f" {worst_error(runs):+8.1%}"
        )
    whole = spread(looks)
    print(f"  {'all':34} {len(looks):3} {whole.half:7.1%} {whole.most:7.1%}")


def print_bars(looks: list[Comparison]) -> None:
    """Half and nine in ten of the rows that were looked at since, 3% above what is reached."""
    for name, of in itertools.product(GIVEN, (MEMORY, SPEED)):
        seen = [i for i in looks if (i.row.group, i.row.of) == (name, of)]
        for kind in (*KINDS, "all"):
            rows = [i for i in seen if kind in (i.kind, "all")]
            if rows:
                found = spread(rows)
                half, most = (math.ceil(1030 * size) / 1000 for size in (found.half, found.most))
                print(f'    ("{name}", "{of}", "{kind}"): ({half:.3f}, {most:.3f}),')


if __name__ == "__main__":
    main()
