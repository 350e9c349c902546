"""Random events on every panel and card of one notebook, in a process of its own.

    python -m tests.faults.drive 01_pretraining report.json

Runs the notebook's cells, then does to what they showed what a browser may do. The report says what was done and what
broke.
"""

from __future__ import annotations

import ast
import contextlib
import faulthandler
import io
import json
import os
import re
import resource
import sys
import time
import zlib
from pathlib import Path

import nbformat
from hypothesis import HealthCheck, Phase, given, note, seed, settings
from hypothesis import strategies as st
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from course_utils.live.card import Frame
from tests.faults.events import do, events_of, is_panel, until
from tests.faults.laws import ROOT, Watch, busy, check, check_dials, check_frame

LISTS, LENGTH = 6, 8  # lists of events for each panel, and events in a list
SLOW = 30.0  # seconds of work that nothing a learner does may take
MUCH = 1e9  # bytes that nothing a learner does may take
LIVE = re.compile(r": a live\s+panel\b")  # what a stored panel says of itself
CARDS = {"predict", "recall", "quiz", "course_map", "MachineCard"}

# --- the notebook -----------------------------------------------------------------------------------------------------


def names_of(tree: ast.AST) -> tuple[set[str], set[str]]:
    """The names that a cell gives to something, and those that it reads, wherever in it."""
    gives, reads = set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            (reads if isinstance(node.ctx, ast.Load) else gives).add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            gives.add(node.name)
        elif isinstance(node, ast.alias):
            gives.add((node.asname or node.name).split(".")[0])
    return gives, reads


def cells_for_cards(cells: list) -> list:
    """The cells that show a panel or a card, by the stored outputs, and those before them that they need."""
    kept, wanted = [], set()
    for cell in reversed(cells):
        gives, reads = names_of(ast.parse(cell.source))
        if LIVE.search(str(cell.outputs)) or reads & CARDS or gives & wanted:
            kept.append(cell)
            wanted |= reads
    return kept[::-1]


def run_notebook(name: str) -> list:
    """Everything with a frame that the notebook's cells have made and not closed, in their order."""
    made, fill = [], Frame.fill

    def filled(frame, *children):
        fill(frame, *children)
        if frame not in made:
            made.append(frame)

    Frame.fill = filled
    shell = InteractiveShell.instance(config=Config(HistoryManager={"enabled": False}))
    cells = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4).cells
    for cell in cells_for_cards([cell for cell in cells if cell.cell_type == "code"]):
        with contextlib.redirect_stdout(io.StringIO()) as out:
            result = shell.run_cell(cell.source)
        if not result.success:
            raise RuntimeError(f"a cell of {name} failed:\n{cell.source}\n{out.getvalue()}")
    return [frame for frame in made if frame.box.comm is not None]


def stored_panels(name: str) -> int:
    """How many panels a notebook shows, by its stored outputs."""
    cells = json.loads((ROOT / "notebooks" / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]
    outputs = [output.get("data", {}) for cell in cells for output in cell.get("outputs", [])]
    return sum(bool(LIVE.search("".join(data.get("text/plain", "")))) for data in outputs)


# --- the events -------------------------------------------------------------------------------------------------------


def name_of(card) -> str:
    return card.title if is_panel(card) else f"{type(card).__name__}: {getattr(card, 'name', card.title)}"


def begin(card) -> None:
    """Every list of events begins from the same state, so that it can be done again."""
    if not is_panel(card):
        return
    for view in ("a", "b"):
        card.figure._receive(None, {"type": "gone", "view": view}, [])
    for name in ("defaults", "unpin"):
        if name in card.buttons:
            card.buttons[name].click()


def cost_so_far() -> tuple[float, float]:
    """Seconds that this process has worked, and the most bytes that it has held."""
    return time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def drive(card, watch: Watch, report: dict) -> None:
    """Hypothesis does its lists of events to one card."""
    if events_of(card).is_empty:
        return
    count = LISTS if is_panel(card) else 2

    @settings(derandomize=True, deadline=None, max_examples=count, database=None, phases=[Phase.generate],
              suppress_health_check=list(HealthCheck))
    @seed(zlib.crc32(name_of(card).encode()))  # the same ones every time, and others for every card
    @given(st.lists(events_of(card), min_size=LENGTH, max_size=LENGTH))
    def events(listed):
        begin(card)
        for number, words, verb, value in listed:
            done = f"{verb} {words} {value!r:.200}"
            note(done)
            before = cost_so_far()
            do(card, number, verb, value)
            took, more = (now - then for now, then in zip(cost_so_far(), before, strict=True))
            report["done"][name_of(card)] = report["done"].get(name_of(card), 0) + 1
            report["slowest"] = sorted([*report["slowest"], [round(took, 2), name_of(card), done]])[-5:]
            watch.check()
            check_dials(card)
            if is_panel(card):
                check_frame(card)
            assert took < SLOW, f"it took {took:.0f} s"
            assert more < MUCH, f"it took {more / 1e9:.1f} GB more"
        check(card)
        watch.check()

    faulthandler.dump_traceback_later(600, exit=True)
    events()


def close(card) -> None:
    """Close a card at work, as its cell does when it is run again: nothing goes on."""
    for name in ("start", "act") if is_panel(card) else ():
        if name in card.buttons:
            card.buttons[name].click()
    card.close()
    until(lambda: not busy(), f"the end of {name_of(card)}")


def main(name: str, target: str) -> None:
    start = time.perf_counter()
    os.environ["COURSE_STRICT"] = "1"
    cards = run_notebook(name)
    del os.environ["COURSE_STRICT"]  # from here on as for a learner: an error is shown, and the card goes on
    report = {"notebook": name, "done": {}, "slowest": [], "failed": {}, "cells": time.perf_counter() - start}
    watch, report["panels"] = Watch(), [card.title for card in cards if is_panel(card)]
    for card in cards:
        since, worked = time.perf_counter(), time.process_time()
        try:
            drive(card, watch, report)
        except Exception as error:
            watch.wrong = []
            report["failed"][name_of(card)] = "\n".join([str(error), *getattr(error, "__notes__", [])])
            print(name_of(card), report["failed"][name_of(card)], file=sys.stderr, flush=True)
        took, work = time.perf_counter() - since, time.process_time() - worked
        print(f"{took:6.1f} s, {work:5.1f} of work: {name_of(card)}", file=sys.stderr, flush=True)
    for card in cards:
        close(card)
    watch.check()
    faulthandler.cancel_dump_traceback_later()
    report |= {"told": watch.told, "seconds": time.perf_counter() - start, "work": time.process_time(),
               "megabytes": cost_so_far()[1] / 1e6}  # fmt: skip
    Path(target).write_text(json.dumps(report, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
