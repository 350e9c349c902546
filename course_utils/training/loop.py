"""The training loop.

`Experiment` says what is trained and how. `Experiment.start(seed)` gives a `Run`, whose `step` method is the course's
training step: `fit` calls it headless, a live panel calls it on a thread. What varies between subjects is the
`loss(model, batch)` function.
"""

from __future__ import annotations

import inspect
import math
import numbers
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_utils import runtime
from course_utils.models import count_parameters
from course_utils.training.history import Event, History
from course_utils.training.schedules import constant

Measure = Callable[[nn.Module, torch.Generator], "float | str | Mapping[str, float]"]
DIVERGED = 1_000.0  # a loss this many times the first one (or one nat) will not come back


def default_loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    """Mean cross-entropy in nats of a batch (inputs, targets); a model that returns (logits, loss) gives its own."""
    if not isinstance(batch, list | tuple) or len(batch) != 2:
        raise ValueError(f"a batch is {kind_of(batch)}: expected (inputs, targets), one alone as [(inputs, targets)]")
    inputs, targets = batch
    if hasattr(model, "attention_maps"):
        return model(inputs, targets)[1]
    return F.cross_entropy(model(inputs), targets)


# --- optimizers ---------------------------------------------------------------------------------------------


def _adamw(groups, on: torch.device):
    return torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.95), fused=on.type in ("cpu", "cuda"))


def _sgd(groups, on: torch.device):
    return torch.optim.SGD(groups, lr=0.0)


OPTIMIZERS = {"adamw": _adamw, "sgd": _sgd}


def _parameter_groups(model: nn.Module) -> list[dict]:
    """Matrices decay, biases and norms do not (as GPT-2 and its successors train), unless the model has a rule."""
    if hasattr(model, "parameter_groups"):  # each with "decays" and "rate", its factors on the knobs
        return model.parameter_groups()
    trained = [p for p in model.parameters() if p.requires_grad]
    if not trained:
        raise ValueError("this model has no trainable parameter: unfreeze one (requires_grad = True)")
    groups = [
        {"params": [p for p in trained if p.ndim >= 2], "decays": True},
        {"params": [p for p in trained if p.ndim < 2], "decays": False},
    ]
    return [group for group in groups if group["params"]]


# --- experiments and runs -------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """What is trained and how; `start` turns it into a run.

    model: builds the model from a generator.  batches: ``batches(generator) -> batch``, or an iterable of batches.
    loss: ``loss(model, batch)``.  Keyword-only arguments of ``loss`` and ``batches`` that are numbers become knobs.
    knobs: start values; always has ``lr``, and may have ``weight_decay``, ``momentum`` (sgd), ``clip``.
    measures: what to measure every ``measure_every`` steps: ``measure(model, generator)`` gives a number,
    several by name, or a text.  levels: reference losses by name, in nats, to be drawn beside the loss.
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

    def __post_init__(self):
        for name in ("steps", "measure_every"):
            value = getattr(self, name)
            if not hasattr(value, "__index__") or value < 1:
                raise ValueError(f"{name} {value}: expected 1 or more, a whole number")
        if isinstance(self.model, nn.Module):
            raise TypeError("model is a module: expected a function that builds one, lambda generator: MLP([64, 10])")
        if inspect.isgeneratorfunction(self.batches):
            raise TypeError(f"{self.batches.__name__} yields batches: pass what it returns, {self.batches.__name__}()")

    def start(self, seed: int = 0, *, device: torch.device | str | None = None) -> Run:
        """A new run from step 0. The same seed gives the same weights and the same batches."""
        return Run(self, seed, runtime.device(device))


def batch_generator(seed: int) -> torch.Generator:
    """The generator a run draws its batches from: its own, so that the model's size does not change the data."""
    return runtime.generator((int(seed) + 2**32) % 2**63)


def keyword_knobs(function: object) -> dict[str, float]:
    """The keyword-only arguments of a function with their defaults; NaN where there is none.

    An argument whose default is no number, such as a teacher, is not a knob.
    """
    if not callable(function):
        return {}
    parameters = inspect.signature(function).parameters.values()
    only = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
    found = {name: math.nan if default is inspect.Parameter.empty else default for name, default in only.items()}
    return {name: value for name, value in found.items() if isinstance(value, numbers.Real) and type(value) is not bool}


