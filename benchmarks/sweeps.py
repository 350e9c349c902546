"""Many small networks in one pass against one after the other: `python -m benchmarks.sweeps`.

24 networks of 10 layers on the digits, AdamW, one thread: 8 starts, each with 3 seeds, so that 8 networks share their
batches. The two ways take turns, and the median of each is printed.
"""

from __future__ import annotations

import statistics
import time

import torch

from course_utils import data, initialization, runtime, sweeps, training
from course_utils.models import MLP

LAYERS, BATCH, STEPS, ROUNDS = 10, 32, 300, 3
WIDTHS = (16, 32, 64)
GAINS = (0.25, 0.5, 0.75, 1.0, 1.1, 1.2, 1.3, 1.5)
SEEDS = (0, 1, 2)


def seconds(train) -> float:
    start = time.perf_counter()
    train()
    return time.perf_counter() - start


def compare(width: int) -> tuple[float, float]:
    """Milliseconds for a step of all networks: one after the other, in one pass."""
    split = data.digits_split()

    def start(gain: float) -> sweeps.Build:
        sizes = [64, *[width] * (LAYERS - 1), 10]
        return lambda generator: initialization.initialize_(MLP(sizes), "he", generator=generator, gain=gain)

    def batches(generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        rows = torch.randint(len(split.train_images), (BATCH,), generator=generator)
        return split.train_images[rows], split.train_labels[rows]

    networks = [(start(gain), seed) for gain in GAINS for seed in SEEDS]

    def one_by_one() -> None:
        for build, seed in networks:
            training.fit(build, batches, steps=STEPS, lr=1e-3, seed=seed, device="cpu")

    def at_once() -> None:
        builds, seeds = zip(*networks, strict=True)
        sweeps.train_many(builds, batches, steps=STEPS, lr=1e-3, seed=seeds, device="cpu")

    at_once()  # the first pass also loads what torch.func needs
    turns = [(seconds(one_by_one), seconds(at_once)) for _ in range(ROUNDS)]
    return tuple(1000 * statistics.median(way) / STEPS for way in zip(*turns, strict=True))


def main() -> None:
    runtime.use_threads(1)
    print(f"{len(GAINS) * len(SEEDS)} networks of {LAYERS} layers, {BATCH} digits a step, one thread")
    print(f"{'width':>5}  {'one by one':>12}  {'in one pass':>12}  {'faster':>6}")
    for width in WIDTHS:
        alone, together = compare(width)
        print(f"{width:>5}  {alone:>9.1f} ms  {together:>9.1f} ms  {alone / together:>5.1f}x")


if __name__ == "__main__":
    main()
