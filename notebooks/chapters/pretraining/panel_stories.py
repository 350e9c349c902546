"""The story GPT's panels: pretraining it, guessing beside it, and writing with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import ipywidgets as w
import torch
from torch import Tensor
from torch.nn import functional as F

from course_utils import data, figures, pretraining, runtime
from course_utils.live import Choice, CurvesView, Explorer, Shown, Slider
from course_utils.live.controls import LABELS
from course_utils.models import GPT, IGNORE

from ..stories import Models, chosen, story_pool, write_story
from .ngrams import ngram_tables

WRITTEN = CurvesView(
    title="What is right in 24 stories that it writes",
    curves={
        "written syntax": "the whole story",
        "written pronoun": "he or she",
        "written thing": "one coloured thing",
        "written place": "one place",
        "written feeling": "the feeling",
    },
    y_title="share of stories",
    y_range=(0, 1.02),
)


# --- section 2: a learner's loss --------------------------------------------------------------------------------------


def story_by_story(of_text: Callable, model: GPT, batch: tuple[Tensor, Tensor]) -> Tensor:
    """The mean loss over all tokens of a batch, by a learner's ``of_text(logits, tokens)`` for one text."""
    inputs, targets = batch  # (stories, 64) each
    logits, total = F.pad(model(inputs)[0], (0, 0, 0, 1)), 0.0  # a row more, for the last token
    counts = (targets != IGNORE).sum(1).tolist()  # tokens of each story but its first
    for scores, read, wanted, count in zip(logits, inputs, targets, counts, strict=True):
        total = total + count * of_text(scores[: count + 1], torch.cat([read[:1], wanted[:count]]))
    return total / sum(counts)


# --- section 1: who guesses the next word -------------------------------------------------------------------------


def guesser_panel(models: Models, *, stories: int = 2000) -> Explorer:
    """The next word of a story, guessed by something that knows nothing, a little, or a language."""
    tokenizer = data.StoryTokenizer()
    (story,) = data.stories(1, seed=11)
    tokens = torch.tensor([tokenizer.begin, *tokenizer.encode(story), tokenizer.end])
    tables = ngram_tables(story_pool(stories))

    def chances(who: str, place: int) -> torch.Tensor:
        if who in models:
            gpt = chosen(models, who)
            with torch.no_grad():
                return gpt(tokens[None, :place].to(gpt.embed.weight.device))[0][0, -1].softmax(-1).cpu()
        return tables[who][tokens[place - 1]]

    def draw(*, who, place):
        return _guess(chances(who, place), tokens[:place], int(tokens[place]), tokenizer)

    return Explorer(draw, title="Who guesses the next word?", controls={
        "who": (Choice(label="who guesses", options=(*tables, *models), help="What it goes by."), list(tables)[-1]),
        "place": (Slider(label="token to guess", low=1, high=len(tokens) - 1, step=1, whole=True, firm=True,
                         help="Which token of the story comes next."), 12),
    })  # fmt: skip


def _guess(chances: torch.Tensor, before: torch.Tensor, came: int, tokenizer, shown: int = 10) -> Shown:
    best = chances.topk(shown).indices.tolist()
    best = best if came in best else [*best[:-1], came]
    labels = [tokenizer.vocab[token] for token in best]
    right = tokenizer.vocab[came]
    figure = figures.bars(labels, chances[best].numpy(), title="Probability of the next token", x_title="token",
                          y_title="probability", highlight=[best.index(came)], y_range=(0, 1))  # fmt: skip
    loss = -chances[came].log().item()
    summary = f"The token that comes is “{right}”: probability {chances[came]:.3f}, loss {loss:.2f} nats."
    return Shown(figures=[figure], texts=[("The story so far", f"{tokenizer.decode(before)} …")], summary=summary)


# --- section 8: use it ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line of text, which counts when it is finished with Enter or left."""

    label: str
    help: str

    def widget(self, value: str) -> w.Widget:
        common = {"description": self.label, "style": LABELS, "tooltip": self.help}
        layout = w.Layout(width="420px", max_width="100%")
        made = w.Text(value=value, continuous_update=False, layout=layout, **common)
        made.help = self.help
        return made


def prompt_panel(models: Models, *, prompt: str = "Anna has a") -> Explorer:
    """A prompt box: what comes next, and a story written from there."""
    tokenizer = data.StoryTokenizer()

    def draw(*, model, prompt, temperature, top_k, seed):
        gpt, tokens = chosen(models, model), tokenizer.encode(prompt)
        if len(tokens) >= gpt.config.context:
            raise ValueError(f"the prompt has {len(tokens)} tokens: this model reads at most {gpt.config.context - 1}")
        how = {"temperature": temperature, "top_k": top_k}
        with torch.no_grad():
            logits = gpt(torch.tensor([[tokenizer.begin, *tokens]], device=gpt.embed.weight.device))[0][0, -1].cpu()
        chances = pretraining.next_token_probabilities(logits, **how)
        best = chances.topk(12).indices.tolist()
        figure = figures.bars([tokenizer.vocab[token] for token in best], chances[best].numpy(), x_title="token",
                              title="Probability of the next token", y_title="probability", y_range=(0, 1))  # fmt: skip
        story = write_story(gpt, prompt, generator=runtime.generator(seed), **how)
        hesitation = torch.special.entr(chances).sum().exp().item()
        summary = f"It hesitates as if between {hesitation:.1f} equally likely tokens."
        verdict = "a story of the language" if data.grammatical(story) else "not a story of the language"
        return Shown(figures=[figure], texts=[(f"It writes ({verdict})", story)], summary=summary)

    return Explorer(draw, title="Prompt box", controls={
        "model": (Choice(label="model", options=tuple(models), help="Which model writes."), next(iter(models))),
        "prompt": (Line(label="prompt", help="How the story begins. Press Enter to finish."), prompt),
        "temperature": (Slider(label="temperature", low=0.0, high=3.0, step=0.05,
                               help="Divides the logits: 0 always takes the likeliest token, 3 is wild."), 1.0),
        "top_k": (Slider(label="top-k", low=1, high=len(tokenizer), step=1, whole=True, firm=True,
                         help="Only the k likeliest tokens may be drawn."), len(tokenizer)),
        "seed": (Slider(label="seed", low=0, high=99, step=1, whole=True, help="Other dice."), 0),
    })  # fmt: skip
