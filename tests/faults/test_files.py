"""Files are valid, are found where they were put, and are never taken from whoever they belong to."""

import json
import math
import os
import shutil
import sys
from pathlib import Path

import pytest
import torch

from course_utils import checkpoint, runtime, training
from course_utils.lesson.progress import Progress, _open_once, my_progress
from course_utils.live import TrainingPanel
from course_utils.models import GPT, MLP
from course_utils.training import Experiment
from tests.test_environments import calls, checkout, make, write_script  # noqa: F401 (a fixture)

X = torch.randn(64, 4, generator=runtime.generator(0))
Y = torch.arange(64) % 3


def rows(generator, *, batch_size=8):
    chosen = torch.randint(64, (int(batch_size),), generator=generator)
    return X[chosen], Y[chosen]


def recipe(*, width=16):
    return Experiment(model=lambda g: MLP([4, width, 3]), batches=rows, knobs={"lr": 0.05}, steps=9)


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.snapshot().values(), b.snapshot().values(), strict=True))


# --- recordings -------------------------------------------------------------------------------------------------------


def recorded():
    run = recipe().start(2)
    for knob, value in (("clip", 0.1), ("clip", math.inf), ("lr", 0.2)):
        run.set(knob, value)
        run.step()
    run.set("batch_size", 5)
    run.read_mailbox()  # moved, and no step after
    return run


def test_a_recording_is_json_for_every_reader():
    recording = recorded().recording()
    text = json.dumps(recording, allow_nan=False)
    assert json.loads(text) == recording and recording["knobs"]["clip"] is None
    assert [event["value"] for event in recording["events"]] == [0.1, None, 0.2, 5]


@pytest.mark.parametrize("how", ["dict", "text", "path", "home", "byte-order mark", "Infinity of an older file"])
def test_a_recording_is_replayed_from_wherever_it_is(how, tmp_path, monkeypatch):
    run = recorded()
    recording, text = run.recording(), json.dumps(run.recording())
    monkeypatch.setenv("HOME", str(tmp_path))
    file = tmp_path / "my run é.json"
    if how.startswith("Inf"):
        text = text.replace("null", "Infinity")
    file.write_text(text, encoding="utf-8-sig" if how.startswith("byte") else "utf-8")
    source = {"dict": recording, "text": str(file), "home": "~/my run é.json"}.get(how, file)
    again = training.replay(recipe(), source)
    assert same(run, again) and again.knobs == run.knobs
    assert again.recording() == recording, "a replay's recording is the recording"


def test_a_replay_starts_from_the_recorded_knobs():
    run = Experiment(model=lambda g: MLP([4, 16, 3]), batches=rows, knobs={"lr": 0.5, "clip": 0.3}, steps=9).start(0)
    run.step()
    again = training.replay(recipe(), run.recording())
    assert same(run, again) and again.recording() == run.recording()


