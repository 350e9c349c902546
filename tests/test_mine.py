"""*Mine*: a learner's own story GPT is kept by a button, found in another process, and named with its own loss."""

import json
import math
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from chapters import stories
from chapters.finetuning import panel_finetuning, questions
from chapters.stories import mine, story_recipe
from course_utils import checkpoint, data
from course_utils.live import TrainingPanel
from course_utils.models import GPT, MLP, GPTConfig
from tests.test_script import digests, executed

ROOT = Path(__file__).parent.parent
WORDS = len(data.STORY_VOCAB)
FILES = ["story_gpt.md", "story_gpt.safetensors"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_MODELS", str(tmp_path / "models"))
    monkeypatch.delenv("COURSE_STRICT", raising=False)
    return tmp_path / "models"


def small(*, width=16, context=64, stories=75):
    return story_recipe(width=width, context=context, layers=1, stories=stories, warmup=0, measured=False)


@pytest.fixture
def panel():
    made = stories.story_panel(title="Kept", recipe=small, settings=["width", "context"], seeds=True, keep=True)
    yield made
    made.close()


@pytest.fixture
def asked():
    """The panel of notebook 02 that teaches a GPT to answer."""
    made = panel_finetuning.question_panel(title="Asked", settings=["start", "moves"])
    yield made
    made.close()


def train(panel, steps=2):
    for run in panel.session.runs:
        for _ in range(steps):
            run.step()


def status(panel):
    return panel.figure._last[1]["status"]


def kept(panel, steps=2):
    """Train, press the button, and return what the panel says then."""
    train(panel, steps)
    panel.buttons["keep"].click()
    return status(panel)


def held(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()} if folder.exists() else {}


# --- from one notebook to the next ------------------------------------------------------------------------------------

SHOWN = """
import json, time
from course_utils.live.card import _cards
from tools.build_notebooks import NOTEBOOKS, read_source

def shown(notebook, title):
    cells = read_source(NOTEBOOKS / "src" / f"{notebook}.py").cells
    imports, *others = [cell.source for cell in cells if cell.cell_type == "code"]
    names = {}
    needed = ("def next_token_loss(", f'title="{title}"')  # a stub that the panel trains with, and the panel
    for source in [imports, *(one for one in others if any(part in one for part in needed))]:
        exec(source.partition("\\ncheck(")[0], names)  # the stub, unchecked
    return _cards[title]
"""
KEEPS = """
panel = shown("01_pretraining", "Pretrain a GPT on stories")
panel.settings["width"].value = 48
panel.knobs["lr"].value = 0.01
panel.buttons["start"].click()
while panel.session.step_count < 30:
    time.sleep(0.01)
panel.buttons["pause"].click()
panel.buttons["keep"].click()
print(json.dumps([panel.session.step_count, panel.figure._last[1]["status"]]))
"""
FINDS = """
panel = shown("02_fine_tuning", "Questions about stories")
print(json.dumps(panel.figure._last[1]["status"]))
panel.settings["start"].value = "mine"
panel.buttons["step"].click()
while panel.session.running:
    time.sleep(0.01)
print(json.dumps([panel.model.config.width, panel.session.step_count, panel.figure._last[1]["status"]]))
"""


def in_a_process_of_its_own(code):
    env = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'notebooks'}", "COURSE_STRICT": "1"}
    done = subprocess.run([sys.executable, "-c", SHOWN + code], cwd=ROOT, env=env, capture_output=True, text=True,
                          timeout=180)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_what_is_kept_in_01_is_found_by_02_in_a_fresh_kernel_with_its_own_loss(folder):
    [[steps, said]] = in_a_process_of_its_own(KEEPS)
    model = checkpoint.load(folder / "story_gpt")
    loss = stories.held_out_loss(model)
    told = re.search(r"Kept as mine: (.*)$", said)[1]
    assert told.startswith(f"{steps} steps on 20,000 stories, held-out loss {loss:.2f}, kept "), said
    assert model.config.width == 48 and steps >= 30
    card = checkpoint.card(folder / "story_gpt")
    assert "lr 0.01, weight_decay 0, clip inf, batch_size 16" in card and "width 48, " in card
    assert f"- held-out loss: {loss:.4f} nats per token, on 500 held-out stories\n" in card

    shipped, (width, made, found) = in_a_process_of_its_own(FINDS)
    assert "pretrained: 1,000 steps on 20,000 stories, held-out loss 0.49 (file " in shipped
    assert (width, made) == (48, 1) and f"mine: {told}" in found


# --- to keep one ------------------------------------------------------------------------------------------------------


