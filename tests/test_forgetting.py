"""What is kept and lost: anchors and replay, other worlds, models between models, and starts that harm."""

import copy
import math
import re
import time

import pytest
import torch

from chapters.digits import SHIFTS
from chapters.finetuning import keeping, questions, shift, transfer
from chapters.finetuning import panel_forgetting as forgetting
from chapters.finetuning.studies import STUDIES as studies
from chapters.stories import story_pool
from course_utils import checkpoint, data, runtime, training
from course_utils.evidence import above
from course_utils.finetuning import fisher_diagonal, freeze_

CPU = torch.device("cpu")


# --- not forgetting --------------------------------------------------------------------------------------------------


def mixed_rows():
    asked, told = questions.question_pool(3, 0), story_pool(2)
    return tuple(torch.cat(parts) for parts in zip(asked, told, strict=True))


def test_every_row_counts_the_same_however_many_targets_it_has():
    model, (rows, targets) = keeping.start_model(), mixed_rows()
    each = [model(row[None], target[None])[1] for row, target in zip(rows, targets, strict=True)]
    torch.testing.assert_close(keeping.row_loss(model, (rows, targets)), sum(each) / len(each))
    asked = questions.question_pool(3, 0)
    torch.testing.assert_close(keeping.row_loss(model, asked), training.default_loss(model, asked))


def test_anchors_cost_nothing_at_the_start_and_pull_back_from_anywhere_else():
    batch, run = mixed_rows(), keeping.keep_recipe(knobs={"l2": 0.5, "ewc": 2.0}).start(0, device="cpu")
    plain = keeping.row_loss(run.model, batch)
    torch.testing.assert_close(keeping.kept_loss(run.model, batch, l2=3.0, ewc=3.0), plain, rtol=0, atol=0)
    for _ in range(3):
        run.step()
    free = keeping.row_loss(run.model, batch)
    for anchor in ({"l2": 3.0}, {"ewc": 3.0}):
        assert keeping.kept_loss(run.model, batch, **anchor) > free


def test_the_start_answers_as_the_checkpoint_and_stays_where_it_was():
    rows = story_pool(4)[0]
    before = keeping.start_model()(rows)[0]
    torch.testing.assert_close(before, checkpoint.load("story_gpt")(rows)[0])
    run = keeping.keep_recipe().start(0, device="cpu")
    run.step()
    assert torch.equal(keeping.start_model()(rows)[0], before)
    assert not torch.equal(run.model(rows)[0], before)


def test_the_fisher_of_the_stories_is_positive_and_has_the_weights_names():
    found = keeping.fisher(CPU)
    assert found.keys() == keeping.start_weights(CPU).keys()
    assert all((importance >= 0).all() for importance in found.values())
    read = found["embed.weight"].sum(1)  # what no story begins with or goes on from has no say
    assert read[data.StoryTokenizer().pad] < read[data.StoryTokenizer().begin]


def test_replay_is_a_knob_and_its_share_is_a_share_of_rows():
    recipe = keeping.keep_recipe()
    draw = recipe.batches(runtime.generator(0), replay=0.25)[1]
    assert 0 <= sum(int((row >= 0).sum() > 1) for row in draw) <= 16
    many = [recipe.batches(runtime.generator(seed), replay=0.25)[1] for seed in range(40)]
    told = sum(int((row >= 0).sum() > 1) for batch in many for row in batch) / (40 * 16)
    assert told == pytest.approx(0.25, abs=0.07)
    with pytest.raises(ValueError, match="task 'poems': choose one of questions, letters"):
        keeping.keep_recipe(task="poems")


def test_letters_are_a_task_too():
    run = keeping.keep_recipe(task="letters", steps=2).start(0, device="cpu")
    assert {"new", "old"} <= run.history.curves.keys()
    assert run.step() > 0


