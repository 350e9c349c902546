"""One loop: exact, replayable, small over a million steps, and clear about what went wrong."""

import copy
import json
import math
import random
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from course_utils import runtime, training
from course_utils.models import GPT, MLP, GPTConfig
from course_utils.training import Curve, Experiment

DATA = (torch.randn(64, 4, generator=runtime.generator(0)), torch.arange(64) % 3)


def batches(generator, *, batch_size=8):
    chosen = torch.randint(64, (int(batch_size),), generator=generator)
    return DATA[0][chosen], DATA[1][chosen]


def mlp_experiment(**options):
    knobs = {"lr": 0.05, **options.pop("knobs", {})}
    return Experiment(model=lambda g: MLP([4, 8, 3]), batches=batches, knobs=knobs, **{"steps": 60, **options})


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.snapshot().values(), b.snapshot().values(), strict=True))


def test_the_loop_equals_one_written_by_hand():
    experiment = mlp_experiment(optimizer="sgd", knobs={"lr": 0.1, "momentum": 0.9}, steps=20)
    run = experiment.start(3)
    by_hand = MLP([4, 8, 3])
    by_hand.load_state_dict(run.snapshot())
    optimizer = torch.optim.SGD(by_hand.parameters(), lr=0.1, momentum=0.9)
    rng = training.batch_generator(3)
    for _ in range(20):
        x, y = batches(rng)
        loss = F.cross_entropy(by_hand(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        assert run.step() == pytest.approx(loss.item(), rel=1e-6)
    for ours, theirs in zip(run.model.parameters(), by_hand.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("clip", [math.inf, 0.05])
def test_adamw_is_bitwise_pytorchs(clip):
    ours, schedule = MLP([4, 8, 3]), training.cosine(9, warmup=3)
    theirs = copy.deepcopy(ours)
    history = training.fit(ours, [DATA], steps=9, lr=0.01, knobs={"weight_decay": 0.3, "clip": clip}, schedule=schedule)
    matrices, biases = ([p for p in theirs.parameters() if p.ndim == n] for n in (2, 1))
    groups = [{"params": matrices, "weight_decay": 0.3}, {"params": biases, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.95), fused=True)
    for step in range(9):
        for group in optimizer.param_groups:
            group["lr"] = 0.01 * schedule(step)
        loss = F.cross_entropy(theirs(DATA[0]), DATA[1])
        optimizer.zero_grad()
        loss.backward()
        if clip < math.inf:
            nn.utils.clip_grad_norm_(theirs.parameters(), clip)
        optimizer.step()
        assert history.loss[step] == loss.item()
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))


def test_the_same_seed_gives_the_same_weights_and_another_seed_others():
    runs = [training.finish(mlp_experiment().start(seed)) for seed in (5, 5, 6)]
    assert same(runs[0], runs[1])
    assert not same(runs[0], runs[2])


def test_the_batches_do_not_depend_on_the_model():
    seen = {}
    for width in (8, 16):
        seen[width] = []

        def noted(generator, width=width):
            seen[width].append(batches(generator)[0])
            return batches(generator)

        experiment = Experiment(model=lambda g, w=width: MLP([4, w, 3]), batches=noted, steps=5)
        training.finish(experiment.start(0))
    assert all(torch.equal(a, b) for a, b in zip(seen[8], seen[16], strict=True))


def test_nothing_depends_on_or_disturbs_torchs_global_generator():
    torch.manual_seed(1)
    first = training.finish(mlp_experiment().start(0))
    state = torch.random.get_rng_state()
    second = training.finish(mlp_experiment().start(0))
    assert torch.equal(state, torch.random.get_rng_state())
    assert same(first, second)


def test_twenty_random_knob_changes_replay_to_bitwise_the_same_weights():
    experiment = mlp_experiment(steps=200, knobs={"weight_decay": 0.1})
    run, dice = experiment.start(2), random.Random(1)
    moves = sorted(dice.sample(range(200), 20))
    while run.status == "ready":
        for _ in range(moves.count(run.step_count)):
            knob = dice.choice(["lr", "weight_decay", "batch_size"])
            run.set(knob, 9 + run.step_count if knob == "batch_size" else 10 ** dice.uniform(-4, -1))
        run.step()
    assert len(run.history.events) == 20
    recording = json.loads(json.dumps(run.recording()))
    assert same(run, training.replay(experiment, recording))
    recording["events"].pop()
    assert not same(run, training.replay(experiment, recording))


def test_a_change_waits_in_the_mailbox_and_only_the_last_one_counts():
    run = mlp_experiment().start(0)
    run.set("lr", 0.5)
    run.set("lr", 0.25)
    assert run.knobs["lr"] == 0.05 and run.history.events == []
    run.step()
    assert run.knobs["lr"] == 0.25
    assert [(e.step, e.knob, e.value) for e in run.history.events] == [(0, "lr", 0.25)]
    run.set("lr", 0.25)
    run.step()
    assert len(run.history.events) == 1, "a knob put where it stands is no event"


def test_the_keyword_arguments_of_a_loss_are_knobs():
    seen = []

    def loss(model, batch, *, temperature=2.0):
        seen.append(temperature)
        return F.cross_entropy(model(batch[0]) / temperature, batch[1])

    run = mlp_experiment(loss=loss).start(0)
    run.step()
    run.set("temperature", 5)
    run.step()
    assert seen == [2.0, 5]


def test_weight_decay_pulls_on_matrices_only():
    run = mlp_experiment(optimizer="sgd", knobs={"lr": 0.1, "weight_decay": 0.5}).start(0)
    before = run.snapshot()
    run.experiment = mlp_experiment(loss=lambda model, batch: 0 * sum(p.sum() for p in model.parameters()))
    run.step()
    after = run.snapshot()
    torch.testing.assert_close(after["layers.0.weight"], 0.95 * before["layers.0.weight"])
    assert torch.equal(after["layers.0.bias"], before["layers.0.bias"])


def test_gradients_are_clipped_to_the_knob():
    run = mlp_experiment(optimizer="sgd", knobs={"lr": 1.0, "clip": 1e-3}).start(0)
    before = run.snapshot()
    run.step()
    moved = sum((a - b).square().sum() for a, b in zip(run.snapshot().values(), before.values(), strict=True))
    assert moved.sqrt().item() == pytest.approx(1e-3, rel=1e-3)


def test_an_absurd_learning_rate_is_a_result_with_a_step_and_a_cause():
    run = mlp_experiment(steps=200).start(0)
    for _ in range(10):
        run.step()
    run.set("lr", 1e9)
    training.finish(run)
    assert run.status == "diverged"
    assert "after lr became 1e+09 at step 10" in run.explain()
    assert len(run.history["loss"]) == run.step_count
    with pytest.raises(RuntimeError, match="has diverged"):
        run.step()
    fresh = run.experiment.start(0)
    assert training.finish(fresh).status == "finished"


def test_a_loss_of_nan_from_the_start_is_said_so():
    run = mlp_experiment(loss=lambda m, b: m(b[0]).sum() * math.nan).start(0)
    run.step()
    assert run.status == "diverged" and "with lr 0.05 from the start" in run.explain()


@pytest.mark.parametrize(
    "knob, value, message",
    [
        ("temprature", 1, "no knob 'temprature': this run has lr"),
        ("lr", -1, "expected a number, 0 or more"),
        ("lr", math.nan, "expected a number"),
        ("lr", "fast", "expected a number"),
    ],
)
def test_a_bad_knob_is_refused_and_the_run_goes_on(knob, value, message):
    run = mlp_experiment().start(0)
    with pytest.raises(ValueError, match=message):
        run.set(knob, value)
    run.step()
    assert run.history.events == []


def test_errors_of_an_experiment_say_what_to_do():
    with pytest.raises(ValueError, match="optimizer 'adam': choose one of adamw, sgd"):
        mlp_experiment(optimizer="adam").start(0)
    with pytest.raises(ValueError, match="no start value for temperature"):
        mlp_experiment(loss=lambda m, b, *, temperature: 0).start(0)
    frozen = MLP([4, 3]).requires_grad_(False)
    with pytest.raises(ValueError, match="no trainable parameter: unfreeze one"):
        training.fit(frozen, batches, steps=1, lr=0.1)
    with pytest.raises(ValueError, match="steps 0: expected 1 or more"):
        training.fit(MLP([4, 3]), batches, steps=0, lr=0.1)


def test_a_number_that_is_no_whole_step_is_refused():
    for options in ({"steps": 2.5}, {"steps": 0}, {"measure_every": 0}):
        with pytest.raises(ValueError, match=f"{next(iter(options))} .*: expected 1 or more, a whole number"):
            mlp_experiment(**options)


def test_a_module_where_a_builder_belongs_and_a_generator_function_are_named():
    with pytest.raises(TypeError, match="model is a module: expected a function that builds one"):
        Experiment(model=MLP([4, 3]), batches=batches)

    def stream(generator):
        yield batches(generator)

    with pytest.raises(TypeError, match=r"stream yields batches: pass what it returns, stream\(\)"):
        training.fit(MLP([4, 3]), stream, steps=1, lr=0.1)


@pytest.mark.parametrize("loss", [lambda m, b: 1.0, lambda m, b: (m(b[0]).sum(), 1), lambda m, b: m(b[0]).sum(1)])
def test_a_loss_that_is_not_one_number_is_named(loss):
    with pytest.raises(TypeError, match="loss gave a (float|tuple|tensor of shape .*): expected a tensor"):
        training.fit(MLP([4, 3]), batches, steps=1, lr=0.1, loss=loss)


def test_one_batch_alone_is_not_taken_for_a_list_of_batches():
    with pytest.raises(ValueError, match="a batch is a tensor of shape .*: expected .inputs, targets., one alone"):
        training.fit(MLP([4, 3]), DATA, steps=1, lr=0.1)
    assert training.fit(MLP([4, 3]), [DATA], steps=2, lr=0.1).status == "finished"


def test_a_batch_may_have_names():
    class Named(NamedTuple):
        inputs: torch.Tensor
        targets: torch.Tensor

    def loss(model, batch):
        return F.cross_entropy(model(batch["x"]), batch["y"])

    plain = training.fit(MLP([4, 3]), [DATA], steps=1, lr=0.1, device="meta")
    for source, how in (([Named(*DATA)], training.default_loss), ([{"x": DATA[0], "y": DATA[1]}], loss)):
        assert training.fit(MLP([4, 3]), source, steps=1, lr=0.1, loss=how, device="meta").status == plain.status


def test_only_numbers_are_knobs():
    teacher = MLP([4, 3])

    def loss(model, batch, *, temperature=2.0, teacher=teacher, hard=True, reduction="mean"):
        return F.cross_entropy(model(batch[0]) / temperature, batch[1], reduction=reduction)

    run = training.finish(mlp_experiment(loss=loss, steps=2).start(np.int64(3)))
    assert run.knobs.keys() == {"lr", "weight_decay", "clip", "batch_size", "temperature"}
    assert json.loads(json.dumps(run.recording()))["seed"] == 3


def test_training_goes_on_where_gradients_are_switched_off():
    with torch.no_grad():
        history = training.fit(MLP([4, 3]), batches, steps=3, lr=0.1)
    assert history.status == "finished"


def test_a_measure_that_fails_leaves_the_model_in_training():
    model = MLP([4, 3])
    for measured, message in ((lambda m, g: m.no_such_layer, "no_such_layer"), (lambda m, g: None, "'m' gave None")):
        with pytest.raises((AttributeError, TypeError), match=message):
            training.fit(model, batches, steps=1, lr=0.1, measures={"m": measured})
        assert model.training


def test_only_the_cpu_s_generator_is_lent_to_a_new_model(monkeypatch):
    monkeypatch.setattr(torch, "manual_seed", lambda seed: pytest.fail("this seeds every GPU, too"))
    first, second = (mlp_experiment().start(seed).snapshot()["layers.0.weight"] for seed in (2, 2))
    assert torch.equal(first, second)


def test_the_largest_seed_has_batches():
    assert training.fit(MLP([4, 3]), batches, steps=1, lr=0.1, seed=2**63 - 1).status == "finished"


def test_batches_may_be_a_list_which_is_read_again_and_again():
    a, b = batches(runtime.generator(0)), batches(runtime.generator(1))
    history = training.fit(MLP([4, 3]), [a, b], steps=5, lr=0.0, optimizer="sgd")
    assert history.loss[0] == history.loss[2] == history.loss[4] != history.loss[1]
    with pytest.raises(ValueError, match="can be read once"):
        training.fit(MLP([4, 3]), iter([a, b]), steps=5, lr=0.1)


def test_fit_trains_the_model_it_is_given_and_lowers_its_loss():
    model = MLP([4, 32, 3])
    history = training.fit(model, batches, steps=300, lr=1e-2, seed=1)
    assert history.status == "finished"
    assert history.loss[-50:].mean() < 0.7 * history.loss[:5].mean()
    assert F.cross_entropy(model(DATA[0]), DATA[1]).item() < 1.0


def test_measures_leave_no_trace_in_training():
    plain = training.finish(mlp_experiment().start(0))

    def noisy(model, generator):
        assert not model.training and not torch.is_grad_enabled()
        return {"dice": torch.rand(1, generator=generator).item()}

    measures = {"m": noisy, "text": lambda m, g: "a < b"}
    measured = training.finish(mlp_experiment(measures=measures, measure_every=7).start(0))
    assert same(plain, measured)
    steps = measured.history["dice"].steps
    assert steps.tolist() == [0, 7, 14, 21, 28, 35, 42, 49, 56, 60]
    assert len(set(measured.history["dice"].values)) == 1, "a measure throws the same dice each time"
    assert measured.history.texts == {"text": "a < b"}


def test_a_curve_stays_small_over_a_million_steps_and_keeps_its_mean():
    curve = Curve()
    values = np.sin(np.arange(1_000_000) / 1e5)
    for step, value in enumerate(values):
        curve.add(step + 1, value)
    assert len(curve) <= 4096 and curve.last == values[-1]
    whole = len(curve) * curve.stride
    assert curve.values.mean() == pytest.approx(values[:whole].mean(), abs=1e-9)
    assert curve.steps[-1] == whole
    by_hand = values[:whole].reshape(-1, curve.stride).mean(1)
    np.testing.assert_allclose(curve.values, by_hand, atol=1e-12)


def test_an_unknown_curve_names_those_there_are():
    history = training.fit(MLP([4, 3]), batches, steps=2, lr=0.1)
    with pytest.raises(KeyError, match="this history has loss"):
        history["accuracy"]


def test_cosine_warms_up_and_ends_where_it_should():
    factor = training.cosine(100, warmup=10, end=0.1)
    assert factor(0) == pytest.approx(0.1) and factor(9) == 1.0
    assert factor(55) == pytest.approx(0.55)
    assert factor(100) == factor(200) == pytest.approx(0.1)
    with pytest.raises(ValueError, match="warmup 100 of 100 steps"):
        training.cosine(100, warmup=100)


def test_a_schedule_scales_the_knob():
    run = mlp_experiment(optimizer="sgd", schedule=lambda step: 0.0).start(0)
    before = run.snapshot()
    run.step()
    assert all(torch.equal(before[name], value) for name, value in run.snapshot().items())


def token_batches(generator):
    rows = torch.randint(0, 20, (2, 9), generator=generator)
    return rows[:, :-1], rows[:, 1:]


@pytest.mark.parametrize("optimizer", training.OPTIMIZERS)
@pytest.mark.parametrize(
    "model, source",
    [
        (lambda g: MLP([4, 8, 3], residual=True, norm=True), batches),
        (lambda g: GPT(GPTConfig(vocab_size=20, context=8, width=8, heads=2)), token_batches),
        (lambda g: GPT(GPTConfig(vocab_size=20, context=8, width=8, heads=2, tied=False)), token_batches),
    ],
)
def test_a_step_on_the_meta_device_leaves_no_tensor_behind(optimizer, model, source):
    run = Experiment(model=model, batches=source, optimizer=optimizer, knobs={"lr": 0.1, "clip": 1.0}, steps=3)
    run = run.start(0, device="meta")
    run.step()
    assert run.step_count == 1 and all(p.is_meta for p in run.model.parameters())


def test_a_whole_run_on_the_meta_device_ends_and_records_nothing():
    run = mlp_experiment(steps=3, measures={"m": lambda model, generator: 1 / 0}).start(0, device="meta")
    assert training.finish(run).status == "finished" and run.step_count == 3
    assert not run.history.curves


def test_the_cost_counts_what_training_holds():
    cost = training.estimate(mlp_experiment(measures={"m": lambda m, g: 1 / 0}))
    count = 4 * 8 + 8 + 8 * 3 + 3
    assert cost.weights == cost.gradients == 4 * count
    assert 2 * 4 * count <= cost.optimizer <= 2 * 4 * count + 64  # Adam's two moments, and step counters
    assert 0 < cost.step_seconds < 1
    wide = training.estimate(mlp_experiment(knobs={"batch_size": 32}))
    assert wide.activations > 2 * cost.activations


def test_the_module_given_to_fit_may_live_anywhere():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(3, 4))

        def forward(self, x):
            return x @ self.weight.T

    assert training.fit(Own(), batches, steps=3, lr=0.1).loss[0] == pytest.approx(math.log(3), rel=1e-6)