class Run:
    """One model in training. `step` moves it by one step; `set` asks for a knob's new value at the next step.

    status: "ready", "finished" or "diverged".  Only the thread that calls `step` may touch ``model``.
    """

    def __init__(self, experiment: Experiment, seed: int, device: torch.device):
        own = runtime.generator(seed)
        self.experiment, self.seed, self.device = experiment, own.initial_seed(), device
        with torch.random.fork_rng(devices=[]):  # PyTorch's own layers start from the global generator of the CPU
            torch.default_generator.manual_seed(self.seed)
            self.model = experiment.model(own).to(device)
        runtime.use_threads(count_parameters(self.model))
        self.model.train()
        self.step_count = 0
        self.knobs = self._all_knobs()
        self.start_knobs = dict(self.knobs)
        self.history = History(levels=dict(experiment.levels))
        self._mailbox: deque[tuple[str, float]] = deque()
        self._batch_knobs = keyword_knobs(experiment.batches).keys()
        self._loss_knobs = keyword_knobs(experiment.loss).keys()
        self.optimizer = OPTIMIZERS[experiment.optimizer](_parameter_groups(self.model), device)
        self._draw = self._batch_source()
        self._first_loss: float | None = None
        self._measure()

    @property
    def status(self) -> str:
        return self.history.status

    def _all_knobs(self) -> dict[str, float]:
        if self.experiment.optimizer not in OPTIMIZERS:
            raise ValueError(f"optimizer {self.experiment.optimizer!r}: choose one of {', '.join(OPTIMIZERS)}")
        own = {"lr": math.nan, "weight_decay": 0.0, "clip": math.inf}
        if self.experiment.optimizer == "sgd":
            own["momentum"] = 0.0
        known = own | keyword_knobs(self.experiment.batches) | keyword_knobs(self.experiment.loss)
        knobs = known | {name: _checked(name, value, known) for name, value in self.experiment.knobs.items()}
        missing = [name for name, value in knobs.items() if isinstance(value, float) and math.isnan(value)]
        if missing:
            raise ValueError(f"no start value for {', '.join(missing)}: give it in knobs={{...}}")
        return knobs

    def _batch_source(self) -> Callable[[], object]:
        batches, rng = self.experiment.batches, batch_generator(self.seed)
        if callable(batches):
            return lambda: batches(rng, **{name: self.knobs[name] for name in self._batch_knobs})
        stream = again_and_again(batches)
        return lambda: next(stream)

    def set(self, knob: str, value: float) -> None:
        """Ask for a knob's new value, from any thread; it takes effect, and is recorded, at the next step."""
        self._mailbox.append((knob, _checked(knob, value, self.knobs)))

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
        batch = to_device(self._draw(), self.device)
        loss = self.experiment.loss(self.model, batch, **{name: self.knobs[name] for name in self._loss_knobs})
        if not isinstance(loss, Tensor) or loss.ndim:
            raise TypeError(f"loss gave {kind_of(loss)}: expected a tensor that is one number, such as a mean")
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self._update()
        return self._record(loss)

    def _update(self) -> None:
        if self.knobs["clip"] < math.inf:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.knobs["clip"])
        for group in self.optimizer.param_groups:
            group["lr"] = self.knobs["lr"] * group.get("rate", 1.0) * self.experiment.schedule(self.step_count)
            group["weight_decay"] = self.knobs["weight_decay"] * group["decays"]
            if "momentum" in self.knobs:
                group["momentum"] = self.knobs["momentum"]
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
        self.model.eval()
        try:
            with torch.no_grad():
                for name, measure in self.experiment.measures.items():
                    self.history.record(name, self.step_count, measure(self.model, runtime.generator(self.seed)))
        finally:
            self.model.train()

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
            "knobs": self.start_knobs,
            "events": [asdict(event) for event in self.history.events],
        }


def _checked(knob: str, value: float, known: Mapping[str, float]) -> float:
    if knob not in known:
        raise ValueError(f"no knob {knob!r}: this run has {', '.join(known)}")
    try:
        number = value if isinstance(value, int) and not isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        raise ValueError(f"{knob} {value!r}: expected a number") from None
    if math.isnan(number) or number < 0:
        raise ValueError(f"{knob} {number}: expected a number, 0 or more")
    return number


def diverged(value: float, first: float) -> bool:
    """Whether a loss will not come back, by the run's first loss."""
    return not math.isfinite(value) or abs(value) > DIVERGED * max(1.0, abs(first))


def again_and_again(batches: Iterable):
    """Batches again and again; ValueError once a pass gives none."""
    while True:
        empty = True
        for batch in batches:
            empty = False
            yield batch
        if empty:
            raise ValueError(
                "batches gave no batch: it is empty, or an iterator that can be read once; "
                "give a list, a DataLoader, or a function batches(generator)"
            )


def to_device(batch: object, device: torch.device) -> object:
    """A batch, its parts by place or by name, on the device."""
    if isinstance(batch, Tensor):
        return batch.to(device, non_blocking=True)
    if isinstance(batch, Mapping):
        return {name: to_device(part, device) for name, part in batch.items()}
    if isinstance(batch, list | tuple):
        parts = [to_device(part, device) for part in batch]
        return type(batch)(*parts) if hasattr(batch, "_fields") else type(batch)(parts)  # a named tuple has fields
    return batch


def kind_of(value: object) -> str:
    return f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"


def fit(model, batches, *, steps, lr, loss=default_loss, seed=0, knobs=None, device=None, **options) -> History:
    """Train headless for a number of steps and return the history.

    model: a module, trained in place, or a function that builds one from a generator.
    batches, loss: as in `Experiment`.  knobs: further start values; options: further fields of `Experiment`.
    The history ends early if the run diverges; its ``status`` says so.
    """
    build = (lambda _: model) if isinstance(model, nn.Module) else model
    start = {"lr": lr, **(knobs or {})}
    experiment = Experiment(model=build, batches=batches, loss=loss, knobs=start, steps=steps, **options)
    return finish(experiment.start(seed, device=device)).history


def finish(run: Run) -> Run:
    """Step a run until it has finished or diverged."""
    while run.status == "ready":
        run.step()
    return run


def replay(experiment: Experiment, recording: Mapping, *, device: torch.device | str | None = None) -> Run:
    """Repeat a recorded run headless: on the same machine and device, bitwise the same weights."""
    run = experiment.start(recording["seed"], device=device)
    run.knobs.update({name: _checked(name, value, run.knobs) for name, value in recording["knobs"].items()})
    changes = deque(Event(**event) for event in recording["events"])
    while run.step_count < recording["steps"] and run.status == "ready":
        while changes and changes[0].step <= run.step_count:
            change = changes.popleft()
            run.set(change.knob, change.value)
        run.step()
    return run