def test_the_path_begins_at_the_start_and_ends_at_the_model():
    run = keeping.keep_recipe(steps=3).start(0, device="cpu")
    training.finish(run)
    ends = keeping.path(run.model, alphas=(0.0, 1.0))
    assert ends[0] == {"alpha": 0.0} | keeping.both(keeping.start_model())
    assert ends[1] == {"alpha": 1.0} | keeping.both(run.model)


def test_the_full_fisher_is_the_curvature_of_the_divergence_and_its_diagonal_the_packages():
    images, labels = (part[:12] for part in data.digits_split()[:2])
    network = copy.deepcopy(transfer.pretrained())
    freeze_(network, train_last=1)
    exact = fisher_diagonal(network, [(images, labels)], labels="exact")
    weight, bias = (exact[f"layers.{len(transfer.SIZES) - 2}.{part}"].double() for part in ("weight", "bias"))
    full = transfer.head_fisher(network, images)
    by_package = torch.cat([weight, bias[:, None]], dim=1)
    torch.testing.assert_close(full.diagonal().view(10, -1), by_package, rtol=1e-4, atol=1e-8)
    torch.testing.assert_close(full, full.T)
    small = 1e-4 * torch.randn(10, 65, generator=runtime.generator(1)).double()
    found = transfer.judged(small, images)
    assert found["full"] == pytest.approx(found["true"], rel=0.01)


# --- other worlds ----------------------------------------------------------------------------------------------------


def test_a_new_head_reads_the_same_features():
    base, images = shift.pretrained_digits(), shift.test_worlds()["moved"][:20]
    changed = shift.with_new_head(base, 10, generator=runtime.generator(0))
    assert torch.equal(shift.features(base, images), shift.features(changed, images))
    assert changed(images).shape == (20, 10) and base(images).shape == (20, 64)


def test_pretraining_puts_shifted_digits_right():
    plain = shift.test_worlds()[shift.INSIDE]
    for world in SHIFTS:
        moved = shift.test_worlds()[world]
        painted = shift.pretrained_digits()(moved)
        assert (painted - plain).square().mean() < 0.7 * (moved - plain).square().mean()


def test_a_probe_moves_no_feature_and_the_others_do():
    drifts = {}
    for method in shift.METHODS:
        run = training.finish(shift.shift_recipe(method=method, steps=20).start(0, device="cpu"))
        drifts[method] = run.history["drift"].last
    assert drifts["probe"] == 0 and min(drifts["full"], drifts["probe then full"]) > 0.01
    with pytest.raises(ValueError, match="method 'all': choose one of probe, full, probe then full"):
        shift.shift_recipe(method="all")
    with pytest.raises(ValueError, match="examples 500: expected 1 to 457"):
        shift.shift_recipe(examples=500)


def test_probe_then_full_begins_where_the_probe_ends():
    probe = training.finish(shift.shift_recipe(method="probe", seed=3).start(3, device="cpu")).history
    both = shift.shift_recipe(method="probe then full", seed=3).start(3, device="cpu").history
    assert both["inside"].last == pytest.approx(probe["inside"].last, abs=1e-6)


# --- between models, and where transfer is negative ------------------------------------------------------------------


def test_the_line_between_two_networks_begins_and_ends_at_them():
    one, two = transfer.members(2, starts="one")
    alphas, along = transfer.between(one, two, points=3)
    assert alphas == [0.0, 0.5, 1.0]
    assert (along[0], along[2]) == (transfer.accuracy(one), transfer.accuracy(two))
    assert transfer.averaged(2, starts="one")["average"] == pytest.approx(along[1], abs=0.004)
    with pytest.raises(ValueError, match="starts 'two': choose one of one, several"):
        transfer.members(2, starts="two")


def test_scrambling_moves_pixels_and_keeps_them():
    images = data.digits()[0][:5]
    scrambled, labels = transfer.PRETRAINED["scrambled pixels"](images, torch.arange(5))
    assert not torch.equal(scrambled, images) and torch.equal(labels, torch.arange(5))
    assert torch.equal(scrambled.sort(1).values, images.sort(1).values)
    with pytest.raises(ValueError, match="start 'none': choose one of random"):
        transfer.transfer_recipe(start="none")


