"""The construction of a model as a program: which tensors, under which decisions, in which loops.

A trace is a list of steps:

    ("p", parameter)                 a parameter is registered
    ("m", steps)                     a module is made: its decisions concern its own steps alone
    ("if", expression, outcome)      a decision
    ("for", depth, over, turns)      a loop, with the steps of each turn
    ("v", value)                     an item of a list

Traces of the same code on other configs are merged into one program, in which a decision has the
steps that followed each outcome. `simplify` takes out decisions after which nothing differs; one of
which a single outcome was seen stays as an assumption ("!").
"""

from __future__ import annotations

from typing import Any

Steps = list[Any]


class Mismatch(Exception):
    """Two traces differ where no decision was seen: something else decided."""


def nest(steps: Steps) -> Steps:
    """Return a trace as a program: what follows a decision is nested in its outcome."""
    made: Steps = []
    for place, step in enumerate(steps):
        match step:
            case ("if", expression, outcome):
                made.append(("if", expression, {outcome: nest(steps[place + 1 :])}))
                return made
            case ("m", inner):
                made.append(("m", nest(inner)))
            case ("for", depth, over, turns):
                made.append(("for", depth, over, merge_turns([nest(turn) for turn in turns])))
            case _:
                made.append(step)
    return made


def merge_turns(turns: list[Steps | None]) -> Steps | None:
    """Return one program of all turns of a loop; None for no turn, and an empty one where they
    differ, but make nothing.
    """
    body: Steps | None = None
    for turn in turns:
        try:
            body = merge(body, turn)
        except Mismatch:
            if makes(body) or makes(turn):
                raise
            return []
    return body


def makes(steps: Steps | None) -> bool:
    """Return whether a program makes a tensor or an item anywhere."""
    return any(
        step[0] in ("p", "t", "v")
        or (step[0] == "m" and makes(step[1]))
        or (step[0] == "for" and makes(step[3]))
        or (step[0] == "if" and any(map(makes, step[2].values())))
        for step in steps or ()
    )


def merge(first: Steps | None, second: Steps | None) -> Steps:
    """Return the program of both; None is one that is not known yet. Raises `Mismatch`."""
    if first is None or second is None:
        return second if first is None else first  # type: ignore[return-value]
    if len(first) != len(second):
        raise Mismatch(f"{len(first)} steps and {len(second)}: {first[-1:]} and {second[-1:]}")
    return [_merge_step(a, b) for a, b in zip(first, second, strict=True)]


def _merge_step(a: Any, b: Any) -> Any:
    match a, b:
        case ("if", one, ways), ("if", other, others) if one == other:
            outcomes = dict.fromkeys((*ways, *others))
            return ("if", one, {o: merge(ways.get(o), others.get(o)) for o in outcomes})
        case ("m", one), ("m", other):
            return ("m", merge_turns([one, other]))
        case ("for", depth, over, one), ("for", _, again, other) if over == again:
            return ("for", depth, over, merge_turns([one, other]))
        case ("p" | "t", name, shape), ("p" | "t", other, again) if shape == again:
            if name == other:
                return a if a[0] == "t" else b
            if name is None or other is None:  # tied in one of them
                return ("t", name or other, shape)
    if a != b:
        raise Mismatch(f"{a} and {b}"[:600])
    return a


def simplify(steps: Steps) -> Steps:
    """Return a program without modules and without decisions that change nothing."""
    made: Steps = []
    for step in steps:
        match step:
            case ("m", inner):
                made += simplify(inner or [])
            case ("for", depth, over, body):
                if inner := simplify(body or []):
                    made.append(("for", depth, over, inner))
            case ("if", expression, ways):
                made += _simplify_decision(expression, {o: simplify(w) for o, w in ways.items()})
            case _:
                made.append(step)
    return made


def _simplify_decision(expression: Any, ways: dict[Any, Steps]) -> Steps:
    programs = list(ways.values())
    if len(programs) == 1:
        return [("!", expression, next(iter(ways))), *programs[0]]
    same = 0
    while same < min(map(len, programs)) and all(
        one[-1 - same] == programs[0][-1 - same] for one in programs
    ):
        same += 1
    tail = programs[0][len(programs[0]) - same :]
    ways = {outcome: one[: len(one) - same] for outcome, one in ways.items()}
    return [("if", expression, ways), *tail] if any(ways.values()) else tail


def decisions(steps: Steps | None) -> dict[Any, set[Any]]:
    """Return every decision of a program with the outcomes that were seen."""
    found: dict[Any, set[Any]] = {}
    for step in steps or ():
        inner: list[Steps] = []
        match step:
            case ("if", expression, ways):
                found.setdefault(expression, set()).update(ways)
                inner = list(ways.values())
            case ("m", body) | ("for", _, _, body):
                inner = [body]
        for one in inner:
            for expression, outcomes in decisions(one).items():
                found.setdefault(expression, set()).update(outcomes)
    return found


def keys_of(expression: Any) -> list[tuple[str, ...]]:
    """Return the keys of a config that an expression is computed from."""
    if not isinstance(expression, tuple) or not expression:
        return []
    if expression[0] == "k":
        return [expression[1:]]
    found = [key for part in expression[1:] for key in keys_of(part)]
    return list(dict.fromkeys(found))


def constants_of(expression: Any) -> list[int]:
    """Return the whole numbers that stand in an expression."""
    if isinstance(expression, tuple):
        if expression and expression[0] == "k":
            return []
        return [each for part in expression[1:] for each in constants_of(part)]
    return [expression] if type(expression) is int else []
