"""Distillation on digits: laws of the transfer sets, the sources, the recipes and the panels."""

import threading

import numpy as np
import pytest
import torch
import traitlets
from torch.nn import functional as F

from chapters.distillation import digits as d
from chapters.distillation import drawing
from chapters.distillation import panel_distillation as panels
from chapters.distillation import panel_soft_labels as soft_labels
from chapters.distillation.bench import Bench
from course_utils import checkpoint, runtime, training
from course_utils.live import Shown, Slider
from course_utils.models import IGNORE, count_parameters
from tests.test_live import wait
from tools.picture import COLUMNS


def batch(images=40, **changes):
    rows, labels, taught = d.transfer_set(images=images)
    return tuple({"images": rows, "labels": labels, "taught": taught, **changes}.values())


def drawn(experiment, times=20):
    """The labels of several batches."""
    rng = runtime.generator(0)
    return torch.cat([experiment.batches(rng)[1] for _ in range(times)])


# --- data and teacher -------------------------------------------------------------------------------------------------


def test_a_shaken_image_is_moved_by_at_most_one_pixel_and_every_way_occurs():
    images = d.digits().train_images[:300]
    padded = F.pad(images.view(-1, 8, 8), (1, 1, 1, 1))
    ways = torch.stack([padded[:, top:top + 8, left:left + 8].flatten(1) for top in range(3) for left in range(3)])
    same = (d.shaken(images, runtime.generator(0)) == ways).all(-1)  # (9, images)
    assert same.any(0).all()
    assert same.any(1).all()


def test_the_shipped_teacher_is_as_good_as_its_card_says_and_knows_its_own_images():
    said = [line for line in checkpoint.card("digit_teacher").splitlines() if "held-out accuracy" in line]
    assert abs(float(said[0].split()[3].rstrip(",")) - d.accuracy(d.teacher())) < 0.01
    assert (d.answers().argmax(-1) == d.digits().train_labels).float().mean() > 0.99


def test_recalls_agree_with_the_accuracy_and_a_large_bias_finds_all_of_a_class():
    model, labels = d.student(4), d.digits().test_labels
    found = d.recalls(model)
    counts = torch.bincount(labels).tolist()
    mean = sum(found[str(digit)] * counts[digit] for digit in range(10)) / len(labels)
    assert found["all"] == pytest.approx(mean, abs=1e-6) == d.accuracy(model)
    pushed = d.recalls(model, bias=d.bias_on(3, 1e6))
    assert pushed["3"] == 1 and pushed["all"] == pytest.approx(counts[3] / len(labels))


# --- transfer sets ----------------------------------------------------------------------------------------------------


def test_a_transfer_set_has_the_first_images_without_the_class_left_out():
    rows, labels, taught = d.transfer_set(images=200, left_out=3)
    split = d.digits()
    kept = split.train_labels[:200] != 3
    assert torch.equal(rows, split.train_images[:200][kept]) and torch.equal(labels, split.train_labels[:200][kept])
    assert torch.allclose(taught, d.teacher()(rows), atol=1e-4)
    for count in (5, 1258):
        with pytest.raises(ValueError, match="expected 10 to 1257"):
            d.transfer_set(images=count)


def test_no_batch_of_a_student_that_never_saw_a_class_has_it():
    for digit in (0, 3):
        assert digit not in drawn(d.left_out_recipe(left_out=digit, measured=False))


def test_with_few_labels_only_the_50_come_from_labels():
    split = d.digits()
    rng = runtime.generator(0)
    rows, *_ = d.few_labels_recipe(source="labels").batches(rng)
    assert all((row == split.train_images[:50]).all(1).any() for row in rows)
    rows, labels, _ = d.few_labels_recipe(source="own guess").batches(rng)
    place = (rows[:, None] == split.train_images).all(-1).int().argmax(-1)
    assert (place >= 50).any()
    wrong = labels != split.train_labels[place]
    assert wrong.any() and (place[wrong] >= 50).all()  # a student of 50 labels errs, and never on its own labels


# --- sources ----------------------------------------------------------------------------------------------------------


def numpy_softmax(logits):
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


