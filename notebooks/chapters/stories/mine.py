"""A story GPT of the learner's own: kept from a panel, with a card, and found again by other notebooks."""

from __future__ import annotations

import inspect
import math
import os
import re
from collections.abc import Callable
from datetime import datetime
from functools import cache
from pathlib import Path

from course_utils import checkpoint, data
from course_utils.live import TrainingPanel
from course_utils.models import GPT, has_run_away
from course_utils.training import Run

STARTS = ("pretrained", "scratch", "mine")
HOW = "train one in section 2 of 01_pretraining, and press Keep as mine there"
ROW = re.compile(r"^- (.+?): (.*)$", re.MULTILINE)  # of a card: name and value
BEGINNING = re.compile(r" on the first \d+ tokens")  # of stories, which a short context reads: another measure
Measure = Callable[[GPT], tuple[float, str]]  # a model's held-out loss in nats per token, and what it was measured on


def file() -> Path:
    """Where it lies: in the folder that COURSE_MODELS names, or in my_models beside the notebook."""
    return Path(_absolute(os.environ.get("COURSE_MODELS") or "my_models")) / "story_gpt.safetensors"


@cache
def _absolute(folder: str) -> str:
    return os.path.abspath(os.path.expanduser(folder))  # asked once: a later os.chdir must not move it


# --- to keep one --------------------------------------------------------------------------------------------------


def keep(panel: TrainingPanel, *, measure: Measure) -> str:
    """Store a panel's model as the learner's own, in place of an earlier one; a sentence on what came of it.

    Of several runs, the first one's is stored. Where one trains, it pauses.
    """
    model, run, count = panel.model, panel.session.runs[0], len(panel.session.runs)
    if run.step_count == 0:
        return "Nothing to keep yet: press Start first."
    if not isinstance(model, GPT):
        return f"Not kept: a {type(model).__name__} is no GPT, and other notebooks start from one."
    broken = run.status == "diverged" or has_run_away(model)
    loss, on = (math.nan, "") if broken else measure(model)
    if not math.isfinite(loss):
        return "Not kept: this run has diverged, its model answers nothing. Press Reset, and lower the learning rate."
    path, which = file(), f"Kept as mine, the first of {count} runs:" if count > 1 else "Kept as mine:"
    try:
        earlier = _earlier(path)
        checkpoint.save(model, path, card=_card(panel, run, f"{loss:.4f} nats per token, on {on}"))
    except OSError as error:
        return (f"Not kept: {path.parent} cannot be written ({error.strerror or error}). What was there is as it was. "
                "Make room there, or name another folder in a cell: %env COURSE_MODELS=~/my_models")  # fmt: skip
    return f"{which} {_told(model, path)} {earlier}".rstrip()


def _card(panel: TrainingPanel, run: Run, loss: str) -> dict[str, object]:
    arguments = inspect.signature(panel.recipe).parameters
    settings = {name: one.default for name, one in arguments.items()} | panel.described
    knobs = ", ".join(f"{name} {value:g}" for name, value in run.knobs.items())
    moves = sum(event.step > 0 for event in run.history.events)
    stories, now = settings.get("stories"), datetime.now()
    card = {
        "what": f"a learner's own model, kept from the panel “{panel.title}”",
        "data": f"{stories:,} stories" if stories else "stories",
        "training": f"{run.step_count} steps with {knobs}" + f"; changes on the way: {moves}" * (moves > 0),
        "settings": ", ".join(f"{name} {value}" for name, value in settings.items()),
        "seed": run.seed,
        "held-out loss": loss,
        "kept": f"{now.day} {now:%B %Y, %H:%M}",
    }
    return card | ({"code": panel.hands.whose()} if panel.hands.used else {})


def _earlier(path: Path) -> str:
    """What is about to be replaced, in a sentence; "" for nothing."""
    try:
        return f"In place of the one before: {_told(checkpoint.load(path), path)}"
    except FileNotFoundError:
        return ""
    except checkpoint.DamagedCheckpoint:
        return "In place of a file that was damaged, or no model of this course."


def _told(model: GPT, path: Path | str) -> str:
    """What the card beside a model says of it: "400 steps on 4,800 stories, …", and how its checksum begins."""
    checksum = checkpoint.checksum(model)
    try:
        card = dict(ROW.findall(checkpoint.card(path)))
        steps, stories = int(card["training"].split()[0]), re.match(r"([\d,]+ )?stories", card["data"])[0]
        loss = f"{float(card['held-out loss'].split()[0]):.2f}" + "".join(BEGINNING.findall(card["held-out loss"]))
        known = card["sha256"] == checksum
    except (OSError, ValueError, LookupError, TypeError):  # not there, or not as it was written
        known = False
    if not known:
        return f"its card is missing, or another model's (file {checksum[:8]})."
    kept = f", kept {card['kept']}" if "kept" in card else ""
    return f"{steps:,} step{'s' * (steps != 1)} on {stories}, held-out loss {loss}{kept} (file {checksum[:8]})."


# --- to start from one --------------------------------------------------------------------------------------------


def start_model(start: str, *, context: int) -> tuple[GPT | None, str]:
    """The model that a start means, on the CPU, and a sentence on which one it is; (None, "") for "scratch".

    start: one of `STARTS`.  context: how many tokens it must read at once.  ValueError, with what to do, where the
    learner has kept none, or one that does not fit.
    """
    if start not in STARTS:
        raise ValueError(f"start {start!r}: choose one of {', '.join(STARTS)}")
    if start == "scratch":
        return None, ""
    path = "story_gpt" if start == "pretrained" else file()
    model = checkpoint.load(path) if start == "pretrained" else _mine(path, context)
    return model, f"{start}: {_told(model, path)}"


def _mine(path: Path, context: int) -> GPT:
    try:
        model = checkpoint.load(path)
    except FileNotFoundError:
        raise ValueError(f"there is no model of yours in {path.parent} yet: {HOW}") from None
    except (checkpoint.DamagedCheckpoint, OSError) as error:
        problem = str(error).removesuffix(f": {checkpoint.ADVICE}")
        raise ValueError(f"your model in {path.parent} cannot be read ({problem}): {HOW} again") from None
    words = len(data.STORY_VOCAB)
    if not isinstance(model, GPT):
        raise ValueError(f"{path} is an {type(model).__name__}, and this needs a GPT: {HOW}")
    if model.config.vocab_size != words:
        has = model.config.vocab_size
        raise ValueError(f"{path} knows {has} tokens, and the story language has {words}: {HOW}")
    if model.config.context < context:
        problem = f"your model reads {model.config.context} tokens at once, and this needs {context}"
        raise ValueError(f"{problem}: {HOW}, with context {context}")
    return model
