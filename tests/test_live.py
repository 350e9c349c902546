"""Panels are tested like models: set a control, assert on what is shown."""

import json
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from ipywidgets import widgets

from course_utils import figures, runtime, training
from course_utils.live import Choice, CurvesView, Explorer, LossView, Shown, Slider, TextView, TrainingPanel
from course_utils.live import figure as live_figure
from course_utils.live.figure import LiveFigure, pack, plotly_library
from course_utils.live.status import verdict
from course_utils.live.views import Trace
from course_utils.models import MLP
from course_utils.training import Experiment, History

DATA = (torch.randn(64, 4, generator=runtime.generator(0)), torch.arange(64) % 3)
AXES = {"title": "powers", "x_title": "x", "y_title": "y"}
VIEWS = [
    LossView(),
    CurvesView(title="Knows", curves={"half": "a half"}, y_title="share"),
    TextView(title="Sample", name="text"),
]


def batches(generator, *, batch_size=8):
    chosen = torch.randint(64, (int(batch_size),), generator=generator)
    return DATA[0][chosen], DATA[1][chosen]


def recipe(*, width=16, steps=3000, slow=0.0):
    measures = {"half": lambda m, g: 0.5, "text": lambda m, g: "<b>bold</b>"}

    def drawn(generator, *, batch_size=8):
        time.sleep(slow)
        return batches(generator, batch_size=batch_size)

    return Experiment(model=lambda g: MLP([4, width, 3]), batches=drawn, knobs={"lr": 0.01}, steps=steps,
                      measures=measures, levels={"ln 3": 1.0986})  # fmt: skip


@pytest.fixture(autouse=True)
def strict(monkeypatch):
    monkeypatch.setenv("COURSE_STRICT", "1")


@pytest.fixture
def panel():
    size = Slider(label="batch size", help="Rows in a step.", low=1, high=64, step=1, whole=True, firm=True)
    made = TrainingPanel(recipe, title="Test panel", settings=["width"], knobs=["lr", "weight_decay", "batch_size"],
                         views=VIEWS, controls={"batch_size": size}, seeds=True)  # fmt: skip
    yield made
    made.close()


def test_a_run_that_has_not_begun_has_axes_for_what_is_to_come_and_a_picture_names_its_settings(panel):
    def axes():
        return [(spec["layout"]["xaxis"].get("range"), spec["layout"]["yaxis"].get("range")) for spec in panel.specs()]

    steps, levels = panel.experiment.steps, panel.experiment.levels.values()
    assert panel.specs()[0]["data"] == [] and axes()[0] == ([0, steps], [0, 1.1 * max(levels)])
    assert len(panel.specs()[1]["data"][0]["x"]) == 1 and axes()[1] == ([0, steps], None), "measured before it begins"
    panel.knobs["lr"].value = 0.05
    _, texts = panel.picture()
    assert axes() == [(None, None)] * 2, "it shows what there is"
    assert texts[-1][0] == "This run" and "lr 0.05, weight_decay 0, batch_size" in texts[-1][1]
    assert "width" in texts[-1][1] and "seed 0" in texts[-1][1]


def sent(panel):
    """The last frame's content."""
    return panel.figure._last[1]


def wait(condition, seconds=20.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.005)


def trainers():
    return [thread for thread in threading.enumerate() if thread.name == "course-training"]


def until_step(panel, step):
    wait(lambda: panel.session.step_count >= step)


def test_it_opens_ready_with_a_picture_of_the_untrained_model(panel):
    assert sent(panel)["state"]["status"] == "ready"
    assert panel.buttons["pause"].disabled and panel.buttons["unpin"].disabled, "there is nothing to do for them yet"
    loss, knows = panel.specs()
    assert loss["layout"]["title"]["text"] == "Loss" and knows["data"][0]["y"].tolist() == [0.5]
    assert sent(panel)["texts"] == [{"title": "Sample", "body": "<b>bold</b>"}]


def test_start_trains_pause_stops_step_makes_one(panel):
    panel.buttons["start"].click()
    until_step(panel, 30)
    panel.buttons["pause"].click()
    assert not trainers() and sent(panel)["status"].startswith("Paused: step")
    before = panel.session.step_count
    panel.buttons["step"].click()
    wait(lambda: not panel.session.running)
    assert panel.session.step_count == before + 1
    assert len(panel.specs()[0]["data"][0]["x"]) == before + 1


