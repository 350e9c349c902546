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
from course_utils.panels.forgetting import shift_panel, worlds_panel

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
# The pretrained GPT knows the language of these stories, and who is where. But no story goes on with such an answer:
# after *Where is Lily?*, somebody says something.

# %%
predict(
    "before-the-first-step",
    "Before the first step: what is the pretrained model's loss on the answers?",
    options=["0.5 nats, as on stories", "4.75 = ln 116, as if it knew nothing", "far more than ln 116"],
)

# %%
question_panel(title="Questions about stories", settings=["start", "examples", "counted"], seeds=True)

# %% [markdown]
# Things to try. Pin each run before you change something.
#
# 1. **Start: scratch.** The same questions, the same steps. Which kind of question suffers most?
# 2. **Examples: 30, 100, 1000.** When does scratch catch up, and on which kind last?
# 3. **Loss counts at: every word.** The model is then also trained on the words of the story.

# %%
levels = data.ladder()
first = questions.answers(questions.question_recipe().start(0).model)["new"]
claim("before the first step, the pretrained model's loss on the answers is over twice ln V",
      first > 2 * levels["ln V"], loss=first)
random = [questions.answers(questions.question_recipe(start="scratch").start(seed).model)["new"] for seed in range(5)]
claim("that of a random start is within 10 % of ln V (5 seeds)",
      all(abs(loss / levels["ln V"] - 1) < 0.1 for loss in random), highest=max(random))

# %%
recall(
    "before-the-first-step",
    answer="far more than ln 116",
    because="it is sure that *he says* or *she says* comes, and to be sure of the wrong thing costs more than to know "
    "nothing.",
)

# %% [markdown]
# The first **catch** of this notebook: the start with the worse loss is the better start. A loss says how well the
# present answers fit. It does not say how far the weights have to go. The pretrained model must unlearn one habit, and
# already finds the place, the colour and the name. The random start must learn to find them.

# %%
def answered(start, examples, measured="accuracy"):
    return studies.column("question_start", measured, start=start, examples=examples)


counts = (100, 300, 1000, 3000)
for shown in (30, 100):
    by_seed = zip(answered("pretrained", shown), *(answered("scratch", count) for count in counts), strict=True)
    factors = [questions.examples_needed(reached, counts, scratch) / shown for reached, *scratch in by_seed]
    low = np.mean(factors) - 2 * np.std(factors, ddof=1) / math.sqrt(len(factors))
    claim(f"what {shown} examples give the pretrained model takes scratch over 3 times as many (8 stored seeds)",
          low > 3, factor=np.mean(factors), at_least=low)
late = studies.column("head_start", "accuracy", start="scratch", examples=3000, steps=1500)
claim("with 3,000 examples and five times the steps, scratch gets over 98 % right, too (3 stored seeds)",
      min(late) > 0.98)

# %% [markdown]
# ## 6. A random head distorts good features
#
# Leave the stories for a moment. A network of three layers has looked at 800 handwritten digits of 8 × 8 pixels
# without being told what they are. Each was shown as it is, **moved** by a pixel, **noisy**, and **rotated**, and the
# network learned to paint it as it is. Those are four worlds, and it knows its way in all of them.

# %%
worlds_panel(title="Four worlds")

# %% [markdown]
# Now it shall name digits. Its last layer, the **head**, painted pixels. A new one with ten outputs takes its place,
# with random weights. The layers below stay: what they give to the head are the **features**. There are 400 images
# with labels, all of them as they are. That world is *inside* the training distribution, the other three *outside*.
#
# - A **linear probe** trains the head alone.
# - **Full** fine-tuning trains everything, from the random head on.
# - **Probe, then full** trains the head first, and then everything.

# %%
predict(
    "distort",
    "Which of them names the most digits in the three worlds outside, and which the most inside?",
    options=["full fine-tuning, in both", "the probe outside, full inside", "probe then full, in both",
             "the probe outside, probe then full inside"],
)

# %%
shift_panel(title="Fine-tune in one world, test in four")

# %% [markdown]
# Pin the full run, then choose each of the other methods. Look at step 0, too: where does each curve start? The lower
# picture shows what happens inside. It compares the features of the shifted images with those after pretraining.

# %%
def worlds_of(method, measured, lr=3e-3):
    return studies.column("distortion", measured, method=method, lr=lr)


probe, full, both = ({name: worlds_of(method, name) for name in ("inside", "outside", "drift")}
                     for method in ("probe", "full", "probe then full"))
claim("inside, full fine-tuning beats the probe (10 stored seeds)", holds(full["inside"], probe["inside"]))
claim("outside, it names over 10 points fewer digits than the probe (10 stored seeds)",
      np.mean(probe["outside"]) - np.mean(full["outside"]) > 0.1)
claim("probe then full beats full, inside and outside (10 stored seeds)",
      holds(both["inside"], full["inside"]) and holds(both["outside"], full["outside"]))
claim("and so it does at a third of the learning rate (10 stored seeds)",
      all(holds(worlds_of("probe then full", where, 1e-3), worlds_of("full", where, 1e-3))
          for where in ("inside", "outside")))
claim("full fine-tuning moves the features over twice as far (10 stored seeds)",
      min(full["drift"]) > 2 * max(both["drift"]))
claim("and yet the probe alone stays best outside (10 stored seeds)", holds(probe["outside"], both["outside"]))

# %%
again = studies.run_point("distortion", method="probe then full", examples=400, lr=3e-3, seed=0)
claim("one of the stored runs, run now, ends within 4 points of what is stored",
      abs(again["outside"] - both["outside"][0]) < 0.04)

# %%
recall(
    "distort",
    answer="the probe outside, probe then full inside",
    because="a random head sends random errors down into good features, and only images of the inside world say how "
    "to mend them.",
)

# %% [markdown]
# At the first step the head is random, so its errors are large, and the gradient that goes down through it has a
# random direction. The features turn to fit a head that knows nothing. For images as they are, training mends the
# damage. For moved or noisy images nobody mends it. After a probe the head is good, its errors are small, and the
# features need to move little.
#
# Kumar et al. (2022) found the same for large image models: full fine-tuning gained 2 points inside against a probe
# and lost 7 outside, and probe-then-full was best in both. Ours confirms all of it but the last: outside, the probe
# itself stays ahead. That is a **catch**. Features that already serve all worlds are best left alone, and what a probe
# lacks inside must be weighed against what full fine-tuning loses elsewhere.

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