@pytest.mark.parametrize(("temperature", "alpha"), [(1.0, 0.0), (4.0, 0.9), (10.0, 1.0), (2.5, 0.3)])
def test_the_teachers_loss_equals_a_reference_written_out_in_numpy(temperature, alpha):
    model, given = d.student(16), batch()
    found = d.source_loss("teacher")(model, given, temperature=temperature, alpha=alpha).item()
    z, taught = (logits.detach().double().numpy() for logits in (model(given[0]), given[2]))
    p, q = numpy_softmax(taught / temperature), numpy_softmax(z / temperature)
    soft = (p * (np.log(p) - np.log(q))).sum(-1).mean()
    hard = -np.log(numpy_softmax(z)[np.arange(len(z)), given[1].numpy()]).mean()
    assert found == pytest.approx(alpha * temperature**2 * soft + (1 - alpha) * hard, rel=1e-4)


@pytest.mark.parametrize("source", ["labels", "smoothed labels", "labels, equal compute"])
def test_sources_of_labels_ask_no_teacher(source):
    model, loss = d.student(16), d.source_loss(source)
    taught = torch.randn(40, 10, generator=runtime.generator(1))
    assert loss(model, batch()) == loss(model, batch(taught=taught), temperature=9.0, alpha=0.1)
    wanted = F.cross_entropy(model(batch()[0]), batch()[1], label_smoothing=0.1 if "smoothed" in source else 0.0)
    assert loss(model, batch()).item() == pytest.approx(wanted.item(), rel=1e-5)


def test_the_best_guess_is_the_label_where_the_teacher_is_right_and_labels_play_no_part():
    model, loss, rows = d.student(16), d.source_loss("teacher's best guess"), batch()
    assert torch.equal(rows[2].argmax(-1), rows[1])
    assert torch.equal(loss(model, rows), d.source_loss("labels")(model, rows))
    assert torch.equal(loss(model, batch(labels=torch.full((40,), IGNORE))), loss(model, rows))


def test_unknown_sources_are_named():
    with pytest.raises(ValueError, match="choose one of teacher, labels"):
        d.student_recipe(source="oracle")
    with pytest.raises(ValueError, match="own guess"):
        d.few_labels_recipe(source="smoothed labels")


def test_equal_compute_counts_the_teachers_multiplications():
    own, taught = count_parameters(d.student(32)), count_parameters(d.teacher())
    steps = d.equal_steps(32, 600)
    assert abs(3 * own * steps - 600 * (3 * own + taught)) <= 3 * own
    assert d.student_recipe(source="labels, equal compute").steps == steps


# --- students ---------------------------------------------------------------------------------------------------------


def test_students_trained_side_by_side_are_those_trained_alone():
    together = d.train_students([3, 4], images=100, steps=30)
    for seed, model in zip((3, 4), together, strict=True):
        alone = training.finish(d.student_recipe(images=100, steps=30, measured=False).start(seed, device="cpu")).model
        for a, b in zip(model.parameters(), alone.parameters(), strict=True):
            assert torch.allclose(a, b, atol=1e-4)


@pytest.mark.parametrize("source", d.SOURCES)
def test_a_step_leaves_no_tensor_on_the_cpu(source):
    d.student_recipe(source=source, measured=False).start(0, device="meta").step()


def test_the_student_of_a_class_left_out_uses_no_label():
    experiment = d.left_out_recipe(left_out=3, measured=False)
    run = experiment.start(0, device="cpu")
    rows, labels, taught = experiment.batches(runtime.generator(0))
    knobs = {name: run.knobs[name] for name in ("temperature", "alpha")}
    told = experiment.loss(run.model, (rows, labels, taught), **knobs)
    assert torch.equal(told, experiment.loss(run.model, (rows, labels.flip(0), taught), **knobs))


def test_what_a_model_costs():
    small, large = d.prices([d.student(4), d.teacher()], rounds=2, repeats=5)
    assert (small.weights, large.weights) == (310, 301_066)
    sizes = {310: (64, 4, 10), 301_066: (64, 512, 512, 10)}  # of the layers
    for cost in (small, large):
        assert 4 * cost.weights < cost.disk < 4 * cost.weights + 2000
        for held, images in ((cost.memory, 1), (cost.memory_batch, 64)):
            values = 4 * images * sum(sizes[cost.weights])
            assert 4 * cost.weights + values / 2 < held < 4 * cost.weights + 2 * values
    assert small.batch < large.batch


# --- drawn digits -----------------------------------------------------------------------------------------------------


