"""Story students: writing is sampling, texts are laid out as stories are, each way teaches what it says."""

import numpy as np
import pytest
import torch

from chapters.distillation import bumps, sizes
from chapters.distillation import panel_story_students as panels
from chapters.distillation import stories as s
from chapters.distillation.studies import STUDIES as studies
from chapters.distillation.writing import write
from chapters.stories.abilities import ability_masks
from course_utils import data, pretraining, runtime, training
from course_utils.distillation import copy_layers_, distillation_loss
from course_utils.models import GPT, IGNORE, GPTConfig

TOKENIZER = data.StoryTokenizer()
DIVERGENCES = ("forward", "mix", "reverse")


def tiny(layers=2):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return GPT(GPTConfig(vocab_size=len(TOKENIZER), context=64, width=16, layers=layers))


# --- writing ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [1, 5])
@pytest.mark.parametrize("stop", [None, TOKENIZER.end])
def test_writing_is_sampling(length, stop):
    model, prompt = tiny(), torch.randint(3, 50, (7, length), generator=runtime.generator(1))
    both = [how(model, prompt, steps=30, generator=runtime.generator(2), stop=stop)
            for how in (write, pretraining.sample)]  # fmt: skip
    assert torch.equal(*both)


def test_writing_ends_once_all_rows_have_stopped():
    model = tiny()
    with torch.no_grad():
        model.embed.weight.zero_()[TOKENIZER.end] = 100 * model.norm.weight  # the head, too: always the end token
        model.norm.bias.fill_(1.0)
    assert write(model, torch.ones(3, 1, dtype=torch.long), steps=20, generator=runtime.generator(0),
                 stop=TOKENIZER.end).shape == (3, 2)  # fmt: skip


def test_writing_refuses_more_than_fits():
    with pytest.raises(ValueError, match="60 tokens and 5 more do not fit into a context of 64"):
        write(tiny(), torch.ones(1, 60, dtype=torch.long), steps=5, generator=runtime.generator(0))


def test_written_texts_are_laid_out_as_true_stories_are():
    inputs, targets = s.written_texts(40)
    ended = [row for row in range(40) if TOKENIZER.end in targets[row]]
    assert len(ended) > 35
    again = data.story_rows([TOKENIZER.decode(inputs[row]) for row in ended])
    assert torch.equal(inputs[ended], again[0]) and torch.equal(targets[ended], again[1])


def test_the_teacher_writes_mostly_flawless_and_different_stories_and_a_fresh_student_none():
    found = s.flawless(s.teacher(), stories=100)
    assert found["flawless"] > 0.6 and found["different"] == found["flawless"]
    assert s.flawless(s.student(runtime.generator(0)), stories=20)["flawless"] == 0


# --- students ---------------------------------------------------------------------------------------------------------


def test_the_teacher_is_near_the_floor_and_cannot_be_trained():
    assert 1 < s.evaluate(s.teacher())["held-out"] / data.stories_entropy() < 1.06  # 64 stories
    assert not any(weight.requires_grad for weight in s.teacher().parameters())


def test_a_copied_student_has_the_teachers_layers():
    made, wanted = s.student(runtime.generator(0), copied="1 and 3"), s.student(runtime.generator(1))
    copy_layers_(wanted, s.teacher(), layers=[0, 2])
    for name, weight in made.state_dict().items():
        assert torch.equal(weight, wanted.state_dict()[name]), name


@pytest.mark.parametrize("recipe", [
    lambda: s.copied_recipe(copied="3 and 4"),
    lambda: s.copied_recipe(targets="hints"),
    lambda: s.taught_recipe(way="osmosis"),
    lambda: s.taught_recipe(divergence="sideways"),
    lambda: s.ability_recipe(ability="wit"),
])  # fmt: skip
def test_an_unknown_name_is_refused_with_those_that_exist(recipe):
    with pytest.raises(ValueError, match="choose one of"):
        recipe().start(0)


RECIPES = {
    "labels": lambda: s.copied_recipe(targets="labels", steps=3),
    "probabilities": lambda: s.copied_recipe(targets="probabilities", steps=3),
    **{way: lambda way=way: s.taught_recipe(way=way, stories=20, steps=3) for way in ("text", "own samples")},
    "hint": lambda: s.hint_recipe(steps=3),
    "ability": lambda: s.ability_recipe(steps=3),
}


@pytest.mark.parametrize("name", RECIPES)
def test_a_run_is_finite_repeatable_and_leaves_the_teacher_alone(name):
    before = [weight.clone() for weight in s.teacher().parameters()]
    runs = [training.finish(RECIPES[name]().start(3)) for _ in range(2)]
    assert runs[0].status == "finished" and np.isfinite(runs[0].history["held-out"].last)
    for a, b in zip(*(run.model.parameters() for run in runs), strict=True):
        assert torch.equal(a, b)
    assert all(torch.equal(a, b) for a, b in zip(before, s.teacher().parameters(), strict=True))


@pytest.mark.parametrize("divergence", DIVERGENCES)
@pytest.mark.parametrize("way", ["probabilities", "own samples"])
def test_the_teacher_itself_has_nothing_to_learn(way, divergence):
    recipe = s.taught_recipe(way=way, stories=20, divergence=divergence, steps=1)
    batch = recipe.batches(runtime.generator(0))
    assert recipe.loss(s.teacher(), batch).item() == pytest.approx(0, abs=1e-5)
    assert recipe.loss(s.student(runtime.generator(0)), batch).item() > 0.3


