"""Same seed, bitwise the same run, whatever draws; and the global generators stand where they stood."""

import copy
import json
import random
import threading
import time

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from chapters.distillation import panel_distillation as distillation
from chapters.initialization import panel_initialization as initialization
from chapters.initialization import panel_signal as signal
from chapters.initialization import panel_starts as starts
from chapters.pretraining import panel_texts as texts
from course_utils import checkpoint, runtime, training
from course_utils import dice as dice_module
from course_utils.dice import Dice
from course_utils.live import TrainingPanel
from course_utils.models import MLP
from course_utils.training import Experiment

X = torch.randn(64, 4, generator=runtime.generator(0))
Y = torch.arange(64) % 3


def dropout_net(_=None, width=16):
    return nn.Sequential(nn.Linear(4, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(0.5), nn.Linear(width, 3))


def rows(generator):
    chosen = torch.randint(64, (16,), generator=generator)
    return X[chosen], Y[chosen]


def loader(**options):
    return DataLoader(TensorDataset(X, Y), batch_size=16, shuffle=True, **options)


def numpy_rows(_):
    chosen = torch.from_numpy(np.random.permutation(64)[:16])
    return X[chosen] + float(np.random.randn()), Y[chosen]  # one normal number: NumPy keeps the other of its pair


def python_rows(_):
    chosen = random.sample(range(64), 16)
    return X[chosen] * random.gauss(1, 0.1), Y[chosen]


def torch_rows(_):
    return X + torch.randn_like(X), Y


def noisy_loss(model, batch, *, noise=0.1):
    return F.cross_entropy(model(batch[0] + noise * torch.randn_like(batch[0])), batch[1])


def noisy_schedule(step):
    return random.random()


CASES = {
    "dropout and BatchNorm": {"batches": rows},
    "an unseeded loader": {"batches": loader()},
    "a loader with a generator": {"batches": loader(generator=torch.Generator().manual_seed(7))},
    "NumPy in the batches": {"batches": numpy_rows},
    "Python in the batches": {"batches": python_rows},
    "PyTorch in the batches": {"batches": torch_rows},
    "noise in the loss": {"batches": rows, "loss": noisy_loss},
    "a random schedule": {"batches": rows, "schedule": noisy_schedule},
    "a random measure": {"batches": rows, "measure_every": 3,
                         "measures": {"m": lambda m, g: random.random() + np.random.rand() + torch.rand(1).item()}},
}  # fmt: skip

def experiment(case, **options):
    return Experiment(**{"model": dropout_net, "knobs": {"lr": 0.05}, "steps": 12, **CASES[case], **options})


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.snapshot().values(), b.snapshot().values(), strict=True))


def states():
    """All that the global generators know."""
    numpy = np.random.get_state(legacy=False)
    key = numpy["state"].pop("key").tolist()
    gpus = [one.get_state().tolist() for one in torch.cuda.default_generators]
    return torch.get_rng_state().tolist(), gpus, key, numpy, random.getstate()


def wait(panel):
    while panel.session.running:
        time.sleep(0.005)


@pytest.fixture(params=[0, 1], ids=["whole pairs", "half a pair"])
def untouched(request):
    """The generators stand after the test where they stood before it."""
    torch.manual_seed(5)
    np.random.seed(6)
    random.seed(7)
    for _ in range(request.param):  # both keep the second number of a pair
        np.random.randn()
        random.gauss()
    before = states()
    yield
    assert states() == before


@pytest.mark.parametrize("case", CASES)
def test_the_same_seed_gives_bitwise_the_same_run(case):
    recipe = experiment(case)
    one = training.finish(recipe.start(3))
    torch.manual_seed(8), np.random.seed(8), random.seed(8)
    other = recipe.start(3)
    for _ in range(12):  # step by step, as a panel does
        torch.rand(2), np.random.randn(), random.random()
        other.step()
    assert same(one, other) and one.history.loss.tolist() == other.history.loss.tolist()
    assert not same(one, training.finish(recipe.start(4)))


@pytest.mark.parametrize("case", CASES)
def test_a_replay_from_a_file_is_bitwise_the_same_run(case, tmp_path):
    recipe = experiment(case)
    run = recipe.start(1)
    for lr in (0.05, 0.2, 0.01):
        run.set("lr", lr)
        for _ in range(4):
            run.step()
    (tmp_path / "run.json").write_text(json.dumps(run.recording(), allow_nan=False))
    assert same(run, training.replay(recipe, tmp_path / "run.json"))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.usefixtures("untouched")
def test_a_run_s_whole_life_leaves_the_global_generators_alone(case):
    recipe = experiment(case)
    before = states()
    run = recipe.start(0)
    assert states() == before, "its creation"
    run.step()
    assert states() == before, "a step, and its measures"
    training.replay(recipe, run.recording())
    assert states() == before, "a replay"
    training.estimate(recipe)
    assert states() == before, "an estimate of its cost"
    training.fit(dropout_net, recipe.batches, steps=3, lr=0.1, loss=recipe.loss)
    assert states() == before, "fit"
    with pytest.raises(ZeroDivisionError):
        training.fit(dropout_net, lambda g: torch.rand(1) / 0 if random.random() > 2 else 1 / 0, steps=1, lr=0.1)
    assert states() == before, "what fails"


