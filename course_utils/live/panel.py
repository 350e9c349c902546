"""The training panel: a run, its knobs and settings, and what it shows, live."""

from __future__ import annotations

import copy
import html
import inspect
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import ipywidgets as w

from course_utils import runtime
from course_utils.live.card import Card
from course_utils.live.controls import Control, button, control
from course_utils.live.figure import LiveFigure
from course_utils.live.hands import Hands
from course_utils.live.script import script
from course_utils.live.session import Session
from course_utils.live.status import standing, verdict
from course_utils.live.views import LossView, TextView, Trace, ahead
from course_utils.live.workshop import Workshop
from course_utils.training import Experiment, finish

MOST_PINS = 5


class TrainingPanel(Card):
    """Trains what ``recipe`` describes, in front of the learner.

    recipe: a function whose keyword-only arguments are the settings, and which returns an `Experiment`.
    settings: those of its arguments that get a control; moving one starts afresh.  knobs: what may move while it
    trains.  views: what to show.  controls: the panel's own controls, by name.  seeds: offer several seeds.
    model, batches, loss, schedule: what a learner wrote in the place of the recipe's (as in `Experiment`); while it is
    still blank, the recipe's own trains. An error in it stops the run and shows its line.
    keep: stores ``panel.model`` as the learner's own, and returns what to say of it; gives the panel a button.

    The panel's parts are attributes: ``buttons["start"]``, ``knobs["lr"]``, ``settings["width"]``, ``session``.
    """

    def __init__(
        self,
        recipe: Callable[..., Experiment],
        *,
        title: str,
        settings: Sequence[str] = (),
        knobs: Sequence[str] = ("lr",),
        views: Sequence = (LossView(),),
        controls: Mapping[str, Control] | None = None,
        seeds: bool = False,
        model: Callable | None = None,
        batches: Callable | None = None,
        loss: Callable | None = None,
        schedule: Callable | None = None,
        keep: Callable[[TrainingPanel], str] | None = None,
    ):
        super().__init__(title)
        self.hands = Hands(model=model, batches=batches, loss=loss, schedule=schedule)
        self._workshop = Workshop(self.hands.codes)
        self.recipe, self.views = recipe, list(views)
        self._own, self._keep = controls or {}, keep
        self._draw_lock, self._refresh_lock = threading.Lock(), threading.Lock()
        self._note, self._cost = "", None
        self._code = w.HTML(layout={"display": "none"})
        self.pins: list[Trace] = []
        self.settings = {name: self._setting(name) for name in settings}
        self.seed = self._dial("seed", 0)
        self.seeds = self._dial("seeds", 1) if seeds else None
        self.session = Session(self._draw_live, self._failed, self._workshop)
        self.knobs: dict[str, w.Widget] = {}
        self._recommended: dict[str, float] = {}  # where the recipe has the knobs
        self._load()
        self.knobs = {name: self._knob(name) for name in knobs}
        self._first = {widget: widget.value for widget in self._controls()}
        self.buttons = self._make_buttons()
        self.figure = LiveFigure(on_ready=self.guard(self._ready), on_alone=self.guard(self.pause),
                                 on_picture=self.guard(self.keep_picture))
        self._build()
        self._refresh()

    # --- parts -----------------------------------------------------------------------------------------------

    def _dial(self, name: str, value) -> w.Widget:
        made = control(name, self._own).widget(value)
        made.observe(self.guard(lambda _: self.restart()), "value")
        return made

    def _setting(self, name: str) -> w.Widget:
        found = inspect.signature(self.recipe).parameters.get(name)
        if found is None or found.default is found.empty:
            raise ValueError(f"setting {name!r}: the recipe needs an argument of that name with a default")
        return self._dial(name, found.default)

    def _knob(self, name: str) -> w.Widget:
        known = self.session.runs[0].knobs
        if name not in known:
            raise ValueError(f"no knob {name!r}: this experiment has {', '.join(known)}")
        made = control(name, self._own).widget(known[name])
        made.observe(self.guard(lambda _: self._turn(name)), "value")
        return made

    def _controls(self) -> list[w.Widget]:
        return [*self.knobs.values(), *self.settings.values(), self.seed, *([self.seeds] if self.seeds else [])]

    def _make_buttons(self) -> dict[str, w.Button]:
        table = {
            "start": ("Start", "play", "Train, or go on training", self.start),
            "pause": ("Pause", "pause", "Stop after this step", self.pause),
            "step": ("Step", "step-forward", "Make one training step", self.step),
            "reset": ("Reset", "undo", "Back to step 0: the same first weights, the same batches", self.reset),
            "pin": ("Pin", "thumb-tack", "Keep this curve, to compare the next run with it", self.pin),
            "unpin": ("Clear pins", "eraser", "Forget the pinned curves", self.unpin),
            "defaults": ("Defaults", "refresh", "All controls as they were at first, and step 0", self.defaults),
            "code": ("Code", "code", "This run as Python that runs as it stands; again: put it away", self.show_code),
        }
        if self._keep is not None:
            table["keep"] = ("Keep as mine", "save", "Store this model for other notebooks, as your own", self.keep)
        return {name: button(*words, self.guard(act)) for name, (*words, act) in table.items()}

    def _build(self) -> None:
        dials = [*self.settings.values(), *([self.seeds] if self.seeds else []), self.seed]
        actions = list(self.buttons.values())
        whose = html.escape(self.hands.whose())
        self.fill(
            *([w.HTML(f'<div class="cu-help">{whose}</div>')] if whose else []),
            self.row(actions),
            self.row(list(self.knobs.values()), "Knobs act at once, also while it trains."),
            self.row(dials, "Settings begin a new run."),
            self.glossary(self._controls() + actions),
            self.figure,
            self._code,
        )

    # --- what a learner does ---------------------------------------------------------------------------------

    def start(self, steps: int | None = None) -> None:
        """Train, or go on training. Refused, with the reason, if the memory does not suffice."""
        need, have = (self._cost.memory if self._cost else 0) * len(self.session.runs), runtime.memory_available()
        self._note = ""
        if need > have:
            need, have = runtime.readable_bytes(need), runtime.readable_bytes(have)
            self._note = f"Not started: it needs about {need} of memory, {have} are free. Choose smaller settings."
        elif self.session.status in ("finished", "diverged"):
            self._note = "Press Reset to begin again from step 0."
        else:
            self.session.start(steps)
        self._refresh()

    def pause(self) -> None:
        """Stop after the present step."""
        self.session.pause()
        self._refresh()

    def step(self) -> None:
        """Make one step, and stop."""
        self.session.pause()
        self.start(steps=1)

    def reset(self) -> None:
        """Back to step 0: the same first weights and batches; the knobs stay where they stand."""
        self._note = "Not begun: the earlier run is still here."
        try:
            self._load()
        finally:
            self._refresh()

    def restart(self) -> None:
        """A new run with the settings as they stand; it trains if the earlier one did."""
        if self._quiet:
            return
        was_running = self.session.running
        self.session.pause()
        self.figure.announce("Preparing a new run …")  # some recipes train a teacher first
        self.reset()
        self._price()
        if was_running:
            self.start()

    def defaults(self) -> None:
        """Every control as it was at first, and a new run."""
        self.put_back()
        self.reset()

    def pin(self) -> None:
        """Keep the present curves, faded, behind the next run."""
        was_running = self.session.running
        self.session.pause()
        if self.session.step_count == 0:
            self._note = "Nothing to pin yet: press Start first."
        else:
            name = f"pin {len(self.pins) + 1}: {self._label()}"
            histories = copy.deepcopy([run.history for run in self.session.runs])
            pin = Trace(name=name, histories=histories, style=len(self.pins) + 1, faded=True)
            self.pins = [*self.pins, pin][-MOST_PINS:]
            self._note = "Pinned. Move a control, press Reset and Start, and compare."
        if was_running:
            self.session.start()
        self._refresh()

    def keep(self) -> None:
        """Store the model as it stands as the learner's own."""
        self._note = self._keep(self)
        self._refresh()

    def show_code(self) -> None:
        """Show what this panel has done as Python, below the figure, or put it away."""
        self._code.value = "" if self._code.value else (
            '<div class="cu-help">What this panel has done so far. One click selects it all; then copy.</div>'
            f'<pre class="cu-code">{html.escape(self.code())}</pre>')  # fmt: skip
        self._code.layout.display = None if self._code.value else "none"

    def unpin(self) -> None:
        """Forget the pinned curves."""
        self.pins, self._note = [], ""
        self._refresh()

    def close(self) -> None:
        """Stop the run and remove the panel."""
        self.session.pause()
        super().close()

    # --- what an exercise or the next cell wants ---------------------------------------------------------------

    @property
    def model(self):
        """The model as it stands; pauses the run first, because only its thread may touch a model in training."""
        self.pause()
        return self.session.runs[0].model

    def recording(self) -> dict:
        """Settings, seeds and every knob's change: `training.replay` repeats each run from it."""
        self.pause()
        return {"settings": self.described, "runs": [run.recording() for run in self.session.runs]}

    def code(self) -> str:
        """The run as Python: recipe, settings, seed and every knob's change. Run, it ends with the same weights."""
        self.pause()
        return script(self.recipe, self.described, self.hands.given, self.session.runs)

    def save_recording(self, path: str | Path) -> None:
        """Write `recording` as JSON, which `training.replay` reads."""
        Path(path).expanduser().write_text(json.dumps(self.recording(), indent=1, allow_nan=False), encoding="utf-8")

    # --- behind the controls -------------------------------------------------------------------------------------

    def _load(self) -> None:
        """Prepare the runs that the controls describe. Settings that do not go together leave the old ones."""
        self.session.pause()
        seeds = [self.seed.value + i for i in range(self.seeds.value if self.seeds else 1)]
        settings = {name: widget.value for name, widget in self.settings.items()}
        recipes, earlier = self.recipe(**settings), self._recommended
        self.experiment, refused = self.hands.begin(recipes, lambda it: self.session.load(it, seeds), settings)
        self.described, self._note = settings, ""  # of the runs that are there: a control may show what was refused
        self._recommended = dict(self.session.runs[0].knobs)
        quiet, self._quiet = self._quiet, True  # one new picture at the end, not one for each knob
        for name, widget in self.knobs.items():
            wanted = self._recommended.get(name, widget.value)
            if widget.value == earlier[name] != wanted:  # nobody has turned it: it follows the recipe
                widget.value = wanted
                self._note = f"With these settings, {name} begins at {wanted:.3g}."
            self.session.set(name, widget.value)
        self._quiet = quiet
        self.clear_error()
        if refused is not None:
            self.show_error(refused)

    def _failed(self, error: BaseException) -> None:
        self.show_error(self.hands.explain(error, self.session.runs[0]))

    def _turn(self, name: str) -> None:
        self.session.set(name, self.knobs[name].value)
        self._note = ""
        if self._quiet or self.session.running:
            return  # a running session draws its change itself
        when = "from the next step on" if self.session.status == "ready" else "after Reset: this run has ended"
        self._note = f"{name} is {self.knobs[name].value:.3g} {when}."
        self.redraw()

    def _label(self, *, whole: bool = False) -> str:
        moved = {**self.knobs, **self.settings, "seed": self.seed}
        changed = [f"{name} {widget.value:.3g}" if isinstance(widget.value, float) else f"{name} {widget.value}"
                   for name, widget in moved.items() if whole or widget.value != self._first[widget]]  # fmt: skip
        return ", ".join(changed) or "defaults"

    def _price(self) -> None:
        if self.hands.used:
            return  # what a learner wrote runs on the training thread only, where it can be ended
        self._cost = self.session.estimate(self.experiment)
        self.redraw()

    def _ready(self) -> None:
        if self._cost is None and self.session.status == "ready":
            self._price()

    def _refresh(self) -> None:
        with self._refresh_lock:  # a run that ends meanwhile must have the last word
            status = self.session.status
            self.buttons["start"].disabled = status != "ready"
            self.buttons["pause"].disabled = status != "running"
            self.buttons["step"].disabled = status in ("finished", "diverged")
            self.buttons["unpin"].disabled = not self.pins
        if status != "running":
            self.redraw()

    # --- drawing -------------------------------------------------------------------------------------------------

    def _traces(self) -> list[Trace]:
        return [Trace(name="this run", histories=[run.history for run in self.session.runs]), *self.pins]

    def specs(self) -> list[dict]:
        """The figures as they stand."""
        traces, steps = self._traces(), self.experiment.steps
        drawn = [view.draw(traces) for view in self.views if not isinstance(view, TextView)]
        return [ahead(spec, traces[0].histories[0], steps) for spec in drawn]

    def texts(self) -> list[tuple[str, str]]:
        """The texts as they stand: (title, body)."""
        shown = [(view.title, view.body(self._traces())) for view in self.views if isinstance(view, TextView)]
        return shown + [("Printed by your code", self._workshop.printed)] * bool(self._workshop.printed)

    def redraw(self) -> None:
        """Show everything as it stands. While a session runs, only its own thread calls this."""
        note = " ".join(filter(None, [self.experiment.about, self.hands.remark(), self._note]))
        stands = standing(self.session, self._cost, note, verdict(self._traces()))
        with self._draw_lock:
            self.figure.show(self.specs(), texts=self.texts(), **stands)

    def _draw_live(self) -> bool:
        if not self.session.running:
            self._refresh()  # it has ended by itself
        elif self.figure.left_alone:
            self._note = "The page was closed, so it waits. Press Start to go on."
            self.session.stop()
        elif not self.figure.wants_frame:
            return False
        else:
            self.redraw()
        return True

    def describe(self) -> str:
        controls = ", ".join([*self.knobs, *self.settings])
        shows = ", ".join(view.title for view in self.views)
        return f"{self.title}: a live panel. Controls: {controls}. Shows: {shows}. Run this cell, then press Start."

    def picture(self):
        for run in self.session.runs:
            finish(run)
        return self.specs(), [*self.texts(), ("This run", self._label(whole=True))]