def test_a_dot_is_dark_in_the_middle_grey_beside_it_and_the_same_in_every_direction():
    dot = drawing.stroke([[(3.5, 4.5)]]).view(8, 8)
    assert dot[4, 3] == 16 and dot[4, 4] == dot[4, 2] == dot[3, 3] == dot[5, 3] == round(16 * (drawing.PEN - 0.5))
    assert (dot > 0).sum() == 5


def test_a_stroke_is_where_its_line_is_whichever_way_it_is_drawn():
    a, b = (1.2, 0.8), (5.9, 6.3)
    ink = drawing.stroke([[a, b]])
    assert torch.equal(ink, drawing.stroke([[b, a]]))
    assert torch.equal(ink.view(8, 8).T.flatten(), drawing.stroke([[a[::-1], b[::-1]]]))
    assert (drawing.stroke([[a, b]], half=1.0) >= ink).all()
    assert ((ink >= 0) & (ink <= 16) & (ink == ink.round())).all()


def test_digits_are_drawn_with_as_much_ink_as_those_of_the_data():
    ours = torch.stack([drawing.drawn(digit) for digit in range(10)]).sum(1)
    theirs = d.digits().train_images.sum(1)
    assert abs(ours.mean() - theirs.mean()) < theirs.std()


def test_drawn_digits_are_moved_and_made_smaller_as_asked():
    images, labels = drawing.all_drawn()
    assert images.shape == (90, 64) and torch.equal(labels.bincount(), torch.full((10,), 9))
    assert torch.equal(images[4], drawing.drawn(0)) and torch.equal(images[9 + 4], drawing.drawn(1))
    there = drawing.drawn(1).view(8, 8)
    assert torch.equal(drawing.drawn(1, right=1).view(8, 8)[:, 1:], there[:, :-1])
    assert torch.equal(drawing.drawn(1, down=-1).view(8, 8)[:-1], there[1:])
    rows = drawing.drawn(1, size=0.5).view(8, 8).any(1).nonzero().flatten()
    assert rows.min() >= 1 and rows.max() <= 6 and there.any(1).all()


# --- panels -----------------------------------------------------------------------------------------------------------


def test_the_soft_labels_sum_to_one_and_a_higher_temperature_makes_them_more_alike():
    panel = soft_labels.soft_label_panel()
    tops = []
    for temperature in (1.0, 4.0, 20.0):
        panel.controls["temperature"].value = temperature
        chances = said(panel)
        assert chances.sum() == pytest.approx(1, abs=1e-5)
        tops.append(chances.max())
    assert tops == sorted(tops, reverse=True)


def said(panel):
    """The heights of the panel's bars."""
    return panel.shown.figures[0]["data"][0]["y"]


def test_a_picked_image_comes_onto_the_grid_as_it_is():
    panel, split = soft_labels.soft_label_panel(), d.digits()
    panel.controls["temperature"].value = 1.0
    panel.controls["image"].value = 7
    label = split.test_labels[7]
    assert panel.canvas.caption == f"Image 7: its label is {label}"
    assert torch.equal(torch.tensor(panel.canvas.value) / 16, split.test_images[7])
    with torch.no_grad():
        assert np.allclose(said(panel), d.teacher()(split.test_images[7]).softmax(-1), atol=1e-5)


def test_what_is_drawn_is_what_the_teacher_sees_and_an_image_can_be_had_again():
    panel = soft_labels.soft_label_panel()
    before, label = said(panel), d.digits().test_labels[4]
    panel.canvas.value = (drawing.drawn(4) * 16).int().tolist()
    assert panel.canvas.caption == f"Image 4, changed: it was a {label}"
    with torch.no_grad():
        assert np.allclose(said(panel), (d.teacher()(drawing.drawn(4)) / 4).softmax(-1), atol=1e-5)
    panel.buttons["clear"].click()
    assert not any(panel.canvas.value) and panel.canvas.caption == "Empty: draw a digit"
    panel.canvas.value = [16] + [0] * 63
    assert panel.canvas.caption == "Your drawing"
    panel.buttons["again"].click()
    assert np.array_equal(said(panel), before) and panel.canvas.caption == f"Image 4: its label is {label}"
    panel.buttons["clear"].click()
    panel.buttons["defaults"].click()
    assert np.array_equal(said(panel), before)
    ink, _ = panel.picture()[0]
    assert np.array_equal(ink["data"][0]["z"].ravel(), panel.canvas.value)


