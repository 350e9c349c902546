"""The training loop.

`Experiment` says what is trained and how. `Experiment.start(seed)` gives a `Run`, whose `step` method is the course's
training step: `fit` calls it headless, a live panel calls it on a thread. What varies between subjects is the
`loss(model, batch)` function.
"""

from __future__ import annotations

import copy
import math
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, fields

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_utils import runtime
from course_utils.dice import DRAW, MEASURE, TRAIN, Dice, TorchDice, derived
from course_utils.models import count_parameters, evaluating, has_run_away, same_modes
from course_utils.training import modes
from course_utils.training.batches import Stream, batch_generator, kind_of, own_generators, to_device
from course_utils.training.checks import check_fields
from course_utils.training.history import Event, History
from course_utils.training.knobs import checked, keyword_knobs
from course_utils.training.optimizers import OPTIMIZERS, parameter_groups
from course_utils.training.schedules import constant
from course_utils.values import one_of

Measure = Callable[[nn.Module, torch.Generator], "float | str | Mapping[str, float]"]
DIVERGED = 1_000.0  # a loss this many times the first one (or one nat) will not come back
MOST = sys.float_info.max  # infinity is above any limit
MOST_FLOAT32 = torch.finfo(torch.float32).max
HOLD = 0.02  # seconds that a run without pictures keeps the global generators: to exchange them takes 60 us


def default_loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    """Mean cross-entropy in nats of a batch (inputs, targets); a model that returns (logits, loss) gives its own."""
    if not isinstance(batch, list | tuple) or len(batch) != 2:
        raise ValueError(f"a batch is {kind_of(batch)}: expected (inputs, targets), one alone as [(inputs, targets)]")
    inputs, targets = batch
    if hasattr(model, "attention_maps"):
        return model(inputs, targets)[1]
    return F.cross_entropy(model(inputs), targets)


def built(model: Callable[[torch.Generator], nn.Module], generator: torch.Generator) -> nn.Module:
    """The model that a builder makes, with global dice of its own beside its generator."""
    with Dice(generator.initial_seed()):
        made = model(generator)
    if not isinstance(made, nn.Module):
        raise TypeError(f"model gave {kind_of(made)}: expected a module, as MLP([64, 10])")
    return made


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """What is trained and how; `start` turns it into a run.

    model: builds the model from a generator.  batches: ``batches(generator) -> batch``, or an iterable of batches.
    loss: ``loss(model, batch)``.  Keyword-only arguments of ``loss`` and ``batches`` that are numbers become knobs.
    knobs: start values; always has ``lr``, and may have ``weight_decay``, ``momentum`` (sgd), ``clip``.
    measures: what to measure every ``measure_every`` steps: ``measure(model, generator)`` gives a number,
    several by name, or a text.  levels: reference losses by name, in nats, to be drawn beside the loss.
    about: a sentence on the model that it starts from, where there is one.
    """

    model: Callable[[torch.Generator], nn.Module]
    batches: Callable[..., object] | Iterable
    loss: Callable[..., Tensor] = default_loss
    knobs: Mapping[str, float] = field(default_factory=lambda: {"lr": 1e-3})
    optimizer: str = "adamw"
    schedule: Callable[[int], float] = constant
    measures: Mapping[str, Measure] = field(default_factory=dict)
    measure_every: int = 50
    steps: int = 1000
    levels: Mapping[str, float] = field(default_factory=dict)
    about: str = ""

    def __post_init__(self):
        check_fields(self)

    def start(self, seed: int = 0, *, device: torch.device | str | None = None) -> Run:
        """A new run from step 0. The same seed gives the same weights and the same batches."""
        return Run(self, seed, runtime.device(device))