def test_reset_gives_the_same_start_and_keeps_the_knobs(panel):
    start = panel.session.runs[0].snapshot()
    panel.knobs["lr"].value = 0.1
    panel.buttons["start"].click()
    until_step(panel, 20)
    panel.buttons["reset"].click()
    assert not panel.session.running and panel.session.step_count == 0
    assert all(
        torch.equal(a, b) for a, b in zip(start.values(), panel.session.runs[0].snapshot().values(), strict=True)
    )
    assert panel.knobs["lr"].value == 0.1
    panel.buttons["step"].click()
    wait(lambda: panel.session.step_count == 1)
    assert panel.session.runs[0].knobs["lr"] == 0.1, "the knob shown is the knob in force"


def test_defaults_puts_every_control_back(panel):
    panel.knobs["lr"].value, panel.settings["width"].value, panel.seed.value = 1.0, 64, 3
    panel.buttons["defaults"].click()
    assert (panel.knobs["lr"].value, panel.settings["width"].value, panel.seed.value) == (0.01, 16, 0)
    assert panel.session.runs[0].model.sizes == [4, 16, 3]


def test_a_setting_begins_a_new_run_and_goes_on_training(panel):
    panel.buttons["start"].click()
    until_step(panel, 10)
    panel.settings["width"].value = 32
    assert panel.session.runs[0].model.sizes == [4, 32, 3]
    assert panel.session.running
    panel.buttons["pause"].click()


def test_a_knob_moved_while_training_is_an_event_with_a_mark(panel):
    panel.buttons["start"].click()
    until_step(panel, 10)
    panel.knobs["lr"].value = 0.1
    wait(lambda: panel.session.runs[0].history.events)
    panel.buttons["pause"].click()
    marks = [note["text"] for note in panel.specs()[0]["layout"]["annotations"]]
    assert "lr 0.1" in marks


def test_an_absurd_learning_rate_is_explained_and_reset_works(panel):
    panel.knobs["lr"].box.value = 1e9
    panel.buttons["start"].click()
    wait(lambda: panel.session.status == "diverged" and not trainers())
    assert "Diverged at step" in sent(panel)["status"] and "after lr became 1e+09 at step 0" in sent(panel)["status"]
    assert panel.buttons["start"].disabled
    panel.knobs["lr"].value = 0.02
    assert "after Reset: this run has ended" in sent(panel)["status"]
    panel.buttons["reset"].click()
    panel.buttons["start"].click()
    until_step(panel, 10)


def test_a_live_session_replays_headless_to_bitwise_the_same_weights(panel, tmp_path):
    panel.buttons["start"].click()
    for i in range(20):
        until_step(panel, 15 * (i + 1))
        panel.knobs[("lr", "weight_decay", "batch_size")[i % 3]].value = (0.002 * (i + 1), 0.02 * (i + 1), 2 + i)[i % 3]
    until_step(panel, 330)
    panel.save_recording(tmp_path / "run.json")
    recording = json.loads((tmp_path / "run.json").read_text())
    assert len(recording["runs"][0]["events"]) == 20
    again = training.replay(recipe(**recording["settings"]), recording["runs"][0])
    assert all(
        torch.equal(a, b)
        for a, b in zip(again.snapshot().values(), panel.session.runs[0].snapshot().values(), strict=True)
    )


def test_a_thousand_slider_events_in_five_seconds(panel):
    panel.buttons["start"].click()
    start = time.monotonic()
    for i in range(1000):
        panel.knobs["lr"].value = 0.001 + i * 1e-5
        time.sleep(max(0.0, start + 5 * (i + 1) / 1000 - time.monotonic()))
    assert panel.error is None and len(trainers()) <= 1
    assert panel.session.status in ("running", "finished")


def test_fifty_starts_and_stops_in_a_row(panel):
    for _ in range(50):
        panel.buttons["start"].click()
        assert len(trainers()) <= 1
        panel.buttons["pause"].click()
    assert not trainers() and panel.error is None
    panel.buttons["start"].click()
    before = panel.session.step_count
    until_step(panel, before + 5)


def test_running_the_cell_again_stops_the_earlier_run(panel):
    panel.buttons["start"].click()
    until_step(panel, 5)
    for _ in range(10):
        newer = TrainingPanel(recipe, title="Test panel")
        newer.start()
        until_step(newer, 2)
        assert len(trainers()) == 1
    assert not panel.session.running
    newer.close()
    assert not trainers()


