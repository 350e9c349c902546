"""What a learner lends comes back as it was."""

import copy
import inspect

import pytest
import torch
from torch import nn

from course_utils import runtime, training
from course_utils.finetuning import add_lora_, freeze_
from course_utils.lesson import checks, compare, judge, law
from course_utils.lesson.checks import exercise
from course_utils.models import MLP
from course_utils.training import Experiment
from tests.test_exercises import RIGHT

X = torch.randn(64, 4, generator=runtime.generator(0))
Y = torch.arange(64) % 3


def rows(generator):
    chosen = torch.randint(64, (16,), generator=generator)
    return X[chosen], Y[chosen]


def net():
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3))


def states(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def unmoved(model, before):
    return all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def modes(model):
    return [part.training for part in model.modules()]


# --- whose module it is -----------------------------------------------------------------------------------------------

MINE = net().eval()
TRUNK = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8))
NORMED = nn.utils.weight_norm(nn.Linear(4, 3))
NORMED(X)  # its weight is now computed, with a gradient
BUILDERS = {
    "the same module": (MINE, lambda g: MINE),
    "a part of a learner's module": (TRUNK, lambda g: nn.Sequential(TRUNK, nn.Linear(8, 3))),
    "its weights, in a module of its own": (TRUNK, lambda g: nn.Sequential(nn.Sequential(*TRUNK), nn.Linear(8, 3))),
    "old weight_norm": (NORMED, lambda g: NORMED),
}  # fmt: skip


@pytest.mark.parametrize("case", BUILDERS)
def test_a_run_leaves_a_learner_s_module_alone_and_two_runs_start_equally(case):
    module, build = BUILDERS[case]
    before, were, kept = states(module), modes(module), {id(p) for p in module.parameters()}
    recipe = Experiment(model=build, batches=rows, knobs={"lr": 0.1}, steps=5)
    training.estimate(recipe)
    assert unmoved(module, before), "the estimate moved it"
    one, other = (training.finish(recipe.start(0)) for _ in range(2))
    assert unmoved(module, before) and modes(module) == were
    assert one.history.loss.tolist() == other.history.loss.tolist()
    assert not kept & {id(p) for p in one.model.parameters()}
    assert all(p.grad is None for p in module.parameters())
    training.fit(build, rows, steps=3, lr=0.1)
    assert unmoved(module, before)


def test_fit_trains_the_module_that_it_is_given_in_place():
    model = net()
    before = states(model)
    training.fit(model, rows, steps=3, lr=0.1)
    assert not unmoved(model, before)


def test_a_module_that_cannot_be_copied_is_refused():
    class Bound(nn.Linear):
        def __deepcopy__(self, memo):
            raise RuntimeError("a handle of the graphics card")

    with pytest.raises(TypeError, match="this Bound cannot be copied .a handle.* train it in place, by fit"):
        Experiment(model=lambda g: Bound(4, 3), batches=rows).start(0)
    assert training.fit(Bound(4, 3), rows, steps=2, lr=0.1).status == "finished"


def test_a_recording_shares_nothing_with_its_run():
    run = Experiment(model=lambda g: MLP([4, 3]), batches=rows, steps=2).start(0)
    run.recording()["knobs"]["lr"] = 7.0
    assert run.recording()["knobs"]["lr"] == 1e-3


# --- what is frozen stays as it is ------------------------------------------------------------------------------------


def frozen_by_hand():
    model = net()
    model[0].requires_grad_(False)
    model[1].requires_grad_(False)
    return model, model[:3]


def frozen_by_name():
    model = net()
    freeze_(model, train="4*")
    return model, model[:3]


def frozen_in_a_part():
    model = nn.Sequential(nn.Sequential(*net()[:4]), nn.Linear(8, 3))
    freeze_(model, train="1*")
    return model, model[0]  # with the dropout in it


def frozen_without_weights():
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8, affine=False), nn.Linear(8, 3))
    freeze_(model, train="2*")
    return model, model[:2]


def lora():
    model = net()
    add_lora_(model, rank=1, targets=["4"])
    return model, model[:3]


def spectral():
    model = nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Linear(4, 8)), nn.Linear(8, 3))
    freeze_(model, train="1*")
    return model, model[:1]


FROZEN = [frozen_by_hand, frozen_by_name, frozen_in_a_part, frozen_without_weights, lora, spectral]


@pytest.mark.parametrize("make", FROZEN)
@pytest.mark.parametrize("measures", [{}, {"m": lambda model, generator: 0.0}], ids=["plain", "measured"])
def test_frozen_features_are_the_same_after_training(make, measures):
    model, part = make()
    before, features, were = states(part), copy.deepcopy(part).eval()(X), modes(model)
    seen = []
    hook = part.register_forward_hook(lambda module, inputs, output: seen.append(modes(module)))

    training.fit(model, rows, steps=6, lr=0.1, measures=measures, measure_every=2)
    hook.remove()
    assert unmoved(part, before) and torch.equal(copy.deepcopy(part).eval()(X), features)
    assert modes(model) == were, "only meanwhile"


