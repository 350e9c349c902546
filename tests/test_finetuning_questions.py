"""Laws of fine-tuning on questions: what trains, what is measured, and the panels that show it."""

import math
from dataclasses import replace

import plotly.graph_objects as go
import pytest
import torch

from chapters.finetuning import panel_finetuning as panels
from chapters.finetuning import questions, ranks
from chapters.stories import question_accuracy
from course_utils import checkpoint, data, training
from course_utils.live.views import Trace
from course_utils.models import count_parameters
from course_utils.training import History


def short(**settings):
    return questions.question_recipe(**{"examples": 30, "steps": 2, **settings})


def trained(run):
    return {name for name, weight in run.model.named_parameters() if weight.requires_grad}


# --- recipes ----------------------------------------------------------------------------------------------------------


def test_a_model_with_a_head_of_its_own_answers_as_before_and_shares_nothing():
    gpt = checkpoint.load("story_gpt")
    apart = questions.untied(gpt)
    rows = data.story_rows(data.stories(2, seed=1))[0]
    assert torch.equal(gpt(rows)[0], apart(rows)[0])
    assert apart.head.weight.data_ptr() != apart.embed.weight.data_ptr()


@pytest.mark.parametrize(("settings", "some", "others"), [
    ({"moves": "everything"}, {"embed.weight", "head.weight"}, set()),
    ({"moves": "last layer"}, {"head.weight"}, {"norm.weight", "embed.weight"}),
    ({"moves": "biases"}, {"norm.bias", "blocks.0.up.bias"}, {"blocks.0.up.weight"}),
    ({"moves": "LoRA", "rank": 2}, {"blocks.0.up.A", "blocks.1.down.B"}, {"head.weight", "blocks.0.up.base.weight"}),
    ({"moves": "first stages", "stages": 2}, {"embed.weight", "blocks.0.up.weight"}, {"blocks.1.up.weight"}),
    ({"moves": "last stages", "stages": 2}, {"head.weight", "blocks.1.up.weight"}, {"blocks.0.up.weight"}),
])
def test_what_moves_moves_and_the_rest_stays(settings, some, others):
    run = short(**settings).start(0)
    assert some <= trained(run) and not others & trained(run)
    before = run.snapshot()
    training.finish(run)
    moved = {name for name, weight in run.snapshot().items() if not torch.equal(weight, before[name])}
    assert moved <= trained(run)
    assert moved & some


def test_rank_and_parameters():
    for rank in (1, 4):
        widths = [(64, 192), (64, 64), (64, 256), (256, 64)] * 2
        model = short(moves="LoRA", rank=rank).start(0).model
        assert count_parameters(model, trainable_only=True) == sum(rank * (a + b) for a, b in widths)


@pytest.mark.parametrize(("settings", "message"), [
    ({"moves": "nothing"}, "moves 'nothing': choose one of everything, last layer"),
    ({"counted": "half"}, "counted 'half': choose one of the answer, every word"),
    ({"start": "nowhere"}, "start 'nowhere': choose one of pretrained, scratch"),
    ({"moves": "LoRA", "rank": 0}, "rank 0"),
])
def test_a_wrong_setting_is_named(settings, message):
    with pytest.raises(ValueError, match=message):
        short(**settings).start(0)


def test_the_loss_counts_at_the_answer_or_at_every_word():
    answer, every = (pool(20, 3) for pool in questions.COUNTED.values())
    assert torch.equal(answer[0], every[0])
    assert (answer[1] >= 0).sum(1).tolist() == [1] * 20
    assert ((every[1] >= 0).sum(1) > 10).all()
    counted = answer[1] >= 0
    assert torch.equal(answer[1][counted], every[1][counted])


def test_the_same_seed_gives_the_same_run_and_meta_needs_no_numbers():
    one, two = (training.finish(short(moves="LoRA").start(4)) for _ in range(2))
    assert one.history.loss.tolist() == two.history.loss.tolist()
    replace(short(), measures={}).start(0, device="meta").step()


