"""*Code*: what a panel did, as Python; run in a fresh process it ends with bitwise the same weights."""

import hashlib
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from course_utils import runtime
from course_utils.live import Slider, TrainingPanel
from course_utils.models import MLP
from course_utils.training import Experiment, replay

ROOT = Path(__file__).parent.parent
POINTS = 64
ROWS = Slider(label="rows", help="Rows in a step.", low=1, high=64, step=1, whole=True)
DIGEST = """
import hashlib
print([hashlib.sha256(b"".join(t.numpy().tobytes() for t in run.snapshot().values())).hexdigest() for run in runs])
"""


def batches(generator, *, batch_size=8):
    inputs = torch.randn(POINTS, 4, generator=runtime.generator(0))
    chosen = torch.randint(POINTS, (int(batch_size),), generator=generator)
    return inputs[chosen], chosen % 3


def recipe(*, width=16):
    return Experiment(model=lambda g: torch.nn.Sequential(torch.nn.Dropout(0.1), MLP([4, width, 3])), batches=batches,
                      knobs={"lr": 0.01, "clip": float("inf")}, steps=60)  # fmt: skip


def smoothed(logits, targets, *, amount=0.1):
    return F.cross_entropy(logits, targets, label_smoothing=amount)


def my_loss(model, batch):
    return smoothed(model(batch[0]), batch[1])


def digests(runs):
    return [hashlib.sha256(b"".join(t.numpy().tobytes() for t in run.snapshot().values())).hexdigest() for run in runs]


def executed(code, folder):
    """What the code's runs end with, in a process of its own."""
    file = folder / "code.py"
    file.write_text(code + DIGEST)
    env = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'notebooks'}"}
    done = subprocess.run([sys.executable, file], cwd=folder, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1].replace("'", '"'))


@pytest.mark.parametrize("number", range(10))
def test_the_code_of_a_random_session_gives_the_same_weights(number, tmp_path, monkeypatch):
    dice = random.Random(number)
    if number > 4:  # as in a notebook: written out, not imported
        for one in (batches, recipe, smoothed, my_loss):
            monkeypatch.setattr(one, "__module__", "__main__")
    panel = TrainingPanel(recipe, title="Code", settings=["width"], seeds=True,
                          knobs=["lr", "weight_decay", "batch_size"], loss=my_loss if number % 2 else None,
                          schedule=(lambda step: 1.0) if number == 4 else None,
                          controls={"batch_size": ROWS})  # fmt: skip
    for _ in range(12):
        act = dice.choice(["train", "train", "lr", "decay", "batch", "width", "pin", "seed", "seeds", "pause"])
        if act == "train":
            panel.start(dice.randrange(1, 15))
            while panel.session.running:
                pass
            panel.pause()
        elif act == "width":
            panel.settings["width"].value = dice.choice([16, 32, 64])
        elif act in ("pin", "pause"):
            panel.buttons[act].click()
        elif act == "seed":
            panel.seed.value = dice.randrange(100)
        elif act == "seeds":
            panel.seeds.value = dice.choice(panel.seeds.options[:2])
        else:
            knob = {"lr": "lr", "decay": "weight_decay", "batch": "batch_size"}[act]
            panel.knobs[knob].value = {"lr": dice.uniform(1e-3, 0.1), "decay": dice.uniform(0, 0.5),
                                       "batch": dice.randrange(1, 20)}[act]  # fmt: skip
    code = panel.code()
    assert ("def recipe(" in code) == (number > 4)
    if number == 4:
        assert "schedule=...  # <lambda>: write it here" in code
        code = code.replace("...  # <lambda>: write it here", "lambda step: 1.0")
    assert executed(code, tmp_path) == digests(panel.session.runs)
    panel.save_recording(tmp_path / "run.json")
    kept = json.loads((tmp_path / "run.json").read_text())
    again = [replay(panel.experiment, run) for run in kept["runs"]]
    assert digests(again) == digests(panel.session.runs)
    panel.close()


DATA = (torch.zeros(3), 1)


def test_data_in_a_variable_is_named_and_plain_values_are_written(monkeypatch):
    def with_data(model, batch):
        return my_loss(model, batch) * DATA[1]

    for one in (recipe, smoothed, my_loss, with_data):
        monkeypatch.setattr(one, "__module__", "__main__")
    panel = TrainingPanel(recipe, title="Code", loss=with_data)
    code = panel.code()
    assert "DATA = ...  # a tuple of the notebook: write it here" in code and "tensor(" not in code
    panel.show_code()
    assert panel._code.layout.display is None and "def with_data(" in panel._code.value
    panel.show_code()
    assert panel._code.layout.display == "none"
    panel.close()
