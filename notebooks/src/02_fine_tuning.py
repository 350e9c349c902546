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
from course_utils.finetuning import questions, ranks
from course_utils.lesson import Question, claim, holds, predict, quiz, recall
from course_utils.panels import finetuning as panels
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
panels.question_panel(title="Questions about stories", settings=["start", "examples", "counted"], seeds=True)

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
# ### The loss on the answer only
#
# A row of the data holds a story of 30 words or more, a question, and one word of answer. If every word counts, the
# answer has one part in 40 of the loss, and the rest goes into telling these 300 stories by heart. So the targets that
# are not an answer are **masked**: they get the value −100, and the loss leaves them out.
#
# ### Exercise: the loss on the answer only
#
# Return the mean loss in nats over the targets that are not −100. `logits[i, j]` was computed for the target
# `targets[i, j]`: nothing needs to be shifted.

# %%
def masked_loss(logits, targets):
    """logits: (rows, tokens, vocabulary); targets: (rows, tokens), -100 where nothing counts -> a number"""
    ...


check("masked-loss", masked_loss)

# %% jupyter={"source_hidden": true} tags=["solution"]
def masked_loss_solution(logits, targets):
    counted = targets != -100  # (rows, tokens)
    log_p = logits[counted].log_softmax(-1)  # (answers, vocabulary)
    return -log_p.gather(1, targets[counted][:, None]).mean()


check("masked-loss", masked_loss_solution, solution=True)

# %%
def ended(measured, moves="everything", **settings):
    """300 steps on 300 examples: what was measured at the end, seed by seed."""
    return studies.column("what_moves", measured, moves=moves, **settings)


masked, every = (ended("accuracy", lr=2e-3, counted=where) for where in ("the answer", "every word"))
claim("with the loss on the answer only, more questions are answered than with every word (3 stored seeds)",
      holds(masked, every))

# %% [markdown]
# ## 2. What moves?
#
# So far every weight moved. But the model knows the language already. Perhaps it is enough to move a few:
#
# | what moves | trained weights | also called |
# |---|---|---|
# | everything | 119,040 | full fine-tuning |
# | LoRA of rank 4: a small matrix beside each large one (section 3) | 8,192 | |
# | the last layer, which turns 64 numbers into 116 logits | 7,424 | a linear probe |
# | the biases, one number for each unit | 1,472 | BitFit (Ben Zaken et al. 2022) |
#
# (The story GPT reads and writes its words with one and the same matrix. In this notebook the last layer has a copy
# of its own, so that it can move alone. At the start the model answers as before.)

# %%
predict(
    "biases-or-head",
    "Which answers more questions after 300 steps on 300 examples?",
    options=["the last layer: it has five times the weights", "the biases", "they are about equal"],
)

# %%
panels.question_panel(title="What moves", settings=["moves"], seeds=True)

# %% [markdown]
# Run all four, and pin each. Look at the training loss, too: is a bad result a matter of too few examples, or can these
# weights not even fit the examples that they have?
#
# What does it cost? To train a weight takes a gradient and two moments of AdamW, 12 bytes. The next panel counts them.
# Its last item measures how long a step takes on this machine.

# %%
panels.cost_panel(title="What it costs")

# %% [markdown]
# LoRA needs a fourteenth of the memory. It saves no time here: the forward pass is the same and a little more, and to
# reach the first adapter, the backward pass goes through the whole model all the same. The last layer alone is fast,
# since nothing has to go back farther than that.

# %%
answers = {way: ended("accuracy", way, lr=lr, counted="the answer", rank=4)
           for way, lr in (("everything", 2e-3), ("LoRA", 1e-2), ("biases", 2e-2), ("last layer", 1e-2))}
claim("everything answers more questions than the biases, and LoRA does, too (3 stored seeds)",
      all(holds(answers[way], answers["biases"]) for way in ("everything", "LoRA")))
claim("the biases answer more than the last layer, with a fifth of its weights (3 stored seeds)",
      holds(answers["biases"], answers["last layer"]))
claim("the last layer does not even fit its 300 examples: the training loss stays above 1 nat (3 stored seeds)",
      min(ended("trained", "last layer")) > 1)