def test_letters_are_another_task_with_the_same_old_one():
    run = replace(questions.task_recipe(task="letters"), steps=2).start(0)
    told = data.StoryTokenizer().decode(questions.letter_pool(300, 0)[0][0])
    assert data.grammatical(told, style="letter") and not data.grammatical(told)
    assert set(run.history.curves) == {"new", "accuracy", "old"}
    assert 0 < run.history["accuracy"].last < 0.5
    assert run.history["new"].last > run.history["old"].last  # it has never read a letter
    with pytest.raises(ValueError, match="task 'poems': choose one of questions, letters"):
        questions.task_recipe(task="poems")


# --- measures ---------------------------------------------------------------------------------------------------------


class Knowing(torch.nn.Module):
    """Gives the next word of held-out questions all the probability, or all of it to another word."""

    def __init__(self, wrong=()):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(50.0))
        rows, places, wanted, kinds = questions.held_out_questions()
        said = [0 if kind in wrong else int(word) for word, kind in zip(wanted, kinds, strict=True)]
        self.answers = {tuple(row[: place + 1].tolist()): word
                        for row, place, word in zip(rows, places.tolist(), said, strict=True)}  # fmt: skip
        self.places = {len(key) - 1 for key in self.answers}

    def forward(self, rows):
        logits = torch.zeros(*rows.shape, len(data.STORY_VOCAB))
        for i, row in enumerate(rows.tolist()):
            for place in self.places:
                word = self.answers.get(tuple(row[: place + 1]))
                if word is not None:
                    logits[i, place, word] = self.scale
        return logits, None


def test_accuracy_counts_by_kind():
    perfect = questions.answers(Knowing())
    assert [perfect[name] for name in ("accuracy", *questions.KINDS)] == [1.0] * 5
    assert perfect["new"] == pytest.approx(0, abs=1e-6)
    forgetful = questions.answers(Knowing(wrong=("place",)))
    assert [forgetful[kind] for kind in questions.KINDS] == [0.0, 1.0, 1.0, 1.0]
    share = sum(kind == "place" for kind in questions.held_out_questions()[3]) / 400
    assert forgetful["accuracy"] == pytest.approx(1 - share)


def test_answers_agree_with_the_accuracy_of_pretraining():
    model = training.finish(short(steps=30).start(0)).model
    assert questions.answers(model)["accuracy"] == pytest.approx(question_accuracy(model))


def test_examples_needed():
    needed = questions.examples_needed(0.5, (100, 1000), (0.0, 1.0))
    assert needed == pytest.approx(math.sqrt(100 * 1000))
    assert questions.examples_needed(0.4, (100, 300, 1000), (0.2, 0.4, 0.3)) >= 300
    with pytest.raises(ValueError, match="accuracy 0.9: measured are"):
        questions.examples_needed(0.9, (100, 300), (0.2, 0.4))


# --- LoRA's update ----------------------------------------------------------------------------------------------------


def test_the_update_has_at_most_the_rank_of_lora_and_its_merge_answers_the_same():
    run = training.finish(replace(ranks.rank_recipe(rank=2), steps=8).start(0))
    assert ranks.largest_difference(run.model) < 1e-5
    for name, values in ranks.spectra(run.model).items():
        assert values[1] > 1e-3 and values[2:].max() < 1e-4 * values[0]
        assert run.history[name].last == ranks.rank_for(values, 0.9)
        assert run.history[f"{name} #0"].last == pytest.approx(values[0].item())
    assert "no probability changes" in run.history.texts["merged"]


def test_a_model_that_has_not_moved_has_no_spectrum():
    for model in (short().start(0).model, short(moves="LoRA").start(0).model):
        assert all(not values.any() for values in ranks.spectra(model).values())


# --- panels -----------------------------------------------------------------------------------------------------------


def history(x, y):
    made = History()
    for step, (a, b) in enumerate(zip(x, y, strict=True)):
        made.add("old", step, a)
        made.add("new", step, b)
    return made