def test_before_the_first_step_there_is_nothing_to_keep(panel, folder):
    panel.buttons["keep"].click()
    assert "Nothing to keep yet: press Start first." in status(panel) and not held(folder)


def test_a_second_one_takes_the_first_one_s_place_and_says_which_that_was(panel, folder):
    first = kept(panel)
    assert "2 steps on 75 stories" in first and "In place" not in first
    told, before = first.partition("Kept as mine: ")[2], held(folder)
    second = kept(panel)
    assert "Kept as mine: 4 steps on 75 stories" in second and second.endswith(f"In place of the one before: {told}")
    assert sorted(held(folder)) == FILES and all(held(folder)[name] != before[name] for name in FILES)
    (folder / FILES[1]).write_bytes(b"hello" * 100)
    assert kept(panel).endswith("In place of a file that was damaged, or no model of this course.")
    assert checkpoint.load(mine.file()).config.width == 16


def test_of_several_runs_the_first_is_kept_and_said_so(panel):
    panel.seeds.value = 3
    assert "Kept as mine, the first of 3 runs: 2 steps" in kept(panel)
    weights = checkpoint.load(mine.file()).embed.weight
    assert [torch.equal(run.model.embed.weight.cpu(), weights) for run in panel.session.runs] == [True, False, False]


def test_it_pauses_a_run_in_training_and_keeps_what_is_shown(panel):
    panel.buttons["start"].click()
    while panel.session.step_count < 2:
        time.sleep(0.001)
    panel.buttons["keep"].click()
    assert not panel.session.running
    assert f"Kept as mine: {panel.session.step_count} steps" in status(panel)
    assert torch.equal(checkpoint.load(mine.file()).embed.weight, panel.model.embed.weight.cpu())


def test_knobs_that_moved_are_on_the_card(panel, folder):
    train(panel)
    panel.knobs["lr"].value = 0.02
    kept(panel)
    card = checkpoint.card(mine.file())
    assert "4 steps with lr 0.02" in card and "; changes on the way: 1\n" in card


def test_a_short_context_is_measured_on_what_it_reads_and_says_so(panel):
    panel.settings["context"].value = 8
    said, loss = kept(panel), stories.held_out_loss(panel.model)
    assert f"held-out loss {loss:.2f} on the first 8 tokens, kept" in said
    assert f"{loss:.4f} nats per token, on the first 8 tokens of 500 held-out" in checkpoint.card(mine.file())


@pytest.mark.parametrize("how", ["loss", "nan", "1e7"])
def test_a_model_that_has_diverged_is_not_kept(how, panel, folder):
    kept(panel)
    before = held(folder)
    if how == "loss":
        panel.session.runs[0].history.status = "diverged"
    else:
        with torch.no_grad():
            panel.session.runs[0].model.embed.weight[3, 2] = float(how)
    panel.buttons["keep"].click()
    assert "Not kept: this run has diverged" in status(panel) and held(folder) == before


@pytest.mark.parametrize("how", ["full", "blocked"])
def test_where_nothing_can_be_written_it_is_said_and_the_panel_trains_on(how, panel, folder, monkeypatch):
    kept(panel)
    before, write = held(folder), Path.write_bytes

    def full(path, content):
        write(path, content[:100])
        raise OSError(28, "No space left on device")

    if how == "full":
        monkeypatch.setattr(Path, "write_bytes", full)
        reason = "models cannot be written (No space left on device)"
    else:
        monkeypatch.setenv("COURSE_MODELS", str(folder / FILES[0] / "inside"))
        reason = "inside cannot be written (Not a directory)"
    said = kept(panel)
    assert "Not kept: " in said and f"{reason}. What was there is as it was." in said and "%env COURSE_MODELS=" in said
    assert held(folder) == before and panel.error is None
    panel.buttons["step"].click()
    while panel.session.running:
        time.sleep(0.001)
    assert panel.session.step_count == 5


def test_the_folder_lies_beside_the_notebook_and_git_does_not_see_it(tmp_path, monkeypatch):
    mine._absolute.cache_clear()
    monkeypatch.delenv("COURSE_MODELS")
    monkeypatch.chdir(tmp_path)
    assert mine.file() == tmp_path / "my_models" / FILES[1]
    monkeypatch.chdir(ROOT)
    assert mine.file().is_relative_to(tmp_path), "a kernel's os.chdir does not move it"
    mine._absolute.cache_clear()
    ignored = subprocess.run(["git", "check-ignore", f"notebooks/my_models/{FILES[1]}"], cwd=ROOT, capture_output=True)
    assert ignored.returncode == 0


