"""Panels that look into a model: attention and embeddings."""

from __future__ import annotations

import torch

from course_utils import data, figures
from course_utils.live import Choice, Explorer, Shown, Slider

from ..stories import Models, chosen
from .embeddings import KINDS, rows_of


def attention_panel(models: Models) -> Explorer:
    """Where each token of a story looks, for one head."""
    tokenizer = data.StoryTokenizer()
    most = 8  # layers or heads that a control offers

    def draw(*, model, story, layer, head):
        gpt = chosen(models, model)
        if layer > gpt.config.layers or head > gpt.config.heads:
            shape = f"{gpt.config.layers} layers of {gpt.config.heads} heads"
            raise ValueError(f"this model has {shape}: choose among them")
        (text,) = data.stories(1, seed=story)
        tokens = torch.tensor([[tokenizer.begin, *tokenizer.encode(text)]])[:, : gpt.config.context]
        maps = gpt.attention_maps(tokens.to(gpt.embed.weight.device)).cpu()
        weights = maps[layer - 1, 0, head - 1]  # (tokens, tokens)
        words = [tokenizer.vocab[token] for token in tokens[0]]
        spec = figures.heatmap(weights.numpy(), title=f"Attention of layer {layer}, head {head}", x=words, y=words,
                               x_title="token looked at", y_title="token that looks", z_title="attention",
                               z_range=(0, 1))  # fmt: skip
        spec["layout"]["height"] = 16 * len(words) + 130  # a row for each word
        for axis in ("xaxis", "yaxis"):
            spec["layout"][axis] |= {"tickfont": {"size": 10}}
        spec["layout"]["xaxis"]["tickangle"] = -60
        return Shown(figures=[spec], summary=_strongest(weights, words))

    return Explorer(draw, title="Where a head looks", controls={
        "model": (Choice(label="model", options=tuple(models), help="Which model to look into."), next(iter(models))),
        "story": (Slider(label="story", low=0, high=99, step=1, whole=True, help="Which story it reads."), 42),
        "layer": (Slider(label="layer", low=1, high=most, step=1, whole=True, help="From the input up."), 1),
        "head": (Slider(label="head", low=1, high=most, step=1, whole=True, help="Which head of this layer."), 1),
    })  # fmt: skip


def _strongest(weights: torch.Tensor, words: list[str]) -> str:
    """The three strongest looks at an earlier token that is not the first one, in words."""
    far = weights.tril(-2).clone()
    far[:, 0] = 0  # the begin token is where a head looks that has nothing to look for
    places = far.flatten().topk(3).indices.tolist()
    looks = [(place // len(words), place % len(words)) for place in places]
    return "Strongest: " + ", ".join(f"“{words[i]}” at “{words[j]}” ({weights[i, j]:.2f})" for i, j in looks) + "."


def embedding_panel(models: Models) -> Explorer:
    """The embeddings of words by kind, in the two directions in which they differ most."""

    def draw(*, model, kinds):
        shown = KINDS if kinds == "all" else {kind: KINDS[kind] for kind in kinds.split(" and ")}
        words = sum(shown.values(), ())
        groups = [kind for kind, group in shown.items() for _ in group]
        plane, share = principal_plane(rows_of(chosen(models, model), words))
        spec = figures.points(plane[:, 0].numpy(), plane[:, 1].numpy(), words, groups=groups, title="Token embeddings",
                              x_title="first principal component", y_title="second principal component")  # fmt: skip
        spec["layout"]["height"] = 520
        left_out = _label_(spec, label_sides(plane, words))
        summary = f"This plane holds {share:.0%} of how these embeddings differ."
        if left_out:
            summary += f" Labels without room are left out ({left_out}): point at a mark to read its word."
        return Shown(figures=[spec], summary=summary)

    options = ("all", "she and he", "colour and object", "object and place", "feeling and colour")
    return Explorer(draw, title="Words as points", controls={
        "model": (Choice(label="model", options=tuple(models), help="Whose embeddings."), next(iter(models))),
        "kinds": (Choice(label="words", options=options, help="Which kinds of words."), "all"),
    })  # fmt: skip


def principal_plane(table: torch.Tensor) -> tuple[torch.Tensor, float]:
    """Rows (words, width) in their two principal directions, (words, 2), and the share of the variance there."""
    centred = table - table.mean(0)
    u, s, _ = torch.linalg.svd(centred, full_matrices=False)
    return u[:, :2] * s[:2], float((s[:2] ** 2).sum() / (s**2).sum())


WIDE, HIGH = 760, 370  # pixels of the plane at the least
SIDES = {"top center": (0, 1), "bottom center": (0, -1), "middle right": (1, 0), "middle left": (-1, 0),
         "top right": (1, 1), "top left": (-1, 1), "bottom right": (1, -1), "bottom left": (-1, -1)}  # fmt: skip


def label_sides(plane: torch.Tensor, words: list[str]) -> list[str | None]:
    """Where each word's label stands beside its mark so that no two meet; None for a word without room."""
    low, high = plane.min(0).values, plane.max(0).values
    marks = ((plane - low) / (high - low).clamp(min=1e-9) * torch.tensor([WIDE, HIGH])).tolist()
    taken, sides = [(x, y, 5, 5) for x, y in marks], []  # centre, half the width, half the height
    for (x, y), word in zip(marks, words, strict=True):
        wide, high = 3.4 * len(word), 6
        free = {}
        for side, (right, up) in SIDES.items():
            box = (x + right * (wide + 7), y + up * 13, wide, high)
            if all(abs(box[0] - b[0]) >= wide + b[2] or abs(box[1] - b[1]) >= high + b[3] for b in taken):
                free[side] = box
        sides.append(next(iter(free), None))
        taken += list(free.values())[:1]
    return sides


def _label_(spec: dict, sides: list[str | None]) -> int:
    """Moves the labels of a picture of points to these sides, and returns how many stay away."""
    rest = iter(sides)
    for group in spec["data"]:
        places = [next(rest) for _ in group["text"]]
        group |= {"hovertext": group["text"], "hoverinfo": "text",
                  "text": [word if place else "" for word, place in zip(group["text"], places, strict=True)],
                  "textposition": [place or "top center" for place in places]}  # fmt: skip
    return sides.count(None)