def test_a_panel_s_file_is_replayed_and_several_runs_are_asked_apart(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    panel = TrainingPanel(recipe, title="files", settings=["width"], seeds=True)
    panel.start()
    while panel.session.running:
        pass
    panel.save_recording("~/run.json")
    text = (tmp_path / "run.json").read_text(encoding="utf-8")
    assert json.loads(text, parse_constant=pytest.fail) == panel.recording()
    assert same(training.replay(recipe(), tmp_path / "run.json"), panel.session.runs[0])
    panel.seeds.value = 3
    panel.save_recording(tmp_path / "three.json")
    with pytest.raises(ValueError, match=r"has 3 runs: replay each, as recording\['runs'\]\[0\]"):
        training.replay(recipe(), tmp_path / "three.json")
    panel.close()


@pytest.mark.parametrize("wrong", ["", "[]", "{}", '{"seed": 3}', "weights", "\udcff"])
def test_what_is_no_recording_is_said_so(wrong, tmp_path):
    (tmp_path / "run.json").write_text(wrong, errors="surrogateescape")
    with pytest.raises(ValueError, match="no recording.*: give"):
        training.replay(recipe(), tmp_path / "run.json")


# --- checkpoints ------------------------------------------------------------------------------------------------------


def test_home_is_home_and_no_folder_named_so(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    monkeypatch.chdir(tmp_path)
    model = MLP([2, 2])
    saved = checkpoint.save(model, "~/models/mine", card={"data": "none"})
    assert saved == tmp_path / "me/models/mine.safetensors" and os.listdir(tmp_path) == ["me"]
    assert torch.equal(checkpoint.load("~/models/mine").layers[0].weight, model.layers[0].weight)
    assert "data: none" in checkpoint.card("~/models/mine")


@pytest.mark.parametrize("name", ["story_gpt", Path("story_gpt"), "digit_teacher"])
def test_a_shipped_name_is_not_taken(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="the course ships, and `load` would give that one: choose another name"):
        checkpoint.save(MLP([2, 2]), name, card={})
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("name", ["./story_gpt", "here/story_gpt", "story_gpt.safetensors"])
def test_a_folder_or_a_suffix_makes_it_a_file(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError):
        checkpoint.load(name)
    saved = checkpoint.save(MLP([2, 2]), name, card={})
    assert isinstance(checkpoint.load(name), MLP) and isinstance(checkpoint.load(saved), MLP)
    assert isinstance(checkpoint.load("story_gpt"), GPT)


def test_a_model_card_replaces_no_text_of_a_learner(tmp_path):
    (tmp_path / "notes.md").write_text("mine")
    with pytest.raises(FileExistsError, match="is no model card: choose another name than notes"):
        checkpoint.save(MLP([2, 2]), tmp_path / "notes", card={})
    assert os.listdir(tmp_path) == ["notes.md"] and (tmp_path / "notes.md").read_text() == "mine"
    for _ in range(2):  # its own is written again
        checkpoint.save(MLP([2, 2]), tmp_path / "other", card={})


# --- progress ---------------------------------------------------------------------------------------------------------

KEPT = "kept until this kernel stops"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "course" / "progress.json"


def written(path):
    path.parent.mkdir(exist_ok=True)
    Progress(path).solve("a")
    return path.read_bytes()


def test_a_byte_order_mark_is_no_damage(path):
    content = written(path)
    path.write_bytes(b"\xef\xbb\xbf" + content)
    progress = Progress(path)
    assert progress.read().exercises == {"a"} and progress.take_notice() == ""
    progress.solve("b")
    assert path.read_bytes()[:1] == b"{" and Progress(path).read().exercises == {"a", "b"}


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), OSError(5, "Input/output error")])
def test_two_users_leave_each_other_s_file_alone(error, path, monkeypatch):
    content = written(path)

    def refuse(self, **_):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_text", refuse)
        other = Progress(path)
        for name in "bcd":
            other.solve(name)
        assert other.read().exercises == {"b", "c", "d"}
    notice = other.take_notice()
    assert "cannot be read" in notice and error.strerror in notice and notice.count(KEPT) == 1
    other.solve("e")  # it could be read by now, and holds what this kernel has never seen
    assert path.read_bytes() == content and os.listdir(path.parent) == ["progress.json"]


def test_a_folder_at_its_place_is_left_alone(path):
    path.mkdir(parents=True)
    progress = Progress(path)
    progress.solve("a")
    assert progress.read().exercises == {"a"} and KEPT in progress.take_notice()
    assert os.listdir(path.parent) == ["progress.json"] and not os.listdir(path)


def test_a_damaged_file_that_cannot_be_moved_is_not_written_over(path, monkeypatch):
    written(path)
    path.write_text("{")
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(PermissionError(13, "Permission denied")))
    progress = Progress(path)
    progress.solve("b")
    monkeypatch.undo()
    progress.solve("c")
    assert path.read_text() == "{" and progress.read().exercises == {"b", "c"} and KEPT in progress.take_notice()


@pytest.mark.parametrize("place", ["~nosuchuser/course.json", "~/course.json"])
def test_without_a_home_it_goes_on_in_memory(place, tmp_path, monkeypatch):
    def homeless(self):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Path, "expanduser", homeless)
    monkeypatch.setenv("COURSE_PROGRESS", place)
    _open_once.cache_clear()
    progress = my_progress()
    progress.predict("first-loss", "96")
    assert my_progress().read().predictions["first-loss"].last == "96"
    notice = progress.take_notice()
    assert KEPT in notice and "home directory" in notice and not os.listdir(tmp_path)
    _open_once.cache_clear()


