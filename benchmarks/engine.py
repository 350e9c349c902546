"""Our training loop against a plain one and `transformers.Trainer`: `python -m benchmarks.engine`.

A character GPT of 4 layers and width 128, batch 12, context 64, AdamW, one thread. The three take turns, and the
median of each is printed.
"""

from __future__ import annotations

import logging
import statistics
import tempfile
import time

import torch
from torch.utils.data import Dataset

from course_utils import models, runtime, training

VOCABULARY, CONTEXT, BATCH, WIDTH, LAYERS, HEADS = 96, 64, 12, 128, 4, 4
STEPS, ROUNDS = 60, 3
ROWS = torch.randint(VOCABULARY, (STEPS * BATCH, CONTEXT + 1), generator=runtime.generator(0))


def ours() -> float:
    config = models.GPTConfig(vocab_size=VOCABULARY, context=CONTEXT, width=WIDTH, heads=HEADS, layers=LAYERS)
    batches = [(rows[:, :-1], rows[:, 1:]) for rows in ROWS.split(BATCH)]
    run = training.Experiment(model=lambda _: models.GPT(config), batches=batches, steps=STEPS).start(0)
    start = time.perf_counter()
    training.finish(run)
    return STEPS / (time.perf_counter() - start)


def plain() -> float:
    config = models.GPTConfig(vocab_size=VOCABULARY, context=CONTEXT, width=WIDTH, heads=HEADS, layers=LAYERS)
    model = models.GPT(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    start = time.perf_counter()
    for rows in ROWS.split(BATCH):
        _, loss = model(rows[:, :-1], rows[:, 1:])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        loss.item()
    return STEPS / (time.perf_counter() - start)


class Windows(Dataset):
    def __len__(self) -> int:
        return len(ROWS)

    def __getitem__(self, i: int) -> dict:
        return {"input_ids": ROWS[i, :-1], "labels": ROWS[i, :-1]}  # GPT-2 shifts its labels itself


def trainer() -> float:
    from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments

    shape = {"n_positions": CONTEXT, "n_embd": WIDTH, "n_head": HEADS, "n_layer": LAYERS}
    model = GPT2LMHeadModel(GPT2Config(vocab_size=VOCABULARY, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0, **shape))
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder, max_steps=STEPS, per_device_train_batch_size=BATCH, learning_rate=1e-3, report_to="none",
            save_strategy="no", logging_strategy="no", disable_tqdm=True, use_cpu=True,
        )  # fmt: skip
        prepared = Trainer(model=model, args=arguments, train_dataset=Windows())
        start = time.perf_counter()
        prepared.train()
        return STEPS / (time.perf_counter() - start)


def main() -> None:
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    loops = {"this course's loop": ours, "a plain PyTorch loop": plain, "transformers.Trainer": trainer}
    speeds = {name: [] for name in loops}
    for _ in range(ROUNDS):
        for name, loop in loops.items():
            speeds[name].append(loop())
    print("| loop | steps/s (median) | lowest to highest |\n|---|---|---|")
    for name, found in speeds.items():
        print(f"| {name} | {statistics.median(found):.1f} | {min(found):.1f} to {max(found):.1f} |")


if __name__ == "__main__":
    main()