def test_starting_one_panel_pauses_the_other(panel):
    other = TrainingPanel(recipe, title="Another")
    panel.start()
    other.start()
    assert other.session.running and not panel.session.running
    panel.start()
    assert panel.session.running and not other.session.running
    other.close()


def test_a_pin_stays_behind_the_next_run(panel):
    panel.buttons["pin"].click()
    assert "Nothing to pin yet" in sent(panel)["status"] and panel.pins == []
    panel.knobs["lr"].value = 0.1
    panel.buttons["start"].click()
    until_step(panel, 20)
    panel.buttons["pin"].click()
    panel.buttons["pause"].click()
    pinned = panel.pins[0].histories[0].loss.copy()
    panel.buttons["reset"].click()
    panel.buttons["step"].click()
    wait(lambda: panel.session.step_count == 1 and not panel.session.running)
    loss = panel.specs()[0]
    assert [trace["name"] for trace in loss["data"]] == ["this run", "pin 1: lr 0.1"]
    assert np.array_equal(loss["data"][1]["y"], pinned)
    panel.buttons["unpin"].click()
    assert len(panel.specs()[0]["data"]) == 1


def test_several_seeds_make_a_band_and_a_verdict(panel):
    panel.seeds.value = 3
    assert [run.seed for run in panel.session.runs] == [0, 1, 2]
    panel.session.start(steps=60)
    wait(lambda: not panel.session.running)
    panel.pin()
    assert len(panel.specs()[0]["data"]) == 6  # two lines, each with the two edges of its band
    panel.reset()
    panel.session.start(steps=60)
    wait(lambda: not panel.session.running)
    panel.redraw()
    assert "chance between seeds may be all" in sent(panel)["status"], "the same run twice cannot differ"
    panel.knobs["lr"].value = 0.0001
    panel.reset()
    panel.session.start(steps=60)
    wait(lambda: not panel.session.running)
    panel.redraw()
    assert "more than chance between seeds" in sent(panel)["status"]


def histories(losses):
    made = []
    for loss in losses:
        made.append(History())
        for step in range(60):
            made[-1].add("loss", step + 1, loss)
    return made


def test_the_verdict_is_the_paired_difference_with_its_interval():
    this = Trace(name="this run", histories=histories([1.0, 2.0, 3.0]))
    pin = Trace(name="pin 1: lr 0.1", histories=histories([1.19, 2.2, 3.21]))
    wanted = "Loss 0.200 lower than pin 1 (difference, 95 % interval −0.22 to −0.18; 3 seeds): more than chance"
    assert wanted in verdict([this, pin])
    for others in ([1.1, 2.3, 3.2], [1.4, 1.8, 3.2]):  # the first is 3.5 standard errors: 3 seeds may by chance
        pin = Trace(name="pin 1: lr 0.1", histories=histories(others))
        assert "chance between seeds may be all" in verdict([this, pin])
    assert verdict([this]) == "" == verdict([Trace(name="one", histories=this.histories[:2]), pin])


def test_an_error_in_the_run_is_shown_with_its_traceback_folded(monkeypatch):
    monkeypatch.delenv("COURSE_STRICT")

    def failing(generator):
        raise ZeroDivisionError("a <b>bad</b> batch")

    panel = TrainingPanel(lambda: Experiment(model=lambda g: MLP([4, 3]), batches=failing), title="Fails")
    panel.start()
    wait(lambda: panel._notice.value)
    shown = panel._notice.value
    assert "ZeroDivisionError: a &lt;b&gt;bad&lt;/b&gt; batch" in shown and "<details" in shown
    panel.close()


def test_settings_that_do_not_go_together_leave_the_old_run(monkeypatch):
    monkeypatch.delenv("COURSE_STRICT")

    def picky(*, width=16):
        if width == 32:
            raise ValueError("width 32 is not divisible by heads 3: choose 30 or 33")
        return recipe(width=width)

    panel = TrainingPanel(picky, title="Picky", settings=["width"])
    panel.settings["width"].value = 32
    assert "choose 30 or 33" in panel._notice.value
    panel.settings["width"].value = 64
    assert panel._notice.value == "" and panel.session.runs[0].model.sizes == [4, 64, 3]
    panel.close()