class Run:
    """One model in training. `step` moves it by one step; `set` asks for a knob's new value at the next step.

    status: "ready", "finished" or "diverged".  Only the thread that calls `step` may touch ``model``.
    """

    def __init__(self, experiment: Experiment, seed: int, device: torch.device, *, in_place: bool = False):
        own = runtime.generator(seed)
        self.experiment, self.seed, self.device = experiment, own.initial_seed(), device
        torch.empty(0, device=device)  # a GPU has its global generator from its first use on
        self.model = built(experiment.model, own)
        if not in_place:
            self.model = modes.own_copy(self.model)
        self.model.to(device)
        runtime.use_threads(count_parameters(self.model))
        modes.train_(self.model)
        self.step_count = 0
        self.knobs = self._all_knobs()
        self.start_knobs = dict(self.knobs)
        self.history = History(levels=dict(experiment.levels))
        self._mailbox: deque[tuple[str, float]] = deque()
        self._batch_knobs = list(keyword_knobs(experiment.batches))
        self._loss_knobs = list(keyword_knobs(experiment.loss))
        self.optimizer = OPTIMIZERS[experiment.optimizer](parameter_groups(self.model), device)
        self.dice = Dice(derived(self.seed, TRAIN))
        self._draw_dice = TorchDice(derived(self.seed, DRAW), also=own_generators(experiment.batches))
        self._rng = batch_generator(self.seed)
        self._stream = None if callable(experiment.batches) else Stream(experiment.batches)
        self._first_loss: float | None = None
        self._measure()

    def __deepcopy__(self, memo: dict) -> Run:
        """A run that goes on as this one would; the experiment and what its batches are read from are shared."""
        twin = memo[id(self)] = object.__new__(type(self))
        memo |= {id(shared): shared for shared in (self.experiment, self.experiment.batches)}
        try:
            memo[id(self.model)] = modes.own_copy(self.model, memo)
            vars(twin).update(copy.deepcopy(vars(self), memo))
        except Exception as error:
            problem = f"this run cannot be copied: its model, or the pass through its batches, cannot ({error})"
            raise TypeError(f"{problem}; training.replay(experiment, run.recording()) gives another one") from error
        return twin

    @property
    def status(self) -> str:
        return self.history.status

    def _all_knobs(self) -> dict[str, float]:
        one_of("optimizer", self.experiment.optimizer, OPTIMIZERS)
        own = {"lr": math.nan, "weight_decay": 0.0, "clip": math.inf}
        if self.experiment.optimizer == "sgd":
            own["momentum"] = 0.0
        known = own | keyword_knobs(self.experiment.batches) | keyword_knobs(self.experiment.loss)
        knobs = known | {name: checked(name, value, known) for name, value in self.experiment.knobs.items()}
        missing = [name for name, value in knobs.items() if isinstance(value, float) and math.isnan(value)]
        if missing:
            raise ValueError(f"no start value for {', '.join(missing)}: give it in knobs={{...}}")
        return knobs

    def _draw(self) -> object:
        with self._draw_dice:  # what the model draws must not change the data
            if self._stream is not None:
                return next(self._stream)
            return self.experiment.batches(self._rng, **{name: self.knobs[name] for name in self._batch_knobs})

    def set(self, knob: str, value: float) -> None:
        """Ask for a knob's new value, from any thread; it takes effect, and is recorded, at the next step."""
        self._mailbox.append((knob, checked(knob, value, self.knobs)))

    def read_mailbox(self) -> bool:
        """Let knobs that were `set` take their new values; whether any moved. Only between steps, as `step` does."""
        latest, before = {}, len(self.history.events)
        while self._mailbox:
            name, value = self._mailbox.popleft()
            latest[name] = value
        for name, value in latest.items():
            if self.knobs[name] != value:
                self.knobs[name] = value
                self.history.events.append(Event(self.step_count, name, value))
        return len(self.history.events) > before

    @torch.enable_grad()
    def step(self) -> float:
        """One step: read the mailbox, draw a batch, loss, gradients, update. Returns the loss in nats."""
        if self.status != "ready":
            raise RuntimeError(f"this run has {self.status}: start a new one")
        self.read_mailbox()
        with self.dice:
            batch = to_device(self._draw(), self.device)
            loss = self.experiment.loss(self.model, batch, **{name: self.knobs[name] for name in self._loss_knobs})
            if not isinstance(loss, Tensor) or loss.ndim:
                raise TypeError(f"loss gave {kind_of(loss)}: expected a tensor that is one number, such as a mean")
            if not loss.requires_grad:
                raise TypeError("loss gave a tensor without a gradient: compute it from what a weight that trains has "
                                "given, without .item(), .detach() or torch.no_grad()")  # fmt: skip
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self._update()
            return self._record(loss)

    def _update(self) -> None:
        if self.knobs["clip"] < math.inf:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.knobs["clip"])
        factor = self.experiment.schedule(self.step_count)
        if not hasattr(factor, "__float__"):
            raise TypeError(f"schedule gave {kind_of(factor)} at step {self.step_count}: expected a factor, as 1.0")
        for group in self.optimizer.param_groups:
            group["lr"] = _in_float32(self.knobs["lr"] * group.get("rate", 1.0) * factor)
            group["weight_decay"] = _in_float32(self.knobs["weight_decay"] * group["decays"])
            if "momentum" in self.knobs:
                group["momentum"] = _in_float32(self.knobs["momentum"])
        with getattr(self.model, "stepping", nullcontext)():
            self.optimizer.step()

    def _record(self, loss: Tensor) -> float:
        self.step_count += 1
        value = math.nan if loss.is_meta else loss.item()  # the meta device has no numbers, so nothing is recorded
        if self._first_loss is None:
            self._first_loss = value
        if not loss.is_meta:
            self.history.add("loss", self.step_count, value)
        if diverged(value, self._first_loss) and not loss.is_meta:
            self.history.status = "diverged"
        elif self.step_count >= self.experiment.steps:
            self.history.status = "finished"
        if self.step_count % self.experiment.measure_every == 0 or self.status == "finished":
            self._measure()
        return value

    def _measure(self) -> None:
        """Measure without leaving a trace in training: no gradients, and dice of its own, the same each time."""
        if not self.experiment.measures or self.status == "diverged" or self.device.type == "meta":
            return
        try:
            with evaluating(self.model), torch.no_grad():
                for name, measure in self.experiment.measures.items():
                    with Dice(derived(self.seed, MEASURE)):
                        measured = measure(self.model, runtime.generator(self.seed))
                    self.history.record(name, self.step_count, measured)
        except Exception:
            if not has_run_away(self.model):  # else it cannot be measured, and the next step's loss says why
                raise

    def explain(self) -> str:
        """One sentence on how the run stands; for a diverged one, at which step and after which change."""
        if self.status == "diverged":
            last = self.history.events[-1] if self.history.events else None
            cause = f"after {last.knob} became {last.value:g} at step {last.step}" if last else (
                f"with lr {self.knobs['lr']:g} from the start")
            loss = self.history["loss"].last
            return f"Diverged at step {self.step_count} (loss {loss:.3g}), {cause}. Reset starts again."
        done = f"step {self.step_count} of {self.experiment.steps}"
        return f"Finished: {done}." if self.status == "finished" else f"At {done}."

    def snapshot(self) -> dict[str, Tensor]:
        """A copy of the weights on the CPU."""
        return {name: tensor.detach().to("cpu", copy=True) for name, tensor in self.model.state_dict().items()}

    def recording(self) -> dict:
        """What `replay` needs to repeat this run: plain data for `json`."""
        return {
            "seed": self.seed,
            "steps": self.step_count,
            "knobs": {name: _plain(value) for name, value in self.start_knobs.items()},
            "events": [asdict(event) | {"value": _plain(event.value)} for event in self.history.events],
        }