def test_where_the_kernel_s_folder_is_gone_it_goes_on_in_memory(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    monkeypatch.delenv("COURSE_PROGRESS", raising=False)
    _open_once.cache_clear()
    progress = my_progress()
    progress.solve("a")
    assert progress.read().exercises == {"a"} and KEPT in progress.take_notice()
    _open_once.cache_clear()
    monkeypatch.chdir(tmp_path)


def test_a_renamed_folder_is_not_made_anew(path):
    written(path)
    progress = Progress(path)
    progress.solve("b")
    path.parent.rename(path.parent.with_name("renamed"))
    progress.solve("c")
    assert not path.parent.exists() and progress.read().exercises == {"a", "b", "c"}
    notice = progress.take_notice()
    assert KEPT in notice and "writes it again" not in notice
    path.parent.with_name("renamed").rename(path.parent)
    progress.solve("d")  # back again
    assert Progress(path).read().exercises == set("abcd")


def test_a_folder_that_was_never_there_is_made(tmp_path):
    path = tmp_path / "new" / "folder" / "progress.json"
    Progress(path).solve("a")
    assert Progress(path).read().exercises == {"a"}


def test_a_full_disk_keeps_the_old_file_and_what_is_new_in_memory(path, monkeypatch):
    content = written(path)

    class Full:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            raise OSError(28, "No space left on device")

        def write(self, text):
            return len(text)

    progress = Progress(path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fdopen", lambda handle, *_, **__: os.close(handle) or Full())
        progress.solve("b")
    assert path.read_bytes() == content and os.listdir(path.parent) == ["progress.json"]
    assert "No space left on device" in (notice := progress.take_notice()) and KEPT in notice
    progress.solve("c")
    assert Progress(path).read().exercises == {"a", "b", "c"}


def test_a_link_stays_a_link(path, tmp_path):
    written(path)
    link = tmp_path / "link.json"
    link.symlink_to(path)
    Progress(link).solve("b")
    assert link.is_symlink() and Progress(path).read().exercises == {"a", "b"}


# --- the course's folder is renamed or copied -------------------------------------------------------------------------

FAKE = f"""
case "$*" in
    --version) echo Python 3.12.99;;
    "-m venv .venv")
        mkdir -p .venv/bin; cp "$0" .venv/bin/python; echo "VIRTUAL_ENV='$PWD/.venv'" > .venv/bin/activate;;
    *"--editable ."*) echo "$*" >> calls; echo "$PWD" > .venv/course;;
    *find_spec*) read -r place < .venv/course; [ -e "$place/course_utils" ] || exit 1
        PYTHONPATH="$place" exec "{sys.executable}" "$@";;
    *) echo "$*" >> calls;;
esac
"""  # a stand-in for Python that knows which folder's course it has


@pytest.fixture
def set_up(checkout):  # noqa: F811
    """A checkout that has been set up."""
    write_script(checkout.parent / "bin" / "python3.12", FAKE)
    (checkout / "course_utils").mkdir()
    (checkout / "course_utils" / "__init__.py").write_text("")
    assert make(checkout, "setup").returncode == 0
    return checkout


def installed(folder):
    return (folder / ".venv" / "course").read_text().strip() == str(folder)


def test_what_is_right_is_left_alone(set_up):
    before = calls(set_up)
    for _ in range(2):
        done = make(set_up, "setup")
        assert done.returncode == 0 and "another folder" not in done.stdout, done.stderr
    (set_up / ".venv" / ".place").unlink()  # set up before there was a check
    make(set_up, "setup")
    assert calls(set_up) == before and installed(set_up)


@pytest.mark.parametrize("move", [shutil.move, lambda a, b: shutil.copytree(a, b, symlinks=True)],
                         ids=["renamed", "copied"])  # fmt: skip
def test_a_moved_folder_gets_a_venv_of_its_own(move, set_up):
    other = set_up.with_name("other course")
    move(set_up, other)
    (other / "calls").unlink()
    done = make(other, "setup")
    assert done.returncode == 0, done.stderr
    assert "made in another folder (the course was renamed or copied), so a new one is made" in done.stdout
    assert installed(other) and str(other) in (other / ".venv/bin/activate").read_text()
    before = calls(other)
    assert any("torch" in call for call in before)
    assert "another folder" not in make(other, "setup").stdout and calls(other) == before


@pytest.mark.parametrize("place", ["gone", "elsewhere"])
def test_a_venv_with_another_folder_s_course_gets_this_one(place, set_up):
    if place == "elsewhere":
        shutil.copytree(set_up / "course_utils", set_up.parent / place / "course_utils")
    (set_up / ".venv" / "course").write_text(f"{set_up.parent / place}\n")
    done = make(set_up, "setup")
    assert done.returncode == 0 and "runs the course of another folder" in done.stdout, done.stderr
    assert installed(set_up) and "Making .venv" not in done.stdout
    before = calls(set_up)
    make(set_up, "setup")
    assert calls(set_up) == before