def test_what_does_not_fit_into_memory_is_refused_with_the_reason(panel, monkeypatch):
    panel._ready()
    assert "take about" in sent(panel)["status"]
    monkeypatch.setattr(runtime, "memory_available", lambda: 2 * panel._cost.memory)
    panel.seeds.value = 3
    panel.start()
    assert not panel.session.running, "three runs hold three times as much"
    panel.step()
    assert not panel.session.running and "Not started" in sent(panel)["status"]
    monkeypatch.setattr(runtime, "memory_available", lambda: 1000)
    panel.start()
    assert not panel.session.running
    assert "Not started: it needs about" in sent(panel)["status"] and "1 kB are free" in sent(panel)["status"]


def test_what_diverges_at_once_has_a_price_too():
    def wild(*, width=16):
        return replace(recipe(width=width), knobs={"lr": 1e12}, optimizer="sgd")

    panel = TrainingPanel(wild, title="Wild", settings=["width"])
    panel.settings["width"].value = 32
    assert panel.error is None and "take about" in sent(panel)["status"]
    panel.close()


def test_pause_stops_within_one_step():
    panel = TrainingPanel(lambda: recipe(slow=0.05), title="Slow")
    panel.start()
    until_step(panel, 2)
    start = time.monotonic()
    panel.pause()
    assert time.monotonic() - start < 0.5
    panel.close()


def test_the_last_view_gone_pauses_the_run(panel):
    panel.figure._receive(None, {"type": "ready", "view": "a"}, [])
    panel.figure._receive(None, {"type": "ready", "view": "b"}, [])
    panel.start()
    panel.figure._receive(None, {"type": "gone", "view": "a"}, [])
    assert panel.session.running
    panel.figure._receive(None, {"type": "gone", "view": "b"}, [])
    assert not panel.session.running


def test_a_page_that_was_closed_without_a_word_pauses_the_run(monkeypatch):
    panel = TrainingPanel(lambda: recipe(steps=10**7), title="Long")
    monkeypatch.setattr(live_figure, "PATIENCE", 0.05)
    monkeypatch.setattr(live_figure, "SILENCE", 0.5)
    panel.start()
    time.sleep(1)
    assert panel.session.running, "without a page it trains to its end"
    panel.figure._receive(None, {"type": "ready", "view": "a"}, [])
    for _ in range(20):
        time.sleep(0.05)
        panel.figure._receive(None, {"type": "waiting", "view": "a"}, [])
    assert panel.session.running, "a hidden page answers"
    wait(lambda: not trainers())
    assert "The page was closed, so it waits" in sent(panel)["status"] and not panel.buttons["start"].disabled
    panel.figure._receive(None, {"type": "ready", "view": "b"}, [])
    step = panel.session.step_count
    panel.start()
    until_step(panel, step + 1)
    wait(lambda: "The page was closed" not in sent(panel)["status"])
    panel.close()


def test_a_long_cell_is_no_closed_page(monkeypatch):
    # Where callbacks wait for cells, no answer of a page arrives while a cell runs.
    monkeypatch.setattr(live_figure, "SILENCE", 0.2)
    figure = LiveFigure()
    figure.show([])
    live_figure._cells._now(True)
    figure._receive(None, {"type": "ready", "view": "a"}, [])
    time.sleep(0.4)
    assert not figure.left_alone, "a cell runs"
    live_figure._cells._now(False)
    assert not figure.left_alone, "answers may be on their way"
    time.sleep(0.4)
    assert figure.left_alone
    figure._receive(None, {"type": "waiting", "view": "a"}, [])
    assert not figure.left_alone


def test_a_reloaded_page_leaves_no_view_behind():
    figure = LiveFigure()
    figure.show([])
    for load in "xyz":
        figure._receive(None, {"type": "ready", "view": load, "tab": "1", "load": load}, [])
    figure._receive(None, {"type": "ready", "view": "other", "tab": "2", "load": "w"}, [])
    assert list(figure._views) == ["z", "other"]


def test_a_run_that_ends_while_the_buttons_are_set_leaves_start_enabled(panel):
    for _ in range(200):
        panel.buttons["step"].click()
    wait(lambda: not trainers())
    assert (panel.buttons["start"].disabled, panel.buttons["pause"].disabled) == (False, True)


def test_a_closed_panel_lets_go_of_its_widgets():
    before = set(widgets.widget._instances) | {plotly_library().model_id}
    made = TrainingPanel(recipe, title="Closed", settings=["width"], views=VIEWS, seeds=True)
    picked = explorer()
    made.close()
    picked.close()
    assert set(widgets.widget._instances) <= before


