# %% [markdown]
# # 02 Fine-tuning
#
# A model that has been trained already is trained on, for a new task. In this notebook you teach the story GPT to
# answer questions, choose what may move in it, and watch what it forgets meanwhile, and how that can be prevented.
#
# **Time:** 90 minutes, or 40 for sections 1, 3 and 4. **Know first:** what a loss, a learning rate and a GPT's layers
# are: sections 1 to 3 of [01 Pretraining](01_pretraining.ipynb).
#
# After this notebook you can
#
# - fine-tune a model with the loss on the answer only, and say how many examples a pretrained start saves,
# - choose what moves (everything, some layers, biases, LoRA), and say what that costs and gives,
# - write LoRA, merge it, and say what its rank does and does not tell,
# - measure what a model forgets, and read the frontier between new and old,
# - hold on to the old task with replay, L2 to the start or EWC,
# - say when a random head distorts good features, and what to do first,
# - walk between two models by their weights, and average several,
# - recognize a fine-tuning that has failed, or was not worth it.

# %%
import copy
import math

import numpy as np
import torch

from course_utils import checkpoint, data, finetuning, models, pretraining, runtime, studies, training
from course_utils.exercises.finetuning import check
from course_utils.finetuning import questions
from course_utils.lesson import Question, claim, holds, predict, quiz, recall
from course_utils.panels.finetuning import question_panel

# %% [markdown]
# ## 1. Re-training is the same loop from another start
#
# **Fine-tuning** a model means to train it further on something else. **Re-training** is usually another word for it.
# Nothing in the loop changes: batches, a loss, a learning rate. What changes is where the weights start: they come out
# of a checkpoint, and not out of a random generator.
#
# The task: a question about a story, answered with one word. There are four kinds of them.

# %%
for kind in questions.KINDS:
    (asked,) = data.questions(1, seed=7, kinds=[kind])
    print(f"{kind}: {asked.story} {asked.question} → {asked.answer}", end="\n\n")

# %% [markdown]
# ## What you can do now
#
# - Fine-tune with the loss on the answer only, and say how many examples a pretrained start saves.
# - Choose what moves, and say what that costs and gives.
# - Write LoRA, merge it, and say what its rank does and does not tell.
# - Measure what a model forgets, and read the frontier between new and old.
# - Hold on to the old task with replay, L2 to the start or EWC.
# - Say when a random head distorts good features, and what to do first.
# - Walk between two models by their weights, and average several.
# - Recognize a fine-tuning that has failed, or was not worth it.

# %% jupyter={"source_hidden": true}
quiz("fine_tuning", [
    Question("Fine-tuning differs from pretraining in", {
        "its optimizer": "It is the same loop, and usually the same optimizer.",
        "where the weights start": "Yes: they come out of a checkpoint. Data, loss and what may move may differ, too.",
        "needing labels": "The loss here is that of the next token, counted at the answer.",
    }, answer="where the weights start"),
    Question("LoRA with rank 4 on a layer with 64 inputs and 256 outputs trains", {
        "4 × 64 × 256 = 65,536 numbers": "That is four times the matrix itself.",
        "4 × (64 + 256) = 1,280 numbers": "Yes: A is 4 × 64 and B is 256 × 4.",
        "4 numbers": "Each of the four directions needs a row of A and a column of B.",
    }, answer="4 × (64 + 256) = 1,280 numbers"),
    Question("A fine-tuned model answers better, and its loss on the old texts has risen from 0.5 to 2 nats. That is", {
        "overfitting": "Overfitting is a gap between training and held-out examples of the same task.",
        "forgetting": "Yes: the weights have moved to where the old task is worse.",
        "divergence": "The new task is learned, so the training went well.",
    }, answer="forgetting"),
    Question("5 % replay means that", {
        "every twentieth row, on average, comes from the old data": "Yes: the old loss then has a say in each step.",
        "5 % of the weights stay frozen": "Replay is about data. All weights may move.",
        "the last 5 % of the steps are on old data": "The old rows are mixed in from the first step on.",
    }, answer="every twentieth row, on average, comes from the old data"),
    Question("The weights of two models can be averaged with profit if", {
        "both have the same shape": "That is needed, and not enough: two random starts number their units differently.",
        "both have the same accuracy": "Equally good models may lie in different basins.",
        "both were fine-tuned from one start": "Yes: they are still near each other, in one basin.",
    }, answer="both were fine-tuned from one start"),
])

# %% [markdown]
# **Further reading.** Howard and Ruder 2018, *Universal Language Model Fine-tuning for Text Classification*. Yosinski
# et al. 2014, *How transferable are features in deep neural networks?* Hu et al. 2022, *LoRA: Low-Rank Adaptation of
# Large Language Models*. Biderman et al. 2024, *LoRA Learns Less and Forgets Less*. Kirkpatrick et al. 2017,
# *Overcoming catastrophic forgetting in neural networks*. Kumar et al. 2022, *Fine-Tuning can Distort Pretrained
# Features and Underperform Out-of-Distribution*. Wortsman et al. 2022, *Model soups*.
#
# **Next:** the course map in [00 Start here](00_start_here.ipynb) shows what there is.