# %%
recall(
    "biases-or-head",
    answer="the biases",
    because="where weights sit counts for more than how many they are. The last layer can only weigh anew what arrives "
    "there, and the place and the name do not arrive.",
)

# %% [markdown]
# At the question mark, the last block has prepared to say *he* or *she*. The answer is not in these 64 numbers, so no
# last layer can read it off. Biases sit in every block, and change what is looked for. In a sentiment or spam filter a
# linear probe does better: with GPT-2 small, Raschka (*Build a Large Language Model*, chapter 6) gets 72 % right with
# the last layer alone, 95 % with the last block, and 97 % with everything or with LoRA.

# %% [markdown]
# ### Exercise: freeze
#
# In PyTorch, a weight with `requires_grad = False` gets no gradient and stays as it is: it is **frozen**.
# `model.named_parameters()` gives pairs of a name, such as `blocks.0.up.bias`, and a weight. Let exactly the weights
# train whose name ends in `ending`, and return how many numbers these weights have together.

# %%
def freeze_all_but(model, ending):
    """model: any nn.Module; ending: such as "bias" -> a whole number"""
    ...


check("freeze", freeze_all_but)

# %% jupyter={"source_hidden": true} tags=["solution"]
def freeze_all_but_solution(model, ending):
    trained = 0
    for name, weight in model.named_parameters():
        weight.requires_grad = name.endswith(ending)
        if weight.requires_grad:
            trained += weight.numel()
    return trained


check("freeze", freeze_all_but_solution, solution=True)

# %% [markdown]
# ### Freeze from either end
#
# Our GPT has four stages: the embeddings, block 1, block 2, and the last norm with the head. Train the last one, two or
# three, and the rest keeps its pretrained weights. Or train the first ones.

# %%
predict(
    "which-end",
    "You may train two of the four stages. Which two answer more questions?",
    options=["the first two", "the last two", "they are about equal"],
)

# %%
panels.freeze_panel(title="Freeze from either end")

# %%
last, first = ([ended("accuracy", f"{end} stages", stages=n) for n in (1, 2, 3)] for end in ("last", "first"))
claim("from the output, each further stage answers more questions (3 stored seeds)",
      holds(last[1], last[0]) and holds(last[2], last[1]))
claim("the first two stages answer over 30 points more than the last two (3 stored seeds)",
      np.mean(first[1]) - np.mean(last[1]) > 0.3)
claim("and come within 5 points of everything (3 stored seeds)",
      np.mean(answers["everything"]) - np.mean(first[1]) < 0.05)

# %%
recall(
    "which-end",
    answer="the first two",
    because="block 2 knows already how to fetch a place or a name. What is new is when it is asked to, and that is "
    "decided below it.",
)

# %% [markdown]
# This is the second **catch**. Textbooks say: the first layers are general, the last ones belong to the task, so train
# the last ones (Yosinski et al. 2014). Here it is the other way round, because here the *input* is what has changed: a
# question has a new meaning. Lee et al. (2023) put it so: when the input shifts, tune early layers, and when the output
# does, late ones. The same with no more than the embeddings is worth a try in the panel.

# %% [markdown]
# ## 3. LoRA
#
# **LoRA**, low-rank adaptation (Hu et al. 2022), leaves each matrix W as it is and trains an update beside it, which is
# the product of two thin matrices:
#
# $$y = W x + \frac{\alpha}{r} B A x$$
#
# In words: x is also squeezed by A into r numbers, spread out again by B, scaled, and added. A is r × d_in and B is
# d_out × r, so a layer trains r (d_in + d_out) numbers in place of d_in · d_out. The product BA can have no more than
# r directions; r is its **rank**. A starts at random and B at zero, so that at first nothing is added. The scale α/r,
# here 8/r, is meant to let you change r without a new learning rate.
#
# ### Exercise: a LoRA layer
#
# Freeze the given layer, with its bias. Make A and B as `nn.Parameter`, and write the forward pass.

# %%
class LoRALayer(torch.nn.Module):
    """base: an nn.Linear with (d_out, d_in) weights; x: (..., d_in) -> (..., d_out)"""

    def __init__(self, base, rank, alpha):
        super().__init__()
        ...

    def forward(self, x):
        ...