def test_unknown_names_say_which_there_are():
    with pytest.raises(ValueError, match="no knob 'lrr': this experiment has lr"):
        TrainingPanel(recipe, title="Bad", knobs=["lrr"])
    with pytest.raises(ValueError, match="setting 'depth': the recipe needs an argument"):
        TrainingPanel(recipe, title="Bad", settings=["depth"])
    with pytest.raises(ValueError, match="no control 'slow': choose one of lr"):
        TrainingPanel(recipe, title="Bad", settings=["slow"])


def test_a_panel_reads_the_same_in_every_session(panel):
    bundle = panel._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle
    assert (
        bundle["text/plain"]
        == repr(panel)
        == (
            "Test panel: a live panel. Controls: lr, weight_decay, batch_size, width. Shows: Loss, Knows,\n"
            "Sample. Run this cell, then press Start."
        )
    )


def test_a_knob_that_nobody_has_turned_follows_the_recipe():
    def two_ways(*, way="slow"):
        lr = {"slow": 0.003, "fast": 0.1}[way]
        return Experiment(model=lambda g: MLP([4, 8, 3]), batches=batches, knobs={"lr": lr})

    ways = {"way": Choice(label="way", options=("slow", "fast"), help="How.")}
    panel = TrainingPanel(two_ways, title="Ways", settings=["way"], controls=ways)
    panel.settings["way"].value = "fast"
    assert panel.knobs["lr"].value == 0.1 and "lr begins at 0.1" in sent(panel)["status"]
    panel.step()
    panel.pause()
    assert panel.session.runs[0].knobs["lr"] == 0.1 and panel.session.runs[0].history.events == []
    panel.settings["way"].value = "slow"
    assert panel.knobs["lr"].value == 0.003
    panel.knobs["lr"].value = 0.5
    panel.settings["way"].value = "fast"
    assert panel.knobs["lr"].value == 0.5, "a knob that was turned stays"
    panel.defaults()
    assert (panel.settings["way"].value, panel.knobs["lr"].value) == ("slow", 0.003)
    panel.close()


def test_a_dial_is_a_slider_and_a_number_box(panel):
    dial = panel.knobs["lr"]
    dial.slider.value = 0.0501187  # where the browser's grid has 10 ** -1.3
    assert dial.value == 0.05 == dial.box.value == panel.session.runs[0]._mailbox[-1][1]
    dial.box.value = 123.0
    assert dial.value == 123.0 and dial.slider.value == 10.0, "typed values may lie beyond the slider's ends"
    for nothing in (-1.0, float("nan"), float("inf")):
        dial.box.value = nothing
        assert dial.value == 123.0 == dial.box.value
    events = len(panel.session.runs[0]._mailbox)
    dial.box.value = 0.01
    dial.slider.value = 0.0100237
    assert dial.value == 0.01 and len(panel.session.runs[0]._mailbox) == events + 1, "the grid alone moves no knob"
    dial.box.value = 0.003
    dial.slider.value = 0.00316228  # where a browser shows it
    assert dial.value == 0.003
    dial.slider.value = 0.00398107
    assert dial.value == 0.004
    assert panel.knobs["batch_size"].box.value == 8


@pytest.mark.parametrize("low, high", [(3e3, 5e5), (0.5, 20), (1e-5, 1e1), (0.013, 0.02)])
@pytest.mark.parametrize("typed", [0.0, 1e-7, 1e3, 490_000, 1e9])
def test_a_value_typed_on_a_logarithmic_dial_stays(low, high, typed):
    dial = Slider(label="size", help="How big.", low=low, high=high, log=True).widget(low)
    dial.box.value = typed
    shown = min(max(typed, low), high)
    steps = round(np.log10(shown / low) / 0.1)
    for echo in (shown, high if shown == high else min(low * 10 ** (0.1 * steps), high)):  # the browser's own grid
        dial.slider.value = echo
        assert dial.value == dial.box.value == typed


def test_firm_ends_hold_for_what_is_typed_too():
    dial = Slider(label="place", help="Where.", low=1, high=7, step=1, whole=True, firm=True).widget(3)
    for typed, counts in ((10**9, 7), (0, 1), (-1, 1), (7, 7), (5, 5)):
        dial.box.value = typed
        assert dial.value == counts == dial.box.value == dial.slider.value


# --- the figure ------------------------------------------------------------------------------------------------


