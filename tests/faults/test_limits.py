"""A limit that cuts something off says so, an explanation is the right one, and a wrong call gets one sentence."""

import random
import re
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from chapters.pretraining.characters import (
    LARGEST,
    SMALLEST,
    UNKNOWN,
    CharTokenizer,
    manual_text,
    text_batches,
    text_rows,
)
from chapters.pretraining.panel_texts import TextPanel, described
from chapters.pretraining.texts import text_recipe
from course_utils import runtime, training
from course_utils.models import MLP
from course_utils.training import Experiment
from tools import picture

X = torch.randn(64, 4, generator=runtime.generator(0))
Y = torch.arange(64) % 3


def rows(generator):
    chosen = torch.randint(64, (16,), generator=generator)
    return X[chosen], Y[chosen]


def many_signs(length=60_000, different=3_000, power=0.9, seed=0):
    """A text in signs as frequent as words are: the n-th with probability 1 / n ** power."""
    shares = [1 / n**power for n in range(1, different + 1)]
    return "".join(random.Random(seed).choices([chr(0x4E00 + n) for n in range(different)], shares, k=length))


# --- a learner's own text ---------------------------------------------------------------------------------------------


def test_a_vocabulary_fits_its_text():
    text = many_signs()
    tokenizer = CharTokenizer(text)
    assert CharTokenizer(text, size=128).unknown_share(text) > 0.4
    assert tokenizer.unknown_share(text) < 0.06 and len(tokenizer) == LARGEST
    assert tokenizer.unknown_share(text) == tokenizer.encode(text).count(0) / len(text)
    fewer = CharTokenizer(many_signs(different=700))
    assert SMALLEST < len(fewer) < 700 and fewer.unknown_share(many_signs(different=700)) <= 0.01
    manual = manual_text()
    assert CharTokenizer(manual).vocab == CharTokenizer(manual, size=128).vocab


def test_what_is_cut_is_said_with_its_share_and_what_to_do():
    panel, text = TextPanel(), many_signs()
    panel.use("mine.txt", text.encode())
    tokenizer = CharTokenizer(text)
    said = panel._note
    assert f"60,000 characters, {len(set(text)):,} different ones. The 2,047 most frequent are learned" in said
    assert f"{tokenizer.unknown_share(text):.1%} of the text, all read as {UNKNOWN}." in said
    assert "A text with fewer different characters loses less. Press Start." in said
    assert panel.session.runs[0].model.config.vocab_size == len(tokenizer)
    panel.use("plain.txt", b"all that is read is learned here. " * 20)
    assert UNKNOWN not in panel._note and "680 characters" in panel._note
    panel.close()


@pytest.mark.parametrize("text, said", [
    ("ab" * 200, "400 characters, 2 different ones."),
    ("ab" * 2000 + "ü", "The 2 most frequent are learned; the others, less than 0.1% of the text, all read as"),
    ("ab" * 200 + "".join(map(chr, range(0x4E00, 0x4E64))), "20.0% of the text, all read as"),
])  # fmt: skip
def test_shares_of_every_size_are_told(text, said):
    assert said in described(text)