check("lora-layer", LoRALayer)

# %% jupyter={"source_hidden": true} tags=["solution"]
class LoRALayerSolution(torch.nn.Module):
    def __init__(self, base, rank, alpha):
        super().__init__()
        self.base, self.scale = base.requires_grad_(False), alpha / rank
        self.A = torch.nn.Parameter(torch.randn(rank, base.in_features) / base.in_features**0.5)  # (rank, d_in)
        self.B = torch.nn.Parameter(torch.zeros(base.out_features, rank))  # (d_out, rank)

    def forward(self, x):
        return self.base(x) + self.scale * (x @ self.A.T) @ self.B.T  # (..., d_out)


check("lora-layer", LoRALayerSolution, solution=True)

# %%
rows = data.story_rows(data.stories(20, seed=5))[0]
plain, run = (questions.question_recipe(moves=way).start(0) for way in ("everything", "LoRA"))
claim("with B = 0, the logits are exactly those of the pretrained model",
      torch.equal(plain.model(rows)[0], run.model(rows)[0]))
layers = [(64, 192), (64, 64), (64, 256), (256, 64)] * 2  # (d_in, d_out) of each matrix in the two blocks
claim("rank 4 trains exactly 4 (d_in + d_out) numbers in each layer",
      models.count_parameters(run.model, trainable_only=True) == sum(4 * (a + b) for a, b in layers))

run.step()
a, b = ([weight.grad for name, weight in run.model.named_parameters() if name.endswith(end)] for end in (".A", ".B"))
claim("in the first step every B gets a gradient, and no A does",
      all(grad.any() for grad in b) and not any(grad.any() for grad in a))

# %%
while run.step_count < 60:
    run.step()
claim("after 60 steps, merging B A into W changes no probability by more than 1e-5",
      ranks.largest_difference(run.model) < 1e-5)

# %% [markdown]
# To **merge** is to add (α/r) BA to W once, after training. What remains is a plain model of the old size, which
# answers as fast as before.
#
# ### Which rank?
#
# When everything is trained, each matrix moves, too. How many directions does that update have? Its **singular values**
# say how far it goes in each of its directions, largest first. A matrix of rank r has r of them, the others are zero.
# Here is a full fine-tuning, and how many directions hold 90 % of the squares of its singular values.

# %%
predict(
    "full-rank",
    "A matrix of 64 × 192 is trained in full, for 300 steps. How many of the 64 directions hold 90 % of its update?",
    options=["1 to 4", "about 20", "60 or more"],
)

# %%
full = training.finish(questions.question_recipe().start(0)).model
update = ranks.spectra(full)  # matrix -> its singular values
panels.RankPanel(update, title="LoRA's rank beside the full update")

# %% [markdown]
# 1. Start at rank 4, and choose a matrix. LoRA takes few directions, and goes farther in each.
# 2. Pin it, and try ranks 1, 16 and 32. How does the accuracy change, and how the old loss?
# 3. The last line checks that merging changes nothing, while it trains.

# %%
stored = ended("accuracy", lr=2e-3, counted="the answer")[0]
claim("this full fine-tuning is one of the stored runs, and ends within 4 points of it",
      abs(questions.answers(full)["accuracy"] - stored) < 0.04)
needed = [finetuning.rank_for(values, 0.9) for values in update.values()]
claim("six of the eight matrices need over 14 directions for 90 % of the full update, and all over 6",
      sorted(needed)[2] > 14 and min(needed) > 6, fewest=min(needed))
claim("LoRA of rank 4 comes within 5 points of everything all the same (3 stored seeds)",
      np.mean(answers["everything"]) - np.mean(answers["LoRA"]) < 0.05)
by_rank = {rank: ended("accuracy", "LoRA", rank=rank, lr=5e-3) for rank in (1, 4, 16)}
claim("rank 4 answers more than rank 1 (3 stored seeds)", holds(by_rank[4], by_rank[1]))

# %%
recall(
    "full-rank",
    answer="about 20",
    because="each step moves a matrix in the directions of its examples, and 300 steps see many. What it moves along "
    "and what it must move along are two things.",
)