def test_arrays_travel_as_float32_and_everything_else_as_it_is():
    matrix = np.arange(6).reshape(2, 3)
    skeleton, buffers = pack([{"x": np.arange(3), "z": matrix, "name": "a", "n": np.float64(2.5), "t": ("a", None)}])
    assert skeleton == [{"x": {"buffer": 0, "shape": [3]}, "z": {"buffer": 1, "shape": [2, 3]}, "name": "a", "n": 2.5,
                         "t": ["a", None]}]  # fmt: skip
    assert np.frombuffer(buffers[1], np.float32).tolist() == matrix.ravel().tolist()
    json.dumps(skeleton)


def test_a_frame_carries_the_layout_only_when_it_changed(monkeypatch):
    figure, messages = LiveFigure(), []
    monkeypatch.setattr(figure.channel, "send", lambda content, buffers: messages.append((content, buffers)))
    spec = {"data": [{"y": np.zeros(3)}], "layout": {"title": {"text": "a"}}}
    figure.show([spec])
    assert messages == [], "nobody is looking"
    figure._receive(None, {"type": "ready", "view": "a"}, [])
    figure.show([spec | {"data": [{"y": np.ones(3)}]}])
    figure.show([spec | {"layout": {"title": {"text": "b"}}}])
    assert ["skeleton" in content for content, _ in messages] == [True, False, True]
    assert np.frombuffer(messages[1][1][0], np.float32).tolist() == [1, 1, 1]
    figure._receive(None, {"type": "ready", "view": "second"}, [])
    assert "skeleton" in messages[-1][0], "a new view gets everything"


def test_a_browser_that_lags_behind_gets_fewer_frames(monkeypatch):
    figure = LiveFigure()
    monkeypatch.setattr(figure.channel, "send", lambda content, buffers: None)
    assert not figure.wants_frame
    figure._receive(None, {"type": "ready", "view": "a"}, [])
    figure.show([])
    assert figure.wants_frame
    figure.show([])
    assert not figure.wants_frame
    figure._receive(None, {"type": "drawn", "view": "a", "n": 2}, [])
    assert figure.wants_frame


def test_plotly_is_carried_once_and_compressed():
    assert LiveFigure().library is LiveFigure().library is plotly_library()
    assert len(plotly_library().code) < 1_700_000


# --- explorers --------------------------------------------------------------------------------------------------


def explorer():
    def draw(*, power, letter):
        if power == 4:
            raise ValueError("power 4: choose less")
        return Shown(
            figures=[figures.lines([figures.Series(name=letter, x=np.arange(3.0), y=np.arange(3.0) ** power)], **AXES)],
            summary=f"{letter}{power}",
        )

    controls = {
        "power": (Slider(label="power", help="How bent.", low=0, high=5, step=1, whole=True), 2),
        "letter": (Choice(label="letter", help="Which.", options=("a", "b")), "a"),
    }
    return Explorer(draw, title="Explore", controls=controls)


def test_an_explorer_redraws_when_a_control_moves_and_returns_to_its_defaults():
    made = explorer()
    assert made.shown.summary == "a2"
    made.controls["power"].value = 3
    assert made.shown.figures[0]["data"][0]["y"].tolist() == [0, 1, 8] and made.shown.summary == "a3"
    made.controls["letter"].value = "b"
    made.buttons["defaults"].click()
    assert made.shown.summary == "a2" and made.controls["letter"].value == "a"


def test_an_explorers_defaults_are_drawn_once():
    made, drawn = explorer(), []
    made.controls["power"].value, made.controls["letter"].value = 3, "b"
    draw, made.draw = made.draw, lambda **values: drawn.append(values) or draw(**values)
    made.buttons["defaults"].click()
    assert drawn == [{"power": 2, "letter": "a"}]


def test_an_explorers_error_is_shown_and_passes(monkeypatch):
    monkeypatch.delenv("COURSE_STRICT")
    made = explorer()
    made.controls["power"].value = 4
    assert "power 4: choose less" in made._notice.value and made.shown.summary == "a2"
    made.controls["power"].value = 3
    assert made._notice.value == "" and made.shown.summary == "a3"


@pytest.mark.parametrize("typed, word", [(100, "from 1 to 7"), (1.5, "1.5: expected a whole number, 0 or more"),
                                         (-2, "-2: expected a whole number"), (6, "")])  # fmt: skip
def test_a_dial_says_what_does_not_count_until_something_does(typed, word):
    dial = Slider(label="place", help="Where.", low=1, high=7, step=1, whole=True, firm=True).widget(3)
    dial.box.value = typed
    assert word in dial.word.value and (dial.word.layout.display is None) == bool(word)
    dial.box.value = 5
    assert dial.value == 5 and dial.word.layout.display == "none"
