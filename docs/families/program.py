"""The construction of a model as a program: which tensors, under which decisions, in which loops.

A trace is a list of steps:

    ("p", parameter)                 a parameter is registered
    ("m", steps)                     a module is made: its decisions concern its own steps alone
    ("if", expression, outcome)      a decision
    ("for", depth, over, turns)      a loop, with the steps of each turn
    ("c", name, class, path, type)   a model of another family is made of the config under a path
    ("v", value)                     an item of a list that the config derives
    ("w", value)                     what it derives under a key, whole

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
        step[0] in ("p", "t", "v", "w", "c")
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
                made += _simplify_decision(expression, ways)
            case _:
                made.append(step)
    return made


def _simplify_decision(expression: Any, ways: dict[Any, Steps]) -> Steps:
    programs = list(ways.values())
    if len(programs) == 1:
        return [("!", expression, next(iter(ways))), *simplify(programs[0])]
    try:
        whole = programs[0]
        for other in programs[1:]:
            whole = _merge_loosely(whole, other)
        return simplify(whole)
    except Mismatch:
        pass
    tail: Steps = []
    while all(len(one) > len(tail) for one in programs):
        try:
            tail.insert(0, _merge_all([one[-1 - len(tail)] for one in programs]))
        except Mismatch:
            break
    heads = {o: simplify(one[: len(one) - len(tail)]) for o, one in ways.items()}
    rest = simplify(tail)
    if not tail:  # the ends may be alike all the same
        shortest = min(map(len, heads.values()))
        first, *others = heads.values()
        same = 0
        while same < shortest and all(one[-1 - same] == first[-1 - same] for one in others):
            same += 1
        rest = first[len(first) - same :]
        heads = {o: one[: len(one) - same] for o, one in heads.items()}
    return [("if", expression, heads), *rest] if any(heads.values()) else rest


def _merge_loosely(a: Steps, b: Steps) -> Steps:
    """Return the program of both, passing over decisions of which one outcome is known.

    That they are independent is an assumption, which holds or not for configs that were not traced.
    """
    if a == b:
        return a
    one, other = (steps[-1] if steps and steps[-1][0] == "if" else None for steps in (a, b))
    if one and other and one[1] == other[1]:
        before = merge(a[:-1], b[:-1])
        both = [o for o in one[2] if o in other[2]]
        if not both:
            raise Mismatch("nothing was seen of both")
        ways = {**one[2], **other[2]} | {o: _merge_loosely(one[2][o], other[2][o]) for o in both}
        return [*before, ("if", one[1], ways)]
    if one and len(one[2]) == 1:
        return _merge_loosely([*a[:-1], *next(iter(one[2].values()))], b)
    if other and len(other[2]) == 1:
        return _merge_loosely(a, [*b[:-1], *next(iter(other[2].values()))])
    return merge(a, b)


def _merge_all(steps: list[Any]) -> Any:
    """Return one step for all; what one of them has not seen is taken from the others.

    That they are independent is an assumption, which holds or not for configs that were not traced.
    """
    merged = steps[0]
    for other in steps[1:]:
        if not _overlap(merged, other):
            raise Mismatch("nothing was seen of both")
        merged = _merge_step(merged, other)
    return merged


def _overlap(a: Any, b: Any) -> bool:
    if a[0] == b[0] == "if" and a[1] == b[1]:
        both = [o for o in a[2] if o in b[2]]
        return any(_overlap_of(a[2][o], b[2][o]) for o in both)
    return True


def _overlap_of(a: Steps, b: Steps) -> bool:
    return not a or not b or _overlap(a[-1], b[-1])


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