# %% [markdown]
# Biderman et al. (2024) found the same in large models: the full update has a rank 10 to 100 times that of a usual
# LoRA. The **catch** is in the conclusion. The spectrum tells what training did, and not what the task needs: rank 4
# does nearly as well. Its few directions go farther: compare the largest singular values.

# %% [markdown]
# ## 4. The learning rate again, now against forgetting
#
# The story GPT could continue stories. Can it still? Its loss on held-out stories, the **old** loss, was 0.49 nats
# before it learned to answer. What a model loses of an earlier task while it learns another is called **forgetting**.
#
# The meter shows the new loss and the old one, and both against each other: a run begins at the upper left, and goes
# down as it learns and to the right as it forgets. A pinned run leaves the point where it ended. The best points, those
# that no other beats on both, make up the **frontier**: on it, more of one costs some of the other.

# %%
predict(
    "forgets",
    f"300 steps at a learning rate of 0.002. Where does the loss on stories end? (ladder: floor {levels['floor']:.2f}, "
    f"bigram {levels['bigram']:.2f}, unigram {levels['unigram']:.2f})",
    options=["near 0.5: it is still the same language", "near 1", "above the bigram level"],
)

# %%
panels.question_panel(
    title="The forgetting meter",
    recipe=questions.task_recipe,
    settings=["task", "moves", "rank"],
    views=[panels.BOTH, panels.METER],
    seeds=True,
)

# %% [markdown]
# 1. Pin runs with learning rates 0.0005, 0.001, 0.002 and 0.005, and watch the frontier fill.
# 2. Lower the learning rate while it trains, once the new loss is low. Does the old loss come back?
# 3. **What moves: LoRA**, with ranks 1, 4 and 16. Do its points lie to the left of the frontier?
# 4. **New task: letters**, another kind of text in the same words. Does learning it cost as much of the old?

# %% [markdown]
# And here are the ends of 57 stored runs, as means over seeds.

# %%
panels.frontier_panel(studies.stored("what_moves"), title="The frontier, stored runs")

# %%
rates = (2e-4, 5e-4, 1e-3, 2e-3, 5e-3)
old = {lr: ended("old", lr=lr, counted="the answer") for lr in rates}
new = {lr: ended("accuracy", lr=lr, counted="the answer") for lr in rates}
claim("the larger the learning rate, the more is forgotten, over all five (3 stored seeds)",
      all(holds(old[more], old[less]) for less, more in zip(rates, rates[1:], strict=False)))
claim("at 0.002 the old loss ends above the bigram level, and at 0.005 above ln V (3 stored seeds)",
      min(old[2e-3]) > levels["bigram"] and min(old[5e-3]) > levels["ln V"])
claim("0.001 forgets at least half a nat less than 0.002, and answers within 6 points as many (3 stored seeds)",
      np.mean(old[2e-3]) - np.mean(old[1e-3]) > 0.5 and np.mean(new[2e-3]) - np.mean(new[1e-3]) < 0.06)

# %%
for rank, lr in ((1, 5e-4), (16, 1e-3)):
    lora = {name: ended(name, "LoRA", rank=rank, lr=5e-3) for name in ("accuracy", "old")}
    claim(f"LoRA of rank {rank} answers no more than everything at {lr:g}, and forgets more (3 stored seeds)",
          not holds(lora["accuracy"], new[lr]) and holds(lora["old"], old[lr]))

# %%
recall(
    "forgets",
    answer="above the bigram level",
    because="the loss counts at one word of a row. Everywhere else the model may say what it likes, and nothing holds "
    "it where it was.",
)

# %% [markdown]
# A smaller learning rate is the cheapest remedy: a third of the loss in return for a few points of accuracy. Above
# ln V, the fine-tuned model is worse on stories than one that has never seen any. It is sure of an answer everywhere.
#
# The last two claims are a **null result**. *LoRA learns less and forgets less*, says a title (Biderman et al. 2024).
# Here it learns less at rank 1, as they found, and does not forget less: at equal accuracy, moving everything by a
# little costs less of the old than moving a few directions by much. Their runs are longer, and compare at the best
# learning rate of each. It is a reason to draw the frontier for your own task.

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
