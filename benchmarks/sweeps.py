"""Many small networks in one pass against one after the other: `python -m benchmarks.sweeps`.

24 networks of 10 layers on the digits, AdamW, one thread: 8 starts, each with 3 seeds, so that 8 networks share their
batches. The two ways take turns. Of each its fastest round is printed, since other work on the machine can only slow
it down, and the median; and the largest difference between their losses.
"""

from __future__ import annotations

import statistics
import time

import numpy as np
import torch

from course_utils import data, initialization, runtime, sweeps, training
from course_utils.models import MLP

LAYERS, BATCH, STEPS, ROUNDS = 10, 32, 300, 5
FIRST = 20  # steps in which losses are compared: rounding grows from step to step
WIDTHS = (16, 32, 64)
GAINS = (0.25, 0.5, 0.75, 1.0, 1.1, 1.2, 1.3, 1.5)
SEEDS = (0, 1, 2)


def seconds(train) -> float:
    start = time.perf_counter()
    train()
    return time.perf_counter() - start


def compare(width: int) -> tuple[list[float], list[float], float]:
    """Milliseconds for a step, by round: all networks one after the other, in one pass; how far their losses differ."""
    split = data.digits_split()

    def start(gain: float) -> sweeps.Build:
        sizes = [64, *[width] * (LAYERS - 1), 10]
        return lambda generator: initialization.initialize_(MLP(sizes), "he", generator=generator, gain=gain)

    def batches(generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        rows = torch.randint(len(split.train_images), (BATCH,), generator=generator)
        return split.train_images[rows], split.train_labels[rows]

    networks = [(start(gain), seed) for gain in GAINS for seed in SEEDS]

    def one_by_one() -> torch.Tensor:
        losses = [training.fit(build, batches, steps=STEPS, lr=1e-3, seed=seed, device="cpu").loss
                  for build, seed in networks]  # fmt: skip
        return torch.from_numpy(np.stack(losses, axis=1))  # (steps, networks)

    def at_once() -> torch.Tensor:
        builds, seeds = zip(*networks, strict=True)
        return sweeps.train_many(builds, batches, steps=STEPS, lr=1e-3, seed=seeds, device="cpu").losses

    apart = (at_once() - one_by_one()).abs()[:FIRST].max().item()  # the first pass warms up
    turns = [(seconds(one_by_one), seconds(at_once)) for _ in range(ROUNDS)]
    return *([1000 * each / STEPS for each in way] for way in zip(*turns, strict=True)), apart


def main() -> None:
    runtime.use_threads(1)
    print(f"{len(GAINS) * len(SEEDS)} networks of {LAYERS} layers, {BATCH} digits a step, one thread")
    print("| width | | one by one | in one pass | faster | largest difference of a loss |\n|---|---|---|---|---|---|")
    for width in WIDTHS:
        alone, together, apart = compare(width)
        for name, of in {"fastest round": min, "median": statistics.median}.items():
            one, all_, faster = of(alone), of(together), of(alone) / of(together)
            print(f"| {width} | {name} | {one:.1f} ms | {all_:.2f} ms | {faster:.1f}x | {apart:.0e} nats |")


if __name__ == "__main__":
    main()
