"""Run stored points again, one of each study, and compare: does today's code still give what is stored?

A number passes if it is equal, or differs from the stored one by at most three standard deviations. These are of the
study itself: over the rows that differ in their seed alone, or, where no other seed is stored, over the numbers of the
innermost list, which are over seeds there. On the machine that made a study a point comes out equal. On another one a
sum's last bit differs, and a long training turns that into another draw; then the difference of two draws deviates by
1.4 of them, and goes beyond three once in 30. What a change of a method does is mostly larger, and a
fingerprint sees what is not. A number without a spread must be equal to 1 in 1,000, a text must be the same.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Mapping

import numpy as np

from course_utils import runtime
from course_utils.lesson.study import Row, Studies
from tools.run_studies import is_stale, run_alone

REACH = 3.0  # standard deviations


def audit(studies: Mapping[str, Studies], *, count: int | None = None, seed: int | None = None) -> int:
    """Print a line for each study, and return 1 if a point misses what is stored; count: only so many studies."""
    seed = random.randrange(10_000) if seed is None else seed
    draw = random.Random(seed)
    names = sorted(draw.sample(sorted(studies), count) if count else studies)
    missed = []
    for name in names:
        start = time.perf_counter()
        table = studies[name]
        point = random.Random(f"{seed} {name}").choice(list(table[name].points()))
        told = differences(table.stored(name), point, run_alone(table[name].point, 0, point)[1])
        missed += [name] * any(line.startswith("miss") for line in told)
        took = runtime.readable_seconds(time.perf_counter() - start)
        told = ["stale"] * is_stale(table, name) + (told or ["equal"])
        print(f"{name:20} {took:>8}  {'; '.join(told)}  {point}", flush=True)
    if missed:
        print(f"Missed: {', '.join(missed)}. The same points again: "
              f"python -m tools.run_studies --audit --seed {seed} {' '.join(missed)}")  # fmt: skip
    return 1 if missed else 0


def differences(rows: list[Row], point: Row, again: Row) -> list[str]:
    """What differs between a stored row and the same point run again: nothing, or a line for each number or text.

    A line begins with "within" or "miss"; see the module's text for the rule.
    """
    [stored] = [row for row in rows if point.items() <= row.items()]
    same = {key: value for key, value in point.items() if key != "seed"}
    others = [dict(_flat(row)) for row in rows if same.items() <= row.items()]
    told = []
    new = dict(_flat(again))
    old = dict(_flat(stored))
    for key in sorted(old.keys() | new.keys(), key=str):
        if old.get(key) == new.get(key):
            continue
        label = " ".join(map(str, key))
        if not isinstance(old.get(key), int | float) or not isinstance(new.get(key), int | float):
            told.append(f"miss: {label} {old.get(key)}, now {new.get(key)}")
            continue
        reach = REACH * _spread(key, old, others) or abs(old[key]) / 1000
        word = "within" if abs(new[key] - old[key]) <= reach else "miss"
        told.append(f"{word}: {label} {old[key]:.5g} ± {reach:.2g}, now {new[key]:.5g}")
    return told


def _flat(value: object, path: tuple = ()) -> Iterator[tuple[tuple, object]]:
    """Every number and text of a row, with the keys and places that lead to it."""
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if parts is None:
        yield path, value
    for key, part in parts or ():
        yield from _flat(part, (*path, key))


def _spread(key: tuple, old: dict, others: list[dict]) -> float:
    if len(others) < 2:  # no other seed has a row
        others = [{key: value} for one, value in old.items() if one[:-1] == key[:-1] and len(key) > 1]
    values = [one[key] for one in others if isinstance(one.get(key), int | float)]
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