def test_a_frontier_shows_the_path_of_this_run_and_where_a_pinned_one_ended():
    view = panels.FrontierView(title="t", x="old", y="new", x_title="x", y_title="y")
    this = Trace(name="this run", histories=[history([1, 2], [3, 4]), history([3, 4], [5, 6])])
    pin = Trace(name="pin 1", histories=[history([1, 9], [2, 8])], style=1, faded=True)
    path, point = view.draw([this, pin])["data"]
    assert (list(path["x"]), list(path["y"])) == ([2, 3], [4, 5])
    assert (list(point["x"]), list(point["y"])) == ([9], [8])
    assert view.draw([Trace(name="nothing yet", histories=[History()])])["data"] == []


def test_a_rank_panel_shows_another_matrix_and_another_rank():
    full = {name: torch.linspace(1, 0, 64) for name in ranks.spectra(short().start(0).model)}
    panel = panels.RankPanel(full, title="rank, tested")
    try:
        panel.session.runs[0].step()
        panel.layer.value = "2: down"
        spectrum, by_matrix, kinds = panel.specs()
        assert "2: down" in spectrum["layout"]["title"]["text"]
        assert len(spectrum["data"][0]["y"]) == 64 and len(by_matrix["data"][1]["y"]) == 8
        panel.settings["rank"].value = 1
        assert panel.session.step_count == 0
        assert count_parameters(panel.model, trainable_only=True) == 2048
        assert len(kinds["data"]) == 5
    finally:
        panel.close()


def test_stored_runs_are_points_and_the_words_name_the_least_forgotten():
    row = {"moves": "everything", "counted": "the answer", "stages": 1, "rank": 4}
    rows = [row | {"lr": lr, "old": old, "accuracy": accuracy, "seed": seed} for seed in range(2)
            for lr, old, accuracy in ((1e-3, 1.0 + seed, 0.95), (2e-3, 3.0, 0.99), (2e-4, 0.7, 0.5))]
    rows += [row | {"moves": "LoRA", "lr": 5e-3, "rank": 1, "old": 2.0, "accuracy": 0.8, "seed": 0}]
    rows += [rows[0] | {"counted": "every word", "old": 0.1}]
    panel = panels.frontier_panel(rows, title="frontier, tested")
    try:
        group, lora = panel.shown.figures[0]["data"]
        assert group["mode"].startswith("lines") and lora["name"] == "LoRA of rank 1, by learning rate"
        assert sorted(zip(group["x"], group["y"], group["text"], strict=True)) == [
            (0.7, 0.5, "0.0002"), (1.5, 0.95, "0.001"), (3.0, 0.99, "0.002")]
        assert "lowest old loss is 1.50 (0.001)" in panel.shown.summary
        panel.controls["shown"].value = "learning rate"
        assert len(panel.shown.figures[0]["data"]) == 1
    finally:
        panel.close()


@pytest.mark.parametrize("count", ["weights", "memory"])
def test_costs_are_counted(count):
    everything, lora, biases, last = panels._costs(count)
    assert everything > lora > biases
    assert (lora, last) == ((8192, 64 * 116) if count == "weights" else (8192 * 12 / 1000, 64 * 116 * 12 / 1000))


def test_ends_stand_where_they_are_told_and_are_joined_where_it_is_asked():
    places = [1.0, 2.0, 3.0, 4.0]
    spec = panels.frontier(places, places, list("abcd"), groups=["one", "two", "one", "two"], joined=["two"],
                           sides={"one": "top center", "two": "top left"}, x_range=(0.1, 100), y_range=(0, 9),
                           ticks=[1, 10])  # fmt: skip
    one, two = spec["data"]
    assert (one["mode"], two["mode"]) == ("markers+text", "lines+markers+text")
    assert (one["textposition"], two["textposition"]) == ("top center", "top left")
    assert spec["layout"]["xaxis"]["range"] == [-1, 2] and spec["layout"]["yaxis"]["range"] == [0, 9]
    go.Figure(spec)