# --- to start from one ------------------------------------------------------------------------------------------------


def put(model, folder, **card):
    checkpoint.save(model, folder / "story_gpt", card=card)


def damage(folder, content):
    put(GPT(GPTConfig(vocab_size=WORDS)), folder)
    (folder / FILES[1]).write_bytes(content)


@pytest.mark.parametrize(("make", "said"), [
    (lambda folder: None, "there is no model of yours in .*models yet: "),
    (lambda folder: damage(folder, b"hello" * 99), "your model in .* cannot be read .story_gpt.safetensors is no"),
    (lambda folder: put(MLP([64, 10]), folder), "story_gpt.safetensors is an MLP, and this needs a GPT: "),
    (lambda folder: put(GPT(GPTConfig(vocab_size=20)), folder), "knows 20 tokens, and the story language has 116: "),
    (lambda folder: put(GPT(GPTConfig(vocab_size=WORDS, context=16)), folder), "reads 16 tokens at once, .* 64: "),
])  # fmt: skip
def test_what_is_not_there_or_does_not_fit_is_said_and_the_earlier_run_goes_on(make, said, folder, asked):
    make(folder)
    for recipe in (stories.question_recipe, questions.question_recipe):
        with pytest.raises(ValueError, match=f"{said}.*train one in section 2 of 01_pretraining, and press") as told:
            recipe(start="mine")
        assert "git checkout" not in str(told.value)
    earlier = asked.session.runs
    asked.settings["start"].value = "mine"
    assert re.search(said, str(asked.error)) and asked.session.runs is earlier
    assert "Not begun: the earlier run is still here." in status(asked)
    asked.step()
    while asked.session.running:
        time.sleep(0.001)
    assert asked.session.step_count == 1 and "pretrained: 1,000 steps" in status(asked)
    assert "start='pretrained'" in asked.code() and asked.recording()["settings"]["start"] == "pretrained"


@pytest.mark.parametrize("moves", questions.MOVES)
def test_a_model_of_another_width_and_depth_trains_whatever_moves(moves, folder):
    model = GPT(GPTConfig(vocab_size=WORDS, width=48, layers=3))
    put(model, folder)
    recipe = replace(questions.question_recipe(start="mine", moves=moves), measures={})
    assert recipe.knobs["lr"] == questions.LR[moves]
    runs = [recipe.start(seed) for seed in range(2)]
    rows = data.story_rows(data.stories(2, seed=1))[0].to(runs[0].device)
    for run in runs:
        torch.testing.assert_close(run.model(rows)[0], model.to(rows.device)(rows)[0])
    before = runs[0].snapshot()
    train_these = {name for name, weight in runs[0].model.named_parameters() if weight.requires_grad}
    assert math.isfinite(runs[0].step()) and math.isfinite(runs[0].step())
    moved = {name for name, weight in runs[0].snapshot().items() if not torch.equal(weight, before[name])}
    assert moved and moved <= train_these


def test_a_card_that_is_missing_or_another_model_s_says_nothing(panel, folder):
    kept(panel)
    other = held(folder)[FILES[0]]
    kept(panel)
    for content in (other, b"\xff", None):
        (folder / FILES[0]).unlink() if content is None else (folder / FILES[0]).write_bytes(content)
        about = stories.question_recipe(start="mine").about
        assert re.fullmatch(r"mine: its card is missing, or another model's \(file [0-9a-f]{8}\)\.", about)


def test_where_the_learner_s_model_is_written_in_the_recipe_s_place_none_is_named():
    own = lambda generator: GPT(GPTConfig(vocab_size=WORDS, width=16))  # noqa: E731
    made = TrainingPanel(stories.question_recipe, title="Mine", model=own)
    assert made.experiment.about == "" and "experiment.about" not in made.code()
    made.close()


def test_code_that_began_from_mine_gives_the_same_weights_or_says_what_it_needs(panel, asked, folder, tmp_path):
    kept(panel)
    asked.settings["start"].value = "mine"
    asked.settings["moves"].value = "LoRA"
    train(asked, 3)
    code = asked.code()
    assert executed(code, tmp_path) == digests(asked.session.runs)
    shutil.copytree(folder, tmp_path / "aside")
    kept(panel)
    with pytest.raises(AssertionError, match="began from mine: 2 steps .*: now there is mine: 4 steps"):
        executed(code, tmp_path)
    shutil.rmtree(folder)
    with pytest.raises(AssertionError, match="ValueError: there is no model of yours in"):
        executed(code, tmp_path)
    (tmp_path / "aside").rename(folder)
    assert executed(code, tmp_path) == digests(asked.session.runs)
