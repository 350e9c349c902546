"""Kind: any order of what a browser may do. Hypothesis drives every panel and card of every notebook, headless."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest

from chapters.distillation import panel_distillation
from chapters.distillation import panel_story_students as story_students
from chapters.finetuning import keeping, panel_forgetting
from chapters.initialization import panel_board as boards
from chapters.initialization import panel_starts
from chapters.initialization.panel_initialization import MemoryPanel
from chapters.pretraining import panel_inside, panel_scaling, panel_stories
from chapters.pretraining.scaling import fit_scaling_law
from chapters.stories import story_recipe
from tests.faults import drive

NOTEBOOKS = sorted(path.stem for path in (drive.ROOT / "notebooks").glob("*.ipynb"))
WAIT = 900  # seconds; a notebook takes about one minute


@pytest.fixture(scope="module")
def reports():
    return {}


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_no_order_of_events_breaks_a_panel(name, reports, tmp_path, record_property):
    target = tmp_path / "report.json"
    paths = os.pathsep.join(map(str, (drive.ROOT, drive.ROOT / "notebooks")))
    own = {"PYTHONPATH": paths, "COURSE_PROGRESS": str(tmp_path / "progress.json"), "OMP_NUM_THREADS": "1",
           "COURSE_MODELS": str(tmp_path / "models")}  # fmt: skip
    ran = subprocess.run([sys.executable, "-m", "tests.faults.drive", name, str(target)], env={**os.environ, **own},
                         cwd=drive.ROOT / "notebooks", capture_output=True, text=True, timeout=WAIT)  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-8000:]
    report = reports[name] = json.loads(target.read_text(encoding="utf-8"))
    assert not report["failed"], "\n\n".join(f"{title}: {what}" for title, what in report["failed"].items())
    assert len(report["panels"]) == len(set(report["panels"])) == drive.stored_panels(name)
    assert min(report["done"][title] for title in report["panels"]) >= 40
    on_panels = sum(report["done"][title] for title in report["panels"])
    record_property("events", on_panels)
    print(f"{name}: {on_panels} events on {len(report['panels'])} panels, {report['told']} sentences to the learner, "
          f"{report['cells']:.0f} s of cells, {report['seconds']:.0f} s in all, {report['megabytes']:.0f} MB; "
          f"slowest: {report['slowest'][-1]}")  # fmt: skip


def test_there_were_enough_of_them(reports):
    assert sum(report["done"][title] for report in reports.values() for title in report["panels"]) >= 2_000


def test_a_real_step_of_many_rows_is_refused():
    panel = MemoryPanel()
    panel.controls["model"].value = "story GPT"
    panel.controls["batch"].box.value = 100.0
    panel.buttons["try"].click()
    assert "Not started: it would" in panel.shown.summary and "64 rows" in panel.shown.summary
    panel.close()


def between():
    return panel_forgetting.between_panel({"itself": keeping.start_model}, title="Between a model and itself")


@pytest.mark.parametrize(("make", "name", "high"), [
    (between, "alpha", 1.0), (boards.coordinate_panel, "lr", 0.1), (story_students.kl_panel, "distance", 36),
    (panel_starts.first_loss_panel, "embedding", 2.0),
])  # fmt: skip
def test_what_has_no_meaning_beyond_its_ends_stays_between_them(make, name, high):
    panel = make()
    panel.controls[name].box.value = 5565255663458247.0
    assert panel.controls[name].value == high and "nan" not in panel.shown.summary
    panel.close()


@pytest.mark.parametrize(("controls", "name"), [
    (panel_distillation.DIALS, "alpha"), (panel_forgetting.KEEPERS, "replay"),
])  # fmt: skip
def test_a_share_is_one_at_most(controls, name):
    dial = controls[name].widget(0.5)
    dial.box.value = 1.5
    assert dial.value == dial.box.value == 1.0


@pytest.mark.parametrize("typed", [1e84, 2.0**63, 1e9, 3.0])
def test_a_number_that_need_not_be_whole_stays_one_that_a_tensor_takes(typed):
    panel = panel_distillation.left_out_panel()
    panel.controls["bias"].box.value = typed
    assert type(panel.controls["bias"].value) is float and panel.error is None
    panel.close()


def run_away(lr):
    """A story GPT after a step with this learning rate."""
    run = story_recipe(measured=False).start(0, device="cpu")
    run.set("lr", lr)
    run.step()
    return run.model


@pytest.mark.parametrize("lr", [1e9, 1e30, 1e300])
@pytest.mark.parametrize("make", [
    panel_inside.attention_panel, panel_inside.embedding_panel, panel_stories.prompt_panel, panel_stories.guesser_panel,
    lambda models: panel_forgetting.between_panel(models, title="Between"),
])  # fmt: skip
def test_nobody_looks_into_a_model_that_has_diverged(make, lr, monkeypatch):
    monkeypatch.delenv("COURSE_STRICT", raising=False)
    models = {"a good one": keeping.start_model, "mine": lambda: run_away(lr)}
    panel = make(models)
    name = next(name for name, widget in panel.controls.items() if "mine" in getattr(widget, "options", ()))
    panel.controls[name].value = "mine"
    assert isinstance(panel.error, ValueError) and "mine has diverged" in str(panel.error)
    panel.controls[name].value = "a good one"
    assert panel.error is None
    panel.close()


@pytest.mark.parametrize("lr", [1e9, 1e30, 1e300])
def test_a_rate_that_breaks_a_run_just_before_it_is_measured_is_explained(lr):
    run = story_recipe(judged=True).start(0, device="cpu")
    run.step_count = run.experiment.measure_every - 1
    run.set("lr", lr)
    while run.status == "ready":
        run.step()
    assert run.status == "diverged" and f"after lr became {lr:g} at step" in run.explain()


def test_a_measure_that_fails_for_another_reason_is_heard():
    def wrong(model, generator):
        raise LookupError("no such word")

    with pytest.raises(LookupError):
        replace(story_recipe(), measures={"wrong": wrong}).start(0, device="cpu")


@pytest.mark.parametrize("name", ["parameters", "tokens"])
@pytest.mark.parametrize(("typed", "good"), [(0.0, False), (1e-300, False), (0.5, False), (1.0, True), (1e300, True)])
def test_the_scaling_law_speaks_of_whole_models_alone(name, typed, good, monkeypatch):
    monkeypatch.delenv("COURSE_STRICT", raising=False)
    rows = [{"parameters": n, "tokens": t, "steps": t, "loss": 2 + 300 / n**0.5 + 900 / t**0.5}
            for n in (3e3, 3e4, 3e5) for t in (1e5, 4e5, 2e6)]  # fmt: skip
    law = fit_scaling_law([row["parameters"] for row in rows], [row["tokens"] for row in rows],
                          [row["loss"] for row in rows], floor=2.0)  # fmt: skip
    panel = panel_scaling.scaling_panel(law, rows)
    panel.controls[name].box.value = typed
    assert (panel.error is None) == good and "nan" not in panel.shown.summary
    assert good or "expected 1 or more" in str(panel.error)
    panel.close()
