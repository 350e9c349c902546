"""The panels of 04_initialization, sections 1 to 4: what they refuse, what they draw, and what their recipes train."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from chapters.initialization import panel_depth as depth
from chapters.initialization import panel_signal as signal
from chapters.initialization import studies
from chapters.initialization.panel_initialization import OURS, SHAPES, MemoryPanel, symmetry_panel
from chapters.initialization.probes import probe, statistics
from chapters.initialization.signals import predict_signal
from course_utils import initialization, runtime, sweeps, training
from course_utils.initialization import initialize_
from course_utils.models import MLP

# --- what fits ------------------------------------------------------------------------------------------------------


def choose(panel, **values):
    for name, value in values.items():
        panel.controls[name].value = value


@pytest.mark.parametrize("model", SHAPES)
def test_every_model_is_counted_with_every_setting(model):
    panel = MemoryPanel()
    choose(panel, model=model, precision="bfloat16", checkpointing="on", optimizer="sgd", batch=3)
    assert panel.error is None
    bars, everything = panel.shown.figures
    parts = bars["data"][0]["y"]
    assert parts[-1] == pytest.approx(sum(parts[:-1])) and min(parts[:2]) > 0
    assert len(everything["data"][0]["y"]) == len(SHAPES)
    assert model in panel.shown.summary


def test_what_does_not_fit_is_refused_with_the_reason(monkeypatch):
    monkeypatch.setattr(runtime, "memory_available", lambda: 10_000_000)
    panel = MemoryPanel()
    assert "does not fit" in panel.shown.summary
    panel.try_step()
    need = runtime.readable_bytes(panel.memory("story GPT", batch=16, checkpointing="off").total)
    assert f"Not started: one step needs about {need}, and 10 MB are free" in panel.shown.summary
    choose(panel, batch=4)
    assert "Not started" not in panel.shown.summary and "so it fits" in panel.shown.summary


@pytest.mark.parametrize("model", OURS)
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_real_step_holds_what_was_counted(model, optimizer):
    panel = MemoryPanel()
    choose(panel, model=model, optimizer=optimizer)
    panel.try_step()
    counted = panel.memory(model, batch=16, precision="float32", optimizer=optimizer, checkpointing="off")
    held = runtime.readable_bytes(counted.total - counted.working)
    assert f"A real step held {held}" in panel.shown.summary


@pytest.mark.parametrize(("changes", "reason"), [
    ({"model": "gpt2", "batch": 1}, "gpt2 is not part of this course"),
    ({"precision": "bfloat16"}, "trains in float32 without checkpointing"),
    ({"checkpointing": "on"}, "trains in float32 without checkpointing"),
])  # fmt: skip
def test_what_the_course_cannot_train_is_said(changes, reason, monkeypatch):
    monkeypatch.setattr(runtime, "memory_available", lambda: 10**12)
    panel = MemoryPanel()
    choose(panel, **changes)
    panel.try_step()
    assert reason in panel.shown.summary


# --- symmetry ---------------------------------------------------------------------------------------------------------


def answers(history):
    return np.array([history[f"unit {number}"].values for number in range(1, studies.UNITS + 1)])


def test_units_that_start_alike_stay_alike_until_noise_parts_them():
    alike, parted = (training.finish(studies.symmetry_recipe(noise=noise).start(0)).history for noise in (0.0, 1e-4))
    assert (answers(alike) == answers(alike)[0]).all()
    assert np.ptp(answers(alike)[0]) > 0.1  # and they do learn
    assert np.ptp(answers(parted)[:, 0]) < 0.01 < 0.5 < np.ptp(answers(parted)[:, -1])
    silent = training.finish(studies.symmetry_recipe(start="zeros").start(0)).history
    assert (answers(silent) == 0).all()
    assert silent.loss[-50:].mean() == pytest.approx(studies.training_class_entropy(), abs=0.02)


def test_the_symmetry_panel_draws_every_unit():
    panel = symmetry_panel()
    panel.settings["noise"].value = 1e-2
    panel.step()
    assert len(panel.specs()[0]["data"]) == studies.UNITS
    panel.close()


# --- the signal lab ---------------------------------------------------------------------------------------------------


def lab(**values):
    panel = signal.signal_lab()
    choose(panel, **values)
    return panel


@pytest.mark.parametrize("scheme", initialization.INIT_SCHEMES)
def test_the_lab_shows_every_start(scheme):
    panel = lab(scheme=scheme, depth=12, width=16, activation="tanh")
    assert panel.error is None
    assert [spec["data"][0]["type"] for spec in panel.shown.figures] == ["scatter", "scatter", "heatmap", "heatmap"]
    assert panel.shown.figures[2]["data"][0]["z"].shape == (12, len(signal.SHAPE))
    assert "Training it with SGD would take" in panel.shown.summary


def test_weight_gradients_look_flat_where_the_gradient_vanishes():
    _, backward, *_ = lab(scheme="lecun").shown.figures
    drawn = {line["name"]: line["y"] for line in backward["data"]}
    back, weights = drawn["back-propagated"], drawn["of the weights"]
    assert back[0] < 1e-6 * back[-1]
    assert weights[1:].max() < 100 * weights[1:].min()


@pytest.mark.parametrize(("changes", "reason"), [
    ({"width": 1_000_000}, "not built: training it takes over .* GB, .* are free"),
    ({"width": 2000}, "fit, but would take too long here"),
    ({"width": 0}, "at least 1 hidden layer of 1 unit"),
    ({"scheme": "zero_branches", "residual": "yes"}, "residual MLP with relu"),
])  # fmt: skip
def test_a_network_that_cannot_be_is_refused_with_the_reason(changes, reason, monkeypatch):
    monkeypatch.delenv("COURSE_STRICT", raising=False)
    monkeypatch.setattr(runtime, "memory_available", lambda: 10**10)
    panel = lab()
    before = panel.shown
    if "scheme" in changes:
        choose(panel, residual="yes")
    choose(panel, **changes)
    assert panel.error is not None
    with pytest.raises(ValueError, match=reason):
        raise panel.error
    assert before is not None


def test_histograms_are_densities():
    values = torch.randn(200_000, generator=runtime.generator(0))
    density = signal._density(statistics(3 * values))
    step = signal.SHAPE[1] - signal.SHAPE[0]
    assert density.sum() * step == pytest.approx(1, abs=0.01)
    assert density[len(density) // 2] == pytest.approx((2 * np.pi) ** -0.5, abs=0.02)
    assert (signal._density(statistics(torch.zeros(5))) == 0).all()


# --- theory, layer by layer -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"norm": True}, {"residual": True}, {"residual": True, "norm": True}])
@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu", "linear"])
@pytest.mark.parametrize("scheme", ["lecun", "he", "orthogonal", "uniform", "lsuv"])
def test_the_signal_of_a_wide_network_is_the_predicted_one(scheme, activation, options):
    images, labels = studies.unit_digits(64)
    layers = [f"layer {number}" for number in range(1, 6)]
    forward, backward = [], []
    for seed in range(3):
        model = MLP([64, *[400] * 5, 10], activation=activation, **options)
        data = {"inputs": images} if scheme == "lsuv" else {}
        initialize_(model, scheme, generator=runtime.generator(seed), **data)
        with probe(model) as seen:
            F.cross_entropy(model(images), labels).backward()
        forward.append([seen.activations[layer].second_moment for layer in layers])
        backward.append([seen.gradients[layer].second_moment for layer in layers])
    expected = predict_signal(model, scheme, mean=images.mean().item())
    assert np.mean(forward, axis=0) == pytest.approx(expected.activations, rel=0.25)
    measured = np.mean([np.array(row) / row[-1] for row in backward], axis=0)
    assert measured[1:] == pytest.approx(expected.gradients[1:], rel=0.3)


def test_no_theory_where_there_is_none():
    assert predict_signal(MLP([4, 4, 2]), "constant") is None
    assert predict_signal(MLP([4, 4, 2], activation="sigmoid"), "he") is None
    assert predict_signal(MLP([4, 4, 4, 2]), "zeros").activations == (0.0, 0.0)


def test_moments_are_those_of_the_study():
    point = studies.moments_point(activation="linear", width=256, seed=3)
    assert len(point["moments"]) == len(studies.DEPTHS)
    assert studies.expected_moments("relu") == pytest.approx([1.0] * 6)
    assert studies.expected_moments("linear") == pytest.approx([1.0] * 6)
    assert studies.expected_moments("tanh")[-1] < 1


# --- train them all ---------------------------------------------------------------------------------------------------


def network(*sizes, gain=1.0):
    return lambda generator: initialize_(MLP(sizes), "he", generator=generator, gain=gain)


def test_each_network_of_a_fleet_is_the_one_that_trains_alone():
    builds = [network(64, 16, 10), network(64, 12, 12, 10), network(64, 16, 10, gain=2.0), network(64, 12, 12, 10)]
    rules = {"batches": studies.digit_batches, "optimizer": "sgd", "knobs": {"lr": 0.1}, "steps": 40}
    together = training.Experiment(
        model=sweeps.fleet(builds), loss=sweeps.fleet_loss, **rules
    )
    fleet = training.finish(together.start(5, device="cpu")).model
    test = studies.split()[2:]
    for build, answers in zip(builds, fleet(test[0]), strict=True):
        alone = training.finish(training.Experiment(model=build, **rules).start(5, device="cpu"))
        torch.testing.assert_close(alone.model(test[0]), answers, atol=1e-4, rtol=0)


def test_a_network_that_diverges_leaves_a_fleet_alone():
    rules = {"batches": studies.digit_batches, "optimizer": "sgd", "knobs": {"lr": 0.1}, "steps": 20,
             "loss": sweeps.fleet_loss}  # fmt: skip
    found = []
    for gain in (1.0, 1e3):
        builds = [network(64, 16, 16, 10), network(64, 16, 16, 10, gain=gain), network(64, 16, 16, 10, gain=0.5)]
        run = training.Experiment(model=sweeps.fleet(builds), **rules).start(0)
        training.finish(run)
        assert run.status == "finished" and np.isfinite(run.history.loss).all()
        found.append(run.model(studies.split().test_images))
    assert torch.equal(found[0][[0, 2]], found[1][[0, 2]])


def test_the_panel_of_starts_draws_them_all():
    panel = depth.starts_panel()
    panel.settings["depth"].value = 3
    panel.step()
    curves, bars = panel.specs()
    assert {line["name"] for line in curves["data"]} == set(depth.DRAWN)
    assert bars["data"][0]["x"] == list(studies.STARTS)
    assert np.isfinite(bars["data"][0]["y"]).all()
    panel.close()


def test_the_map_has_a_field_for_each_network_and_the_boundary_over_it():
    panel = depth.map_panel()
    (spec,) = panel.specs()
    field, _, line = spec["data"]
    assert field["z"].shape == (len(studies.MAP_DEPTHS), len(studies.MAP_SCALES))
    assert np.isfinite(field["z"]).all()  # measured once before the first step
    assert line["x"].min() >= 0 and line["x"].max() <= len(studies.MAP_SCALES) - 1
    assert depth.boundary(1.76) > 1000 > depth.boundary(0.4) > 3
    panel.close()


def test_the_spread_is_drawn_against_depth_and_against_depth_over_width():
    panel = signal.spread_panel()
    by_depth = [line["x"][-1] for line in panel.shown.figures[0]["data"]]
    choose(panel, against="depth / width")
    by_ratio = [line["x"][-1] for line in panel.shown.figures[0]["data"]]
    assert set(by_depth) == {50}
    assert by_ratio == pytest.approx([50 / width for width in signal.WIDTHS for _ in range(2)])


def test_a_button_of_its_own_leaves_the_memory_panel_its_title_and_one_glossary():
    shown = [getattr(one, "value", "") for one in MemoryPanel().box.children]
    assert sum("What fits" in str(value) for value in shown) == 1
    assert sum("<summary>What the controls do" in str(value) for value in shown) == 1
    assert sum("Try one step here" in str(value) for value in shown) == 1