@pytest.mark.parametrize("case", CASES)
@pytest.mark.usefixtures("untouched")
def test_a_panel_s_whole_life_leaves_the_global_generators_alone(case):
    panel = TrainingPanel(lambda *, width=16: experiment(case, model=lambda g: dropout_net(width=width)),
                          title="dice", settings=["width"])  # fmt: skip
    before = states()
    panel.start()
    wait(panel)
    assert panel.session.status == "finished" and states() == before
    run = panel.session.runs[0]
    assert same(run, training.replay(panel.experiment, panel.recording()))
    panel.settings["width"].value = 32
    panel.step()
    wait(panel)
    panel.defaults()
    panel.close()


def test_a_measure_does_not_move_training_s_dice():
    plain, measured = (training.finish(experiment(case, batches=torch_rows).start(0))
                       for case in ("dropout and BatchNorm", "a random measure"))  # fmt: skip
    assert same(plain, measured)
    assert len(set(measured.history["m"].values)) == 1, "it throws the same dice each time"


def test_what_a_model_draws_does_not_change_the_batches():
    seen = {width: [] for width in (8, 32)}

    def noted(width):
        def loss(model, batch):
            seen[width].append(batch[0])
            return F.cross_entropy(model(batch[0]), batch[1])

        return loss

    for width in seen:
        training.fit(lambda g, w=width: dropout_net(width=w), loader(), steps=10, lr=0.1, loss=noted(width))
    assert all(map(torch.equal, *seen.values()))


@pytest.mark.parametrize("case", [name for name in CASES if "loader" not in name])
def test_a_copied_run_goes_on_as_the_original(case):
    run = experiment(case).start(0)
    for _ in range(5):
        run.step()
    run.set("lr", 0.01)
    twin = copy.deepcopy(run)
    training.finish(twin)
    assert run.step_count == 5, "they share nothing that moves"
    training.finish(run)
    assert same(run, twin) and run.recording() == twin.recording()


def test_a_list_of_batches_is_copied_at_its_place_and_a_pass_through_a_loader_is_refused():
    batches = [(X[:8], Y[:8]), (X[8:40], Y[8:40]), (X[40:], Y[40:])]
    run = Experiment(model=dropout_net, batches=batches, steps=9).start(0)
    run.step()
    twin = training.finish(copy.deepcopy(run))
    assert twin.experiment is run.experiment and same(training.finish(run), twin)
    run = experiment("an unseeded loader").start(0)
    run.step()
    with pytest.raises(TypeError, match="this run cannot be copied: .* training.replay.* gives another one"):
        copy.deepcopy(run)


def test_runs_on_two_threads_each_draw_their_own_numbers():
    recipes = [experiment(case, steps=150) for case in ("PyTorch in the batches", "Python in the batches")]
    alone = [training.finish(recipe.start(0)) for recipe in recipes]
    before = states()
    runs = [recipe.start(0) for recipe in recipes]
    threads = [threading.Thread(target=training.finish, args=(runs[0],)),
               threading.Thread(target=lambda: [runs[1].step() for _ in range(150)])]  # fmt: skip
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(map(same, alone, runs)) and states() == before


def test_a_thread_that_waits_gets_the_next_turn():
    order, have, done = [], threading.Event(), threading.Event()

    def other():
        have.set()
        with Dice(1):
            order.append("other")
        done.set()

    with Dice(0):
        waiting = threading.Thread(target=other)
        waiting.start()
        have.wait()
        while not dice_module._turn._queue.locked():
            pass
    for _ in range(1000):
        with Dice(0):
            order.append("mine")
    assert done.wait(5) and order[0] == "other"


def test_a_thread_that_is_waited_for_within_a_window_does_not_hang(monkeypatch):
    monkeypatch.setattr(dice_module, "PATIENCE", 0.05)
    before = states()

    def builder(_):
        inner = threading.Thread(target=training.finish, args=(experiment("PyTorch in the batches").start(1),))
        inner.start()
        inner.join(20)  # as `panel.model` waits for its run's thread
        assert not inner.is_alive()
        return MLP([4, 3])

    run = Experiment(model=builder, batches=rows, steps=2).start(0)
    assert training.finish(run).status == "finished" and states() == before


@pytest.mark.usefixtures("untouched")
def test_a_fit_within_a_batch_or_a_builder_has_its_own_dice():
    def taught(_):
        teacher = dropout_net()
        training.fit(teacher, loader(), steps=3, lr=0.1)
        return dropout_net()

    one, other = (training.finish(experiment("PyTorch in the batches", model=taught).start(2)) for _ in range(2))
    assert same(one, other)


PANELS = [distillation.student_panel, distillation.size_panel, signal.signal_lab, signal.spread_panel,
          starts.first_loss_panel, starts.stream_panel, starts.lsuv_panel, initialization.symmetry_panel,
          texts.TextPanel, lambda: checkpoint.load("story_gpt")]  # fmt: skip


@pytest.mark.parametrize("make", PANELS)
def test_the_course_s_own_panels_leave_the_global_generators_alone(make):
    before = states()
    make()
    assert states() == before