def test_text_and_probabilities_are_of_the_same_texts_and_labels_of_true_ones():
    drawn = {way: s.taught_recipe(way=way, stories=20, steps=1).batches(runtime.generator(0))
             for way in ("text", "probabilities", "labels")}  # fmt: skip
    assert torch.equal(drawn["text"][0], drawn["probabilities"][0])
    assert not torch.equal(drawn["text"][0], drawn["labels"][0])
    assert all(data.grammatical(TOKENIZER.decode(row)) for row in drawn["labels"][0])


def test_probabilities_are_those_of_the_distillation_loss():
    recipe = s.taught_recipe(stories=20, steps=1)
    batch, model = recipe.batches(runtime.generator(0)), s.student(runtime.generator(0))
    student, teacher = (one(batch[0])[0] for one in (model, s.teacher()))
    wanted = distillation_loss(student, teacher, batch[1], temperature=1.0, alpha=1.0)
    torch.testing.assert_close(recipe.loss(model, batch), wanted)


def test_a_hint_of_weight_zero_is_no_hint():
    recipe = s.hint_recipe(steps=2)
    model, batch = recipe.model(runtime.generator(0)), recipe.batches(runtime.generator(1))
    losses = {weight: recipe.loss(model, batch, hint_weight=weight).item() for weight in (0.0, 0.1, 0.2)}
    assert losses[0.0] == pytest.approx(s._live_teacher(model["student"], batch).item())
    assert losses[0.2] - losses[0.1] == pytest.approx(losses[0.1] - losses[0.0], rel=1e-3)
    recipe.loss(model, batch, hint_weight=1.0).backward()
    assert model["regressor"].weight.grad.abs().sum() > 0


def test_one_abilitys_tokens_test_no_other():
    inputs, targets = (part[:500] for part in s.true_texts(s.POOL))
    masks = ability_masks(inputs, targets)
    for ability in s.ABILITIES:
        taught = s._only(ability)[:500] != IGNORE
        assert taught.sum() > 100 and (taught & ~masks[ability]).sum() == 0
        others = [mask for name, mask in masks.items() if name not in (ability, "syntax")]
        assert not (taught & torch.stack(others).any(0)).any()


# --- bumps and sizes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_a_teacher_of_one_bump_is_matched(divergence):
    best = bumps.best_bump(bumps.two_bumps(distance=0.0), divergence)
    assert best.centre == pytest.approx(30) and best.width == pytest.approx(3, abs=0.01)
    assert best.apart == pytest.approx(0, abs=1e-6)


def test_the_forward_bump_has_the_teachers_mean_and_spread_and_the_reverse_one_a_mode():
    teacher, place = bumps.two_bumps(24, 0.6), torch.arange(61.0)
    chances = teacher.softmax(-1)
    mean = (chances * place).sum()
    spread = (chances * (place - mean) ** 2).sum().sqrt()
    covers, seeks = (bumps.best_bump(teacher, name) for name in ("forward", "reverse"))
    assert covers.centre == pytest.approx(mean.item(), abs=0.7)
    assert covers.width == pytest.approx(spread.item(), rel=0.1)
    assert seeks.centre == pytest.approx(18, abs=0.5) and seeks.width == pytest.approx(3, abs=0.3)
    assert panels.mistakes(teacher, covers.logits)[0] > 0.15 and panels.mistakes(teacher, seeks.logits)[1] > 0.35


def test_bumps_refuse_what_they_cannot_do():
    with pytest.raises(ValueError, match="share 1"):
        bumps.two_bumps(share=1.0)
    with pytest.raises(ValueError, match="choose one of forward"):
        bumps.best_bump(bumps.two_bumps(), "sideways")


def test_each_student_learns_from_its_own_teacher(monkeypatch):
    monkeypatch.setattr(sizes, "STEPS", 30)
    both = sizes.compare(8, [0, 1])
    alone = [sizes.compare(8, [seed]) for seed in (0, 1)]
    for name, values in both.items():
        assert values == pytest.approx([one[name][0] for one in alone], abs=0.01)
    taught_by = sizes.teachers(8, [0, 1])
    crossed = sizes.students(taught_by[::-1], [0, 1])
    straight = sizes.students(taught_by, [0, 1])
    assert not torch.allclose(crossed[0].layers[0].weight, straight[0].layers[0].weight, atol=1e-3)


# --- studies and panels -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "point"), [
    ("copied_layers", {"copied": "1 and 3", "targets": "probabilities", "steps": 3}),
    ("hints", {"hint_weight": 0.1, "steps": 9}),
    ("ways_to_teach", {"way": "text", "stories": 20, "divergence": "forward", "steps": 3}),
    ("one_ability", {"ability": "place", "steps": 3}),
])  # fmt: skip
def test_a_point_of_a_study_gives_finite_numbers(name, point):
    found = studies.run_point(name, seed=0, **point)
    assert found and all(np.isfinite(value) for value in found.values())


@pytest.mark.parametrize("make", [
    panels.copied_panel, panels.hint_panel, panels.taught_panel, panels.ability_panel,
])  # fmt: skip
def test_a_panel_trains_what_its_controls_say(make):
    panel = make()
    panel.step()
    panel.session.pause()
    for widget in panel.settings.values():
        widget.value = next(option for option in widget.options if option != widget.value)
    assert panel.session.status == "ready" and panel.specs()
    panel.close()


def test_the_kl_panel_moves_the_student():
    panel = panels.kl_panel()
    first = panel.shown.summary
    panel.controls["divergence"].value = "reverse"
    assert panel.shown.summary != first and len(panel.shown.figures[0]["data"]) == 2


def test_the_sizes_panel_shows_stored_runs_and_says_so_where_there_are_none():
    panel = panels.sizes_panel()
    assert "teachers of 16 units have the best students" in panel.shown.summary
    panel.controls["student"].value = 4  # waits for its button
    with pytest.raises(ValueError, match="no runs are stored with these settings: choose runs"):
        panel.redraw()