def _plain(value: float) -> float | None:
    """JSON has no infinity: a limit that is off, as ``clip``, is null there."""
    return None if value == math.inf else value


def _in_float32(value: float) -> float:
    """The value, or the largest that float32 has: of more, PyTorch says "cannot be converted", and not "diverged"."""
    return max(-MOST_FLOAT32, min(value, MOST_FLOAT32))


def divergence(first: float) -> float:
    """The size of a loss that will not come back, by the run's first loss."""
    return min(DIVERGED * max(1.0, abs(first)), MOST) if math.isfinite(first) else MOST


def diverged(value: float, first: float) -> bool:
    """Whether a loss will not come back, by the run's first loss."""
    return not abs(value) <= divergence(first)  # written so that nan has run away, too


def fit(model, batches, *, steps, lr, loss=default_loss, seed=0, knobs=None, device=None, **options) -> History:
    """Train headless for a number of steps and return the history.

    model: a module, trained in place, or a function that builds one from a generator.
    batches, loss: as in `Experiment`.  knobs: further start values; options: further fields of `Experiment`.
    The history ends early if the run diverges; its ``status`` says so. A module is in training mode only meanwhile.
    """
    given = ("model", "batches", "loss", "knobs", "steps")
    known = [one.name for one in fields(Experiment) if one.name not in given]
    knobs = {} if knobs is None else knobs
    for name in options:
        if name not in known:
            raise TypeError(f"fit has no option {name!r}: choose from {', '.join(known)}")
    if isinstance(knobs, Mapping) and "lr" in knobs:
        raise ValueError("lr is given twice, as lr and in knobs: leave it out of knobs")
    in_place = isinstance(model, nn.Module)
    start = {"lr": lr, **knobs} if isinstance(knobs, Mapping) else knobs
    build = (lambda _: model) if in_place else model
    experiment = Experiment(model=build, batches=batches, loss=loss, knobs=start, steps=steps, **options)
    with same_modes(model) if in_place else nullcontext():
        return finish(Run(experiment, seed, runtime.device(device), in_place=in_place)).history


def finish(run: Run) -> Run:
    """Step a run until it has finished or diverged."""
    return advance(run, math.inf, deque())


def advance(run: Run, steps: float, changes: deque[Event]) -> Run:
    """Step a run until it has made this many steps or has ended, with changes of its knobs on the way."""
    def is_open() -> bool:
        return run.status == "ready" and run.step_count < steps

    while is_open():
        with run.dice:
            until = time.perf_counter() + HOLD
            while is_open() and time.perf_counter() < until:
                while changes and changes[0].step <= run.step_count:
                    change = changes.popleft()
                    run.set(change.knob, change.value)
                run.step()
    return run
