"""The studies behind 04_initialization, sections 5 to 10: how models fare from different starts."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from course_utils import training
from course_utils.pretraining import starts
from course_utils.studies.study import Row, Study

# --- scales of embeddings and linear layers (section 5) -------------------------------------------------------------


def scales_points() -> Iterator[Row]:
    """Two sources and two scales: long runs on the stories, short and long ones on the Markov source."""
    base = {"source": "markov", "embedding": 0.1, "linear": 0.125, "lr": starts.LR, "steps": 400}
    for seed in range(5):
        for embedding, linear in itertools.product((0.02, 0.1, 1.0), (0.02, 0.125, 0.5)):
            yield base | {"embedding": embedding, "linear": linear, "seed": seed}
        yield base | {"embedding": 1.0, "linear": 0.02, "lr": 2e-2, "seed": seed}
    for seed, (embedding, linear) in itertools.product(range(4), itertools.product((0.02, 0.1, 1.0), (0.02, 0.125))):
        stories = {"source": "stories", "embedding": embedding, "linear": linear, "steps": 1000}
        yield base | stories | {"seed": seed}
    for seed in range(3):
        yield base | {"embedding": 1.0, "linear": 0.02, "steps": 2000, "seed": seed}


def scales_point(*, source: str, embedding: float, linear: float, lr: float, steps: int, seed: int) -> Row:
    """The first loss, and the loss on rows that nothing trains on: on the way, and at the end."""
    run = starts.scales_recipe(source=source, embedding=embedding, linear=linear, steps=steps).start(seed)
    run.set("lr", lr)
    history = training.finish(run).history
    return {
        "first": float(history.loss[0]),
        "loss": starts.unseen_loss(run.model, source, rows=500),
        "losses": [float(f"{loss:.4g}") for loss in history["held-out"].values],
        "status": run.status,
    }


STUDIES = {
    "scales": Study(scales_points, scales_point),
}