# --- studies ---------------------------------------------------------------------------------------------------------


def test_a_stored_run_is_a_run():
    point = {"method": "full", "examples": 400, "lr": 3e-3, "steps": 300, "seed": 0}
    first = studies.run_point("distortion", **point)
    assert first == studies.run_point("distortion", **point)
    assert first["inside"] == pytest.approx(studies.column("distortion", "inside", **point)[0], abs=0.03)


def test_what_the_notebook_says_of_its_stored_runs_holds_with_room():
    old = {knob: studies.column("keeping", "old", **keeping.PLAIN | {knob: value})
           for knob, value in {"lr": 1e-3, "replay": 0.05, "l2": 0.01, "ewc": 1.0}.items()}  # fmt: skip
    assert all(min(old["lr"]) > max(old[knob]) for knob in ("replay", "l2", "ewc"))

    def outside(method):
        return studies.column("distortion", "outside", method=method, lr=3e-3, steps=300)

    assert above(outside("probe"), outside("probe then full")) and above(outside("probe then full"), outside("full"))


# --- panels ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [forgetting.keep_panel, forgetting.shift_panel, forgetting.transfer_panel])
def test_a_training_panel_trains(make):
    panel = make(title=make.__name__)
    for setting in panel.settings.values():
        assert setting.value in setting.options
    panel.session.start(steps=2)
    while panel.session.running:
        time.sleep(0.01)
    assert panel.session.step_count == 2 and panel.error is None
    assert all(spec["data"] for spec in panel.specs())
    panel.close()


def test_the_worlds_are_shown():
    panel = forgetting.worlds_panel(title="Worlds test")
    plain = panel.shown.figures[0]["data"][0]["z"]
    assert plain.shape == (30, 80)
    panel.controls["world"].value = "noisy"
    z = panel.shown.figures[0]["data"][0]["z"]
    assert (z[:10] == plain[:10]).all() and (z[10:] != plain[10:]).any()
    assert "noisy" in panel.shown.summary


def test_between_two_models_the_slider_measures_both_tasks():
    model = keeping.keep_recipe().start(0, device="cpu").model
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(0.9)
    panel = forgetting.between_panel({"small": lambda: model}, title="Between test")
    panel.controls["alpha"].value = 0.0
    share, old = (float(found) for found in re.findall(r"([\d.]+)(?:%| nats)", panel.shown.summary))
    known = keeping.both(keeping.start_model())
    assert share == pytest.approx(100 * known["accuracy"], abs=0.5) and old == pytest.approx(known["old"], abs=0.1)
    panel.controls["alpha"].value = 1.0
    shares, new, forgotten = (spec["data"][0]["y"] for spec in panel.shown.figures)
    assert forgotten[-1] > old and len(shares) == len(new) == len(forgotten)


def test_every_stored_end_and_its_label_are_inside_the_picture():
    panel = forgetting.keepers_panel(title="Keepers test")
    for way in panel.controls["way"].options:
        panel.controls["way"].value = way
        (spec,) = panel.shown.figures
        (left, right), (low, high) = (spec["layout"][axis]["range"] for axis in ("xaxis", "yaxis"))
        for trace in spec["data"]:
            assert all(left < math.log10(x) < right for x in trace["x"]) and all(low < y < high for y in trace["y"])
        texts = [text for trace in spec["data"] for text in trace["text"]]
        assert texts.count("lr 0.002") == (not way.startswith("LoRA"))


def test_an_average_is_drawn_beside_its_members():
    panel = forgetting.average_panel(title="Average test")
    values = panel.shown.figures[0]["data"][0]["y"]
    assert len(values) == 3 and values[-1] > min(values[:-1]) - 0.03
    panel.controls["starts"].value = "several"
    assert panel.shown.figures[0]["data"][0]["y"][-1] < 0.95