def test_dropout_in_a_frozen_part_is_off_and_elsewhere_on():
    model, part = frozen_in_a_part()
    model.append(nn.Dropout(0.5))
    run = Experiment(model=lambda g: model, batches=rows, steps=2, measures={"m": lambda m, g: 0.0}).start(0)
    run.step()
    assert not run.model[0][3].training and run.model[2].training


def test_what_a_learner_put_into_evaluation_mode_stays_there_and_a_measure_puts_modes_back():
    model = net()
    model[1].eval()
    before, seen = states(model[1]), []

    def measured(model, generator):
        seen.append(modes(model))
        model.train()  # a measure's own business
        return 0.0

    training.fit(model, rows, steps=4, lr=0.1, measures={"m": measured}, measure_every=1)
    assert torch.equal(model[1].running_mean, before["running_mean"])
    assert model.training and model[3].training and not model[1].training
    assert len(seen) == 5 and not any(map(any, seen))


def test_a_model_that_was_wholly_in_evaluation_mode_trains_and_comes_back_so():
    model = net().eval()
    before = states(model)
    training.fit(model, rows, steps=4, lr=0.1)
    assert not torch.equal(model[1].running_mean, before["1.running_mean"]) and not any(modes(model))


def test_what_is_thawed_trains_again():
    model = net()
    freeze_(model, train="4*")
    training.fit(model, rows, steps=2, lr=0.1)
    before = states(model)
    freeze_(model, train="*")
    training.fit(model, rows, steps=2, lr=0.1)
    assert not torch.equal(model[1].running_mean, before["1.running_mean"])


# --- a checker's inputs -----------------------------------------------------------------------------------------------


def spoilt(answer):
    """The same answer, which afterwards ruins in place all that it was lent."""
    def ruined(*inputs):
        found = answer(*inputs)
        found = found.clone() if isinstance(found, torch.Tensor) else copy.deepcopy(found)
        if not getattr(found, "requires_grad", False):  # its gradient needs them
            ruin(list(inputs))
        return found

    return ruined


def ruin(value):
    if isinstance(value, torch.Tensor) and value.is_floating_point() and not value.requires_grad:
        value.mul_(float("nan"))
    elif isinstance(value, torch.Tensor) and not value.requires_grad:
        value.zero_()
    elif isinstance(value, dict):
        for one in value.values():
            ruin(one)
    elif isinstance(value, list):
        for one in value:
            ruin(one)
        value.clear()


@pytest.mark.parametrize("name", sorted(RIGHT))
def test_an_answer_may_work_in_place(name):
    for answer in RIGHT[name]:
        verdict = judge(name, spoilt(answer))
        assert verdict.passed, verdict.line


def test_the_fault_that_was_found_logits_divided_in_place():
    def sample(logits, temperature, generator):
        logits /= temperature
        return torch.multinomial(logits.softmax(-1), 1, generator=generator).item()

    assert judge("sample-token", sample).passed


def test_a_function_gets_fresh_values_and_the_very_modules_and_generators(monkeypatch):
    monkeypatch.setattr(checks, "EXERCISES", {})
    lent = {"tensor": torch.ones(2), "nested": [(torch.ones(2), {"a": torch.ones(2)})], "n": 3}
    itself = (nn.Linear(2, 2), runtime.generator(0))

    @exercise("lending", "lending")
    def _(answer):
        for _ in range(2):
            yield law(answer(*itself, **lent), "not fresh")
        yield compare(lent["nested"], [(torch.ones(2), {"a": torch.ones(2)})])
        yield law(answer.__name__ == "works_in_place" and inspect.signature(answer).parameters, "not the same function")

    def works_in_place(module, generator, *, tensor, nested, n):
        fresh = bool((tensor == 1).all() and (nested[0][0] == 1).all() and (nested[0][1]["a"] == 1).all())
        tensor += 1
        nested[0][0].zero_()
        nested[0][1].clear()
        nested.clear()
        return fresh and (module, generator) == itself and n == 3

    assert judge("lending", works_in_place).passed


def test_a_copy_that_may_be_changed_in_place_hands_its_gradient_on(monkeypatch):
    monkeypatch.setattr(checks, "EXERCISES", {})
    weight = torch.ones(2, requires_grad=True)

    @exercise("halves", "halves")
    def _(answer):
        for _ in range(2):
            slope = torch.autograd.grad(answer([weight]).sum(), weight)
            yield compare(slope, [[0.5, 0.5]])

    def halves(weights):
        weights[0] /= 2
        return weights[0]

    with torch.no_grad():  # as a cell may have left it
        assert judge("halves", halves).passed
    assert weight.tolist() == [1, 1] and weight.grad is None