@pytest.mark.parametrize("value", [[0] * 63, [17] + [0] * 63, [-1] + [0] * 63])
def test_a_grid_takes_only_its_own_pixels(value):
    panel = soft_labels.soft_label_panel()
    with pytest.raises(traitlets.TraitError, match="expected 64 numbers from 0 to 16"):
        panel.canvas.value = value


def test_values_typed_beyond_the_sliders_get_a_reason(monkeypatch):
    monkeypatch.delenv("COURSE_STRICT", raising=False)
    panel = soft_labels.soft_label_panel()
    panel.controls["image"].value = 600
    assert "choose 0 to 539" in panel._notice.value
    panel.controls["image"].value = 5
    assert panel._notice.value == ""
    panel.controls["temperature"].value = 0
    assert "choose a number above 0" in panel._notice.value


def test_a_bias_finds_more_of_the_digit_left_out():
    panel = panels.left_out_panel()
    shares = []
    for bias in (0.0, 4.0, 8.0):
        panel.controls["bias"].value = bias
        shares.append(panel.shown.figures[0]["data"][0]["y"][3])
    assert shares == sorted(shares) and shares[0] < shares[2]
    panel.controls["bias"].value = 0.0
    panel.controls["source"].value = "labels"
    assert panel.shown.figures[0]["data"][0]["y"][3] == 0


@pytest.mark.parametrize("make", [panels.student_panel, panels.few_labels_panel])
def test_every_source_of_a_live_student_can_be_chosen(make):
    panel = make()
    for source in panel.settings["source"].options:
        panel.settings["source"].value = source
        assert panel.session.runs[0].step() > 0
    panel.close()


def test_the_size_panel_shows_every_width_and_the_teacher(monkeypatch):
    monkeypatch.setattr(panels, "WIDTHS", (4, 8))
    panel = panels.size_panel()
    accuracy, time = panel.shown.figures
    assert list(accuracy["data"][-1]["x"]) == [310, 610]
    assert [list(trace["x"]) for trace in time["data"]] == [[310, 610, 301_066]] * 2
    assert all((trace["y"] > 0).all() for trace in time["data"])
    rows = panel.shown.texts[0][1].splitlines()
    assert [row.split()[0] for row in rows[2:]] == ["4", "8", "teacher"]
    assert max(map(len, rows)) <= COLUMNS, "more would scroll"


# --- work that takes a moment -----------------------------------------------------------------------------------------

POWER = Slider(label="power", help="How bent.", low=0, high=5, step=1, whole=True)


def test_a_bench_waits_for_its_button():
    def draw(*, power):
        yield 0.5
        return Shown(summary=f"a{power}")

    made = Bench(draw, title="Waits", controls={"power": (POWER, 2)}, act="Compute")
    made.controls["power"].value = 3
    assert made.shown.summary == "a2"
    assert made.figure._last[1]["status"] == "What is shown is from before. Press “Compute”."
    made.buttons["act"].click()
    wait(lambda: made.shown.summary == "a3" and made.buttons["act"].description == "Compute")


def test_long_work_shows_its_progress_and_can_be_stopped():
    gates = [threading.Event() for _ in range(3)]

    def draw(*, power):
        for done, gate in enumerate(gates):
            yield done / len(gates)
            assert gate.wait(20)
        return Shown(summary=f"power {power}")

    for gate in gates:
        gate.set()
    made = Bench(draw, title="Long work", controls={"power": (POWER, 2)}, act="Compute")
    assert made.shown.summary == "power 2", "whoever only looks gets a picture"

    def status():
        return made.figure._last[1]["status"]

    for gate in gates[1:]:
        gate.clear()
    made.controls["power"].value, button = 3, made.buttons["act"]
    button.click()
    wait(lambda: status() == "Working: 33% done.")
    assert made.figure._last[1]["progress"] == 1 / 3 and button.description == "Stop"
    button.click()
    gates[1].set()
    wait(lambda: status() == "Stopped. What is shown is from before." and button.description == "Compute")
    assert made.shown.summary == "power 2"
    button.click()
    gates[2].set()
    wait(lambda: made.shown.summary == status() == "power 3" and made.figure._last[1]["progress"] is None)
    made.close()