@pytest.mark.parametrize("call, said", [
    (lambda: text_recipe("hello"), "this text has 5 characters: choose one with 200 or more"),
    (lambda: text_recipe("x"), "this text has 1 character: choose"),
    (lambda: text_recipe("ab" * 105, context=256),
     "this text has 210 characters, 189 to train on: a context of 256 needs more than 256; choose a longer text"),
    (lambda: text_rows("a", CharTokenizer("abab")), "a text of 1 character has nothing to predict"),
    (lambda: text_batches("", CharTokenizer("abab")), "a text of 0 characters has nothing to predict"),
    (lambda: text_batches("a", CharTokenizer("abab"), context=3), "a text of 1 character has nothing"),
])  # fmt: skip
def test_a_text_that_is_too_short_is_counted_right(call, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        call()


# --- stored pictures --------------------------------------------------------------------------------------------------

PLOTLYS = {"&lt;": "<", "&gt;": ">", "&amp;": "&"}  # of the entities that plotly turns back, those that we write


@pytest.mark.parametrize("text", ['say "yes"', "it's", "a < b & c > d", "&quot; and <b>bold</b>", "&amp;lt;"])
def test_a_stored_picture_shows_a_text_letter_by_letter(text):
    layout = picture._text_card(text, text)["layout"]
    for drawn in (layout["title"]["text"], layout["annotations"][0]["text"]):
        assert re.sub("&(lt|gt|amp);", lambda found: PLOTLYS[found[0]], drawn) == text


def test_a_stored_picture_says_that_a_text_goes_on():
    short, long = ("\n".join(map(str, range(count))) for count in (picture.LINES, picture.LINES + 1))
    lines = [picture._text_card("", body)["layout"]["annotations"][0]["text"].split("<br>") for body in (short, long)]
    assert lines[0] == short.split("\n") and lines[1] == [*long.split("\n")[: picture.LINES - 1], "…"]


# --- fit's own calls --------------------------------------------------------------------------------------------------


def no_gradient(model, batch):
    with torch.no_grad():
        return F.cross_entropy(model(batch[0]), batch[1])


CALLS = {
    "no loss": ({"loss": None}, r"loss is None: expected loss\(model, batch\)"),
    "PyTorch's loss": ({"loss": F.cross_entropy}, r"loss is PyTorch's own function of tensors: expected loss\(model"),
    "a loss module": ({"loss": nn.CrossEntropyLoss()}, r"loss is PyTorch's own .*: expected loss\(model, batch\)"),
    "a loss class": ({"loss": nn.CrossEntropyLoss}, r"loss is the class CrossEntropyLoss: expected loss\(model"),
    "a loss of three": ({"loss": lambda m, x, y: 0}, r"loss is a function of other arguments: expected loss\(model"),
    "a loss that is a text": ({"loss": lambda m, b: "low"}, "loss gave a str: expected a tensor that is one number"),
    "a loss that is nothing": ({"loss": lambda m, b: None}, "loss gave None: expected a tensor that is one number"),
    "a loss a row": ({"loss": lambda m, b: m(b[0]).sum(1)}, r"loss gave a tensor of shape \(16,\): expected a tensor"),
    "a loss without a gradient": ({"loss": no_gradient}, "a tensor without a gradient: compute it from .*no_grad"),
    "a detached loss": ({"loss": lambda m, b: m(b[0]).mean().detach()}, "without a gradient: .*without .item"),
    "a count as the loss": ({"loss": lambda m, b: (m(b[0]).argmax(1) != b[1]).sum()}, "without a gradient"),
    "a schedule that is a number": ({"schedule": 0.5}, "schedule is a float: expected a function from a step"),
    "a schedule that gives nothing": ({"schedule": lambda step: None}, "schedule gave None at step 0: expected a fac"),
    "a list of layers": ({"model": [nn.Linear(4, 3)]}, "model is a list: expected a function that builds a module"),
    "a class": ({"model": MLP}, r"model is the class MLP: expected a function that builds a module, as .*MLP\(\["),
    "no model": ({"model": None}, "model is None: expected a function that builds a module"),
    "a name": ({"model": "story_gpt"}, "model is a str: expected a function that builds a module"),
    "a builder without a generator": ({"model": lambda: MLP([4, 3])}, "model is a function of other arguments"),
    "a builder that gives nothing": ({"model": lambda g: None}, "model gave None: expected a module"),
    "a builder that gives layers": ({"model": lambda g: [MLP([4, 3])]}, "model gave a list: expected a module"),
    "no batches": ({"batches": None}, r"batches is None: expected batches\(generator\), a list of batches, or a Data"),
    "a number of batches": ({"batches": 16}, "batches is a int: expected batches"),
    "batches without a generator": ({"batches": lambda: (X, Y)}, "batches is a function of other arguments: expected"),
    "a class of batches": ({"batches": list}, "batches is the class list: expected batches"),
    "no batch at all": ({"batches": []}, "batches gave no batch: it is empty"),
    "steps as a text": ({"steps": "10"}, "steps '10': expected 1 or more, a whole number"),
    "no steps": ({"steps": None}, "steps None: expected 1 or more, a whole number"),
    "steps as a yes": ({"steps": True}, "steps True: expected 1 or more, a whole number"),
    "lr as a text": ({"lr": "0.1"}, "lr '0.1': expected a number"),
    "no lr": ({"lr": None}, "lr None: expected a number"),
    "lr as a yes": ({"lr": True}, "lr True: expected a number"),
    "lr in a list": ({"lr": [0.1]}, r"lr \[0.1\]: expected a number"),
    "lr twice": ({"knobs": {"lr": 0.5}}, "lr is given twice, as lr and in knobs: leave it out"),
    "knobs in a list": ({"knobs": [("clip", 1.0)]}, "knobs is a list: expected a dict, values by their names"),
    "one measure": ({"measures": lambda m, g: 0.0}, "measures is a function: expected a dict, values by their names"),
    "levels without names": ({"levels": [1.0]}, "levels is a list: expected a dict, values by their names"),
    "epochs": ({"epochs": 3}, "fit has no option 'epochs': choose from optimizer, schedule, measures, mea"),
    "an optimizer's class": ({"optimizer": torch.optim.SGD}, "optimizer <class .*: choose one of adamw, sgd"),
    "an optimizer in a list": ({"optimizer": ["sgd"]}, r"optimizer \['sgd'\]: choose one of adamw, sgd"),
    "no seed": ({"seed": None}, "seed None: expected a whole number from 0"),
    "a device that nobody has": ({"device": "tpu"}, "no tpu device on this machine: choose one of"),
}


@pytest.mark.parametrize("case", CALLS)
def test_a_wrong_call_of_fit_gets_one_sentence(case):
    wrong, said = CALLS[case]
    call = {"model": MLP([4, 3]), "batches": rows, "steps": 2, "lr": 0.1, **wrong}
    with pytest.raises((TypeError, ValueError, RuntimeError), match=said) as caught:
        training.fit(call.pop("model"), call.pop("batches"), **call)
    assert "\n" not in str(caught.value)


class Callable:
    def __call__(self, *values):
        return default(*values)


def default(model, batch):
    return F.cross_entropy(model(batch[0]), batch[1])


LOSSES = [default, Callable(), Callable().__call__, lambda *both: default(*both),
          lambda m, b, weight=2: default(m, b), lambda m, b, *, weight: weight * default(m, b)]  # fmt: skip


@pytest.mark.parametrize("loss", LOSSES)
def test_whatever_can_be_called_with_a_model_and_a_batch_is_a_loss(loss):
    knobs = {"weight": 2} if "weight" in training.keyword_knobs(loss) else {}
    assert training.fit(MLP([4, 3]), rows, steps=2, lr=0.1, loss=loss, knobs=knobs).status == "finished"


def test_numbers_of_every_kind_are_numbers():
    for lr in (1, torch.tensor(0.1), np.float32(0.1), Fraction(1, 10)):
        run = Experiment(model=lambda g: MLP([4, 3]), batches=rows, knobs={"lr": lr}, steps=1).start(0)
        assert training.finish(run).status == "finished" and type(run.knobs["lr"]) in (int, float)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("knobs", [{"lr": 1e300}, {"weight_decay": 1e300}, {"momentum": 1e300},
                                   {"lr": 1e39, "clip": 1e300}])  # fmt: skip
def test_a_knob_that_float32_has_no_number_for_diverges(optimizer, knobs):
    if "momentum" in knobs and optimizer != "sgd":
        knobs = {"lr": 1e300, "clip": 1e-300}
    start = {"lr": 0.1} | knobs
    found = training.fit(lambda g: MLP([4, 8, 3]), rows, steps=5, lr=start.pop("lr"), knobs=start, optimizer=optimizer)
    assert found.status == "diverged"
