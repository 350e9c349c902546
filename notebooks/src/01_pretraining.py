# %% [markdown]
# # 01 Pretraining
#
# A model learns a language by guessing the next word of plain text, again and again. In this notebook you train one
# from nothing, find out what it learns first, how far from perfect it is, and use it.
#
# **Time:** 145 minutes, or 70 for sections 1, 2 and 8. **Know first:** Python, and roughly what a neural network and a
# gradient are. [00 Start here](00_start_here.ipynb) shows how the panels work.
# *More evidence* is folded: the button below it opens it.
# To begin in the middle, open that section and choose *Run > Run All Above Selected Cell*: sections use what earlier
# ones made.
#
# After this notebook you can
#
# - predict a language model's loss before it has seen anything, and name the levels below it,
# - say what a model learns early and what late, and read both off its curves,
# - choose a learning rate and a schedule, and recognize a bad one,
# - say when more epochs, more parameters or more data pay, and predict a run with a scaling law,
# - look at attention and embeddings, and say what they do and do not show,
# - say what pretraining is good for, and where its head start ends,
# - sample from a model with temperature and top-k, save it and load it, and train on a text of your own,
# - write the next-token loss, the bigram level, the training loop, causal attention, a schedule with warmup, and
#   sampling with temperature.

# %%
import math
import textwrap

import torch

from chapters.pretraining import copying, embeddings, heads
from chapters.pretraining.checks import check
from chapters.pretraining.panel_stories import WRITTEN, guesser_panel
from chapters.pretraining.studies import STUDIES as studies
from chapters.stories import evaluate, held_out_loss, judge_written, story_pool, story_recipe
from course_utils import checkpoint, data, pretraining, runtime, training
from course_utils.lesson import Question, above, claim, interval, predict, quiz, recall, same, written
from course_utils.live import Choice, CurvesView, LossView, TrainingPanel

# %% [markdown]
# ## 1. A model that has never seen text
#
# The course has a language of its own: short English stories, made by a small grammar. Here are two.

# %%
for story in data.stories(2, seed=4):
    print(textwrap.fill(story, 100), end="\n\n")

# %% [markdown]
# A **token** is what the model reads one at a time: here a word or a punctuation mark. A **language model** reads
# tokens and gives each token of its vocabulary a probability of coming next.
#
# Its **loss** on a token is −ln p, where p is the probability that it gave to the token that really came, and its loss
# on a text is the mean over all tokens. The unit is the *nat*. In words: a model with a loss of L nats hesitates as if
# between exp(L) equally likely tokens. A loss of 0 would mean that it always knew.

# %%
predict(
    "first-loss",
    f"The vocabulary has {len(data.STORY_VOCAB)} tokens. What is the loss of a GPT before any training?",
    options=["about 0", "about 1.7", "about 4.75", "about 116"],
)

# %% [markdown]
# Play the part of the model. Below, a story is cut off and somebody guesses the next token. The bars are the ten
# likeliest guesses, and the orange one is the token that really comes. Move through the story, and let each of the four
# guess: one that knows nothing, one that knows how frequent each token is, one that has counted which token follows
# which, and a GPT that has been trained. The line below the picture gives the loss on that token.

# %%
guesser_panel({"a trained GPT": lambda: checkpoint.load("story_gpt")})

# %%
recall(
    "first-loss",
    answer="about 4.75",
    because="with random weights, every token gets about the same probability, 1/116, and −ln(1/116) = ln 116 = 4.75.",
)

# %% [markdown]
# ### The ladder
#
# What the first three guessers lose on average, and the least that anybody can lose, can be computed exactly, because
# we wrote the grammar and so know the probability of every story:
#
# | level | knows | a model at this level |
# |---|---|---|
# | **ln V** | nothing (V tokens, all alike) | has not been trained |
# | **unigram** | how frequent each token is | writes words in no order |
# | **bigram** | the token before | writes pieces of sentences |
# | **floor** | the whole grammar, with all that was said before | cannot be improved |
#
# The floor is the **entropy** of the language: the uncertainty that is really there. Nobody can know whether Anna's
# ball will be red or blue. For English nobody knows the floor. Here we do, so we can say how far from perfect a model
# is.

# %%
levels = data.ladder()
for name, level in levels.items():
    print(f"{name:8} {level:.2f} nats: as if between {math.exp(level):6.1f} tokens")

# %%
first = [story_recipe(measured=False).start(seed).step() for seed in range(10)]
claim("before training, the loss is within 10 % of ln V (10 seeds)",
      all(abs(loss / levels["ln V"] - 1) < 0.1 for loss in first), highest=max(first))

# %% [markdown]
# #### More evidence

# %%
tokenizer, stories = data.StoryTokenizer(), data.stories(5000, seed=99)
tokens = sum(len(tokenizer.encode(story)) + 1 for story in stories)  # and the end of each story
own = -sum(data.story_log_prob(story) for story in stories) / tokens
claim("on 5,000 stories, the grammar's own loss is within 1 % of the floor",
      abs(own / levels["floor"] - 1) < 0.01, loss=own)

# %% [markdown]
# ### Exercise: the next-token loss
#
# A model's **logits** are its raw scores, one for each token of the vocabulary. The **softmax** turns them into
# probabilities: p = exp(logit) / (sum of all exp(logit)). `logits` has one row for each token of a text: row i was
# computed after reading tokens 0 to i. Return the mean loss in nats over all tokens but the first, which nobody had to
# predict.

# %%
def next_token_loss(logits, tokens):
    """logits: (tokens, vocabulary); tokens: (tokens,) -> a number"""
    ...


check("next-token-loss", next_token_loss)

# %% jupyter={"source_hidden": true} tags=["solution"]
def next_token_loss_solution(logits, tokens):
    log_probabilities = logits[:-1].log_softmax(-1)  # row i predicts token i + 1
    return -log_probabilities.gather(1, tokens[1:, None]).mean()


check("next-token-loss", next_token_loss_solution, solution=True)

# %% [markdown]
# ### Exercise: the bigram level
#
# `counts[a, b]` says how often token b came right after token a. A model that knows just this table predicts b after a
# with the share that b has in row a. Return its mean loss in nats over all the pairs that were counted.

# %%
def bigram_level(counts):
    """counts: (vocabulary, vocabulary) float tensor -> a number"""
    ...


check("bigram-level", bigram_level)

# %% jupyter={"source_hidden": true} tags=["solution"]
def bigram_level_solution(counts):
    chances = counts / counts.sum(1, keepdim=True).clamp(min=1)
    return -torch.xlogy(counts, chances).sum() / counts.sum()  # xlogy(0, 0) is 0: what never came costs nothing


check("bigram-level", bigram_level_solution, solution=True)

# %%
from chapters.pretraining.ngrams import bigram_counts

counts = bigram_counts(story_pool(20_000))
counted = float(written(bigram_level, bigram_level_solution)(counts))
claim("counted on 20,000 stories, the bigram level is within 1 % of the exact one",
      abs(counted / levels["bigram"] - 1) < 0.01, counted=counted)

# %% [markdown]
# ## 2. Pretrain one, live
#
# Now a real one. A **GPT** is a network that predicts the next token. It holds each token as a list of numbers, here
# 64 (its **width**), and passes the lists through **layers**, here two. In each layer a few **heads**, here four, let
# a token look at earlier ones (section 6). All in all there are about 110,000 weights. Each step reads 16 stories, and
# **AdamW**, a kind of gradient descent, moves every weight a little so that the loss on these stories falls.
#
# ### Exercise: the training loop
#
# All training in this course is one loop. For each **batch**, a few stories: compute the loss; let `loss.backward()`
# find each weight's **gradient**, which says how the loss changes with this weight; let `optimizer.step()` move every
# weight against its gradient. `backward` *adds* to the gradients that are there, so `optimizer.zero_grad()` clears them
# first. Here `inputs` are 16 stories, and `targets` the same, one token later: `model(inputs, targets)` returns the
# logits and the mean loss. Return the losses as plain numbers, one a batch.

# %%
def train(model, batches, optimizer):
    """batches: gives (inputs, targets), one batch after another -> a list of numbers; the model is trained"""
    ...


check("training-loop", train)

# %% jupyter={"source_hidden": true} tags=["solution"]
def train_solution(model, batches, optimizer):
    losses = []
    for inputs, targets in batches:
        _, loss = model(inputs, targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


check("training-loop", train_solution, solution=True)

# %% [markdown]
# Here it pretrains a GPT: 100 batches, all at one learning rate. A panel runs this loop and no other. What it adds is
# around it: it can stop between two steps, turn a knob, follow a schedule, and measure.

# %%
recipe, rng = story_recipe(schedule="constant", steps=100, measured=False), training.batch_generator(0)
model = recipe.start(0).model  # random weights: seed 0
batches = [recipe.batches(rng, batch_size=16) for _ in range(100)]
optimizer = torch.optim.AdamW(model.parameters(), lr=0.005, betas=(0.9, 0.95), weight_decay=0)
losses = written(train, train_solution)(model, batches, optimizer)
for step in (1, 10, 50, 100):
    print(f"step {step:3}: loss {losses[step - 1]:.1f}")

panels = training.finish(recipe.start(0)).history.loss
claim("a panel's run from the same seed has the same losses, to 0.1 %",
      all(abs(mine / its - 1) < 0.001 for mine, its in zip(losses, panels, strict=True)))

# %% [markdown]
# Leave out `zero_grad`, or put it between `backward` and `step`, run both cells again, and look at the losses. A wrong
# loop seldom raises an error: it learns badly, or not at all.
#
# ### Watch it learn
#
# In the panel, the second picture splits up what it guesses right on **held-out** stories, which it never trains on:
#
# - **syntax**: places where only one kind of word can come, such as a noun after *red*,
# - **he or she**: the pronoun fits the name,
# - **which coloured thing**, **which place**: it remembers what was said earlier,
# - **which feeling**: it follows from what happened.
#
# The last picture asks the same of 24 stories that the model writes itself: does the pronoun fit the name, is the thing
# the same throughout, is the whole story one that the grammar could have written?

# %%
predict(
    "what-first",
    "What does it learn last?",
    options=["syntax", "he or she", "which feeling", "which thing, and where"],
)

# %%
from functools import partial

from chapters.pretraining.panel_stories import story_by_story
from chapters.stories import ABILITIES, LOSS, SAMPLE, story_panel

panel = story_panel(
    title="Pretrain a GPT on stories",
    loss=partial(story_by_story, next_token_loss),
    recipe=partial(story_recipe, judged=True),
    views=[LOSS, ABILITIES, SAMPLE, WRITTEN],
    settings=["width", "layers", "heads", "context"],
    knobs=["lr", "weight_decay", "batch_size"],
    seeds=True, keep=True,
)  # fmt: skip
panel

# %% [markdown]
# Things to try, once a run has finished. Pin it first, so that you can compare.
#
# 1. **Context 8.** The model now reads and writes only the first 8 tokens of a story. No place and no feeling comes so
#    early, so these curves are missing. Its loss stays far above the floor, which holds for whole stories: the first
#    words are the hardest to guess.
# 2. **Width 16, then 128.** Watch the loss and the steps per second.
# 3. **One layer.** Look at the coloured thing and the place: are two layers needed for them?
# 4. **Three runs** side by side. How far apart are their curves? A smaller gap between two settings says nothing.
# 5. **Keep as mine** stores your model in the folder `my_models` beside this notebook, with a card that says how it was
#    trained and what its held-out loss is. Section 7, and notebook 02, can start from it.

# %%
recall(
    "what-first",
    answer="which thing, and where",
    because="the frequent and near comes first: syntax needs only the last words and is needed in every sentence. "
    "A place must be found far back in the story, and few tokens of a story depend on it.",
)

# %% [markdown]
# Read the loss curve with the ladder. The first 50 steps take it below the unigram level and to the bigram level. What
# comes after is learned from farther back, and shows in the accuracy curves one after the other. The facts, thing and
# place, come late, while the loss falls by a few tenths of a nat. That is a small part of the whole fall from 4.75, and
# it makes the difference between a story that contradicts itself and one that does not.
#
# Compare the two pictures of what is right. After 100 steps the model guesses nearly every place of syntax, one at a
# time, and hardly one of its own stories is whole: a story is a chain of about 50 guesses, and one wrong guess breaks
# it.

# %%
begin = story_recipe(steps=100, horizon=1000)
early = [training.finish(begin.start(seed)) for seed in range(3)]
at_end = {name: [run.history[name].last for run in early] for name in early[0].history.curves}
facts, others = at_end["thing"] + at_end["place"], at_end["pronoun"] + at_end["feeling"]
claim("after 100 steps, syntax is right in over 90 % of the places, the coloured thing and the place in under 30 % "
      "(3 seeds)", min(at_end["syntax"]) > 0.9 and max(facts) < 0.3)

# %% [markdown]
# #### More evidence

# %%
claim("after 100 steps, over 80 % of the loss's fall from ln V to the floor is done (3 seeds)",
      max(at_end["held-out"]) < levels["floor"] + 0.2 * (levels["ln V"] - levels["floor"]))
claim("he or she, and the feeling, are ahead of the thing and the place (3 seeds)", min(others) > max(facts))
made = [judge_written(run.model, runtime.generator(0), stories=100) for run in early]
claim("of 100 stories that each of them writes now, fewer than 5 are whole (3 seeds)",
      max(one["written syntax"] for one in made) < 0.05)
claim("the pronoun is right in more of them than the thing, and than the place (3 seeds)",
      all(one["written pronoun"] > max(one["written thing"], one["written place"]) for one in made))

# %%
gpt = checkpoint.load("story_gpt")  # the same model after 1,000 steps
loss = held_out_loss(gpt, stories=2000)
knows = evaluate(gpt, runtime.generator(0))
claim("after 1,000 steps, the held-out loss is within 10 % of the floor, and not below it",
      1 < loss / levels["floor"] < 1.1, ratio=loss / levels["floor"])
claim("and it gets the thing and the place right in over 90 %", min(knows["thing"], knows["place"]) > 0.9)
whole_now = judge_written(gpt, runtime.generator(0), stories=100)["written syntax"]
claim("of 100 stories that it writes, over half are whole", whole_now > 0.5, share=whole_now)

# %% [markdown]
# ## 3. Learning rate, warmup, schedule
#
# The **learning rate** says how far a step moves the weights. A **schedule** changes it by itself: **warmup** raises it
# from 0 over the first steps, and a **cosine** then lowers it to 0 along half a cosine. The step at which it reaches 0
# is its **horizon**, best set to the last step, says the rule (Hoffmann et al. 2022).
#
# Runs here are short: 400 steps.

# %%
def short_recipe(*, schedule="cosine", warmup=50, horizon=400):
    return story_recipe(steps=400, schedule=schedule, warmup=warmup, horizon=horizon)


predict(
    "horizon",
    "You train 400 steps. With which horizon is the loss lowest at the end?",
    options=["400: the rule", "800: twice too long", "they do not differ"],
)

# %%
story_panel(
    title="Learning rate and schedule",
    recipe=short_recipe,
    settings=["schedule", "warmup", "horizon"],
    views=[LOSS, ABILITIES],
    seeds=True,
)

# %% [markdown]
# 1. Learning rates 0.0003, 0.005 and 0.1: pin each. Too low, about right, and too high look different.
# 2. At 0.02, compare 50 steps of warmup with none. Then the same at 0.005.
# 3. Start at 0.1 and lower it by hand after 100 steps. You are the schedule.
# 4. Type 1e9 into the box beside the learning rate, and see what a run that breaks looks like.
# 5. Compare the horizons 400 and 800, with three runs each.
#
# The claims below use eight or ten seeds for each setting, more than a notebook has time for. These runs are
# **stored**, with the command that makes them, and one of them is run again here. A claim about stored runs begins with
# ● in place of a tick.
#
# In a claim, "lower" means lower on average, by more than chance explains. Take the differences between runs of the
# same seed: their **95 % confidence interval** must lie wholly on one side of 0. The claim shows the mean difference
# and the ends of this interval. "No difference" asks for more than not having seen one: the claim names a margin, and
# the 90 % interval, which it then shows, must lie within it.

# %%
def lr_study(**changes):
    """Final held-out losses of the stored seeds."""
    return studies.column("schedule", "loss", **{"lr": 5e-3, "warmup": 50, "horizon": 400, "steps": 400, **changes})


right, low, high = lr_study(), lr_study(lr=3e-4), lr_study(lr=0.1)
claim("learning rate 0.005 ends lower than 0.0003 and than 0.1", above(low, right) and above(high, right),
      found=[interval(low, right), interval(high, right)], unit="nats")

# %%
pair = right, lr_study(horizon=800)
claim("in 400 steps, horizon 800 ends lower than 400", above(*pair), found=interval(*pair), unit="nats")

# %%
recall(
    "horizon",
    answer="800: twice too long",
    because="in 1,000 steps a horizon of 4,000, four times too long, does end higher. We have not tested why: perhaps "
    "in runs that end long before the model is done, steps at a high rate bring more than a quiet end.",
)

# %% [markdown]
# #### More evidence

# %%
none, warm = lr_study(lr=2e-2, warmup=0), lr_study(lr=2e-2)
claim("at 0.02, 50 steps of warmup end lower than none", above(none, warm), found=interval(none, warm), unit="nats")
none = lr_study(warmup=0)
claim("at 0.005, they make a difference of less than 0.05 nats", same(none, right, within=0.05),
      found=interval(none, right, 0.9), unit="nats")
again = studies.run_point("schedule", lr=5e-3, warmup=50, horizon=400, steps=400, seed=0)["loss"]
claim("one of the stored runs, run now, ends within 0.1 nats of what is stored", abs(again - right[0]) < 0.1)

# %%
pair = [lr_study(steps=1000, horizon=horizon) for horizon in (4000, 1000)]
claim("in 1,000 steps, horizon 1,000 ends lower than 4,000", above(*pair), found=interval(*pair), unit="nats")

# %% [markdown]
# This is a **catch**. The literature says that a cosine longer than the run hurts, and in runs that are nearly done it
# does. Stopped after 400 steps, while the model still learns new abilities, the rule turns round. A rule comes with the
# range in which it was found.
#
# ### Exercise: a cosine with warmup
#
# Return the factor on the learning rate at a step. In the warmup, step 0 gets 1 / warmup and step warmup − 1 gets 1.
# After it, half a cosine falls from 1 to 0 at step `steps`.

# %%
def cosine_warmup(step, steps, warmup):
    """-> a factor between 0 and 1"""
    ...


check("cosine-warmup", cosine_warmup)

# %% jupyter={"source_hidden": true} tags=["solution"]
def cosine_warmup_solution(step, steps, warmup):
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / (steps - warmup)
    return 0.5 * (1 + math.cos(math.pi * progress))


check("cosine-warmup", cosine_warmup_solution, solution=True)

# %% [markdown]
# ## 4. How much data, how often
#
# So far there were 20,000 different stories, and 1,000 steps of 16 stories drew from them 16,000 times. Now we take
# 1,200 steps, 19,200 stories read. What if only 75 are different, each read 256 times? A pass through all the data is
# an **epoch**.

# %%
predict(
    "repeat",
    "Of the 19,200 stories read, how many must differ for a held-out loss within 0.02 nats of all different?",
    options=["75", "1,200", "4,800", "only 19,200 will do"],
)

# %%
def repeat_recipe(*, stories=300):
    return story_recipe(stories=stories, steps=1200)


repeated = {"recipe": repeat_recipe, "settings": ["stories"], "views": [LOSS, SAMPLE]}
own = partial(cosine_warmup, steps=1200, warmup=50)
story_panel(title="The same stories again and again", schedule=own, **repeated)

# %% [markdown]
# Train with 300 different stories and pin the run. Then 75, then 4,800.
#
# With 75 and with 300 stories, the training loss falls *below the floor*. This is no miracle: the floor holds for new
# stories, and these the model knows by heart. The held-out loss turns and rises. The distance between the two curves is
# **overfitting**. With 4,800, the two curves stay together.

# %%
def repeats(stories, measured="loss"):
    return studies.column("repeats", measured, stories=stories)


claim("75 stories: the training loss ends below the floor, the held-out loss above the bigram level (3 stored seeds)",
      max(repeats(75, "learned")) < levels["floor"] and min(repeats(75)) > levels["bigram"], stored=True)
claim("samples of a model of 75 stories share spans of over 40 tokens with them, true stories of under 12 (3 stored "
      "seeds)", min(repeats(75, "copied")) > 40 and max(repeats(75, "control")) < 12, stored=True)
for few, more in ((75, 300), (300, 1200), (1200, 4800), (4800, 19_200)):
    print(f"held-out loss, {few:,} minus {more:,} different stories: {interval(repeats(few), repeats(more))}")

# %%
recall(
    "repeat",
    answer="4,800",
    because="4,800 stories are read four times, and up to about four epochs a repeat is nearly as good as new data "
    "(Muennighoff et al. 2023). At 1,200 stories, 16 epochs, all three stored runs end over 0.06 nats higher.",
)

# %% [markdown]
# Three stored runs of each are enough to see such gaps, and too few for a claim: the last cell prints the differences
# with their intervals, and claims nothing about them.

# %% [markdown]
# ## 5. Bigger, longer, more: a scaling law
#
# Large models cost millions, so people first train small ones and extrapolate. They fit (Hoffmann et al. 2022):
#
# $$L(N, D) = E + \frac{A}{N^\alpha} + \frac{B}{D^\beta}$$
#
# In words: above a floor E, the loss falls with a power of the number of parameters N and with a power of the number of
# tokens D. For English, E is itself a guess. Here it is known, and A, B, α and β are fitted. The points below are 48
# stored runs: four widths, four amounts of data, three seeds, every story read once. Both axes are logarithmic, and a
# power law is then a straight line until its other term takes over.

# %%
from chapters.pretraining.panel_scaling import scaling_panel
from chapters.pretraining.scaling import fit_scaling_law

rows = studies.stored("scaling")
fitted = [row for row in rows if row["width"] <= 64]
parameters, tokens, losses = ([row[name] for row in fitted] for name in ("parameters", "tokens", "loss"))
law = fit_scaling_law(parameters, tokens, losses, floor=levels["floor"])
scaling_panel(law, fitted)

# %%
predict(
    "law",
    "A model of width 96 has 240,000 parameters. 2,400 steps read 1.9 million tokens. Both are more than in any run of "
    "the fit. Type them into the boxes. Where will the real loss be, against the range that the law gives?",
    options=["within the range", "above it", "below it"],
)

# %%
outside = [row for row in rows if row["width"] == 96]
low, high = law.interval(outside[0]["parameters"], outside[0]["tokens"])
claim("the larger and longer run, not used in the fit, ends within the predicted range (3 stored seeds)",
      all(low < row["loss"] < high for row in outside), stored=True, low=low, high=high)
wide = (high - law.floor) / (low - law.floor)
claim("but the upper end of this range is over 5 times as far above the floor as the lower end", wide > 5, stored=True,
      factor=wide)

# %% [markdown]
# This is the second **catch**. The hit proves little, because the range is wide. A law fitted to the three smaller
# widths misses the next one altogether. And the misses are not chance: all seeds miss on the same side. A sum of two
# powers falls smoothly. Our language has a handful of abilities, each learned at its moment (section 2), and the loss
# falls in steps. Width 64 has learned all of them after 1,600 steps, and width 32 has not.
#
# So do not read the fitted powers as laws of nature. And one more thing is not controlled: all widths share one
# learning rate. A small model may want a larger one, and then some of the gap between sizes is really a gap between
# learning rates.
#
# Check a point yourself. The panel reads 20,000 stories in random order, where the stored runs read each story once.

# %%
def sized_recipe(*, width=32, steps=400):
    return story_recipe(width=width, steps=steps)


sized = {"recipe": sized_recipe, "settings": ["width", "steps"], "views": [LOSS, ABILITIES]}
story_panel(title="One point of the law, live", **sized)

# %%
recall(
    "law",
    answer="within the range",
    because="the range is so wide that a hit is easy: near the floor, small differences are large factors.",
)

# %% [markdown]
# #### More evidence

# %%
narrow = [row for row in fitted if row["width"] <= 32]
small = fit_scaling_law(*([row[name] for row in narrow] for name in ("parameters", "tokens", "loss")),
                                    floor=levels["floor"])
largest = [row for row in fitted if row["width"] == 64 and row["steps"] == 1600]
claim("a law fitted to widths up to 32 misses width 64 with 1,600 steps: all end below its range (3 stored seeds)",
      all(row["loss"] < small.interval(row["parameters"], row["tokens"])[0] for row in largest), stored=True)
misses = {}
for row in fitted:
    misses.setdefault((row["width"], row["steps"]), []).append(row["loss"] > law.loss(row["parameters"], row["tokens"]))
claim("at 14 or more of the 16 points, the three seeds lie on the same side of the law",
      sum(len(set(sides)) == 1 for sides in misses.values()) >= 14, stored=True)
claim("R² of ln(L − E) is over 0.8, but less than 0.95", 0.8 < law.r_squared < 0.95, stored=True,
      r_squared=law.r_squared)

# %% [markdown]
# ## 6. What is inside
#
# **Attention** is how a token looks at earlier ones. Each head of each layer has its own map: a row for each token that
# looks, bright where it looks. Read down the left side for the story. In some stories a place comes twice, and the
# second time the model can know it: at *the*, which comes just before. In layer 1, find the head that looks from there
# back to the place, and another one that looks back to the object.

# %%
from chapters.pretraining.panel_inside import attention_panel, embedding_panel
from chapters.stories import ability_accuracy

models = {"after 1,000 steps": lambda: checkpoint.load("story_gpt"), "your model of section 2": lambda: panel.model}
attention_panel(models)

# %% [markdown]
# A map shows where a head looks, and not whether the model needs it. To find out, silence the head, and measure what
# the model can still do.

# %%
rows, targets = story_pool(200, 1_000_003)  # held-out stories
looks = heads.looks_at_answer(gpt, rows, targets)["place"]  # (layers, heads)
with torch.no_grad():
    whole, silenced = (ability_accuracy(model(rows, targets)[0], rows, targets)
                       for model in (gpt, heads.without_head(gpt, 1, 3)))
lost = {name: whole[name] - silenced[name] for name in whole}
claim("without this head, the model gets over 50 points fewer places right", lost["place"] > 0.5)

# %% [markdown]
# That head is the one for places. Not every head is so clear. Silence each head of layer 2 in turn, and nothing much
# happens, although their maps show patterns, too.

# %% [markdown]
# The **embedding** of a token is its row of 64 numbers at the input. The panel shows them in the plane in which they
# differ most. Nobody told the model which words are names, and for whom one says *he*. Choose *she and he* to see only
# the names.

# %%
embedding_panel(models)

# %% [markdown]
# A plane shows two of 64 directions. The claims below use all 64, and hold although some kinds overlap in the picture.

# %% [markdown]
# #### More evidence

# %%
claim("where a place comes again, head 3 of layer 1 puts over 90 % of its attention on it", looks[0, 2].item() > 0.9)
claim("and every other ability loses less than 10 points", max(lost[name] for name in lost if name != "place") < 0.1)

# %%
with torch.no_grad():
    without = [ability_accuracy(heads.without_head(gpt, 2, head)(rows, targets)[0], rows, targets)
               for head in (1, 2, 3, 4)]
claim("without any one head of layer 2, no ability loses more than 5 points",
      max(whole[name] - one[name] for one in without for name in one) < 0.05)

# %%
untrained = [story_recipe(measured=False).start(seed).model for seed in range(10)]
claim("for over 90 % of 62 words, the word with the nearest embedding is of the same kind",
      embeddings.nearest_is_of_kind(gpt) > 0.9)
claim("before training, for under half of them (10 seeds)", max(map(embeddings.nearest_is_of_kind, untrained)) < 0.5)
claim("a name's embedding tells he or she, by the other names, for over 90 % of the names",
      embeddings.pronoun_is_read(gpt) > 0.9)

# %% [markdown]
# ### Exercise: causal attention
#
# In a head, each token has three lists of numbers, computed from what it holds: a **query** q, a **key** k and a
# **value** v. Token i scores token j by the dot product of its query with the other's key, q_i · k_j, divided by the
# root of their size, so that longer lists do not make larger scores. The softmax of its scores, over all j up to i, is
# its attention; no token sees those after it, which it has to predict. What it takes is the mean of the values,
# weighted with its attention.

# %%
def attention(q, k, v):
    """q, k, v: (texts, heads, tokens, size) -> what each token takes: (texts, heads, tokens, size)"""
    ...


check("attention", attention)

# %% jupyter={"source_hidden": true} tags=["solution"]
def attention_solution(q, k, v):
    scores = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5  # (texts, heads, tokens that look, tokens looked at)
    later = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
    return scores.masked_fill(later, -torch.inf).softmax(-1) @ v


check("attention", attention_solution, solution=True)

# %% [markdown]
# Your attention is in each layer of the next panel's model. Afterwards, let it see what comes, and train one layer
# again: it ends at about 0.14 nats, on fresh sequences, too, and cannot copy. It reads what it should predict, and only
# at a sequence's last place, which nothing follows, it must guess: there its loss is over 2 nats. A loss that is too
# good to be true may be this mistake.
#
# ### Copying takes two layers
#
# There are 24 symbols. A sequence has 12 of them in random order, and then pieces of it again: … *k f w a* … *f w* ?
# To go on with *a*, a model must find the earlier *w* and look at what came **after** it.

# %%
predict(
    "layers",
    "How well does a model with one layer copy, if it is made twice as wide instead of twice as deep?",
    options=["as well as two layers", "better than guessing among all 24, far worse than two layers",
             "not better than guessing among all 24"],
)

# %%
TrainingPanel(
    copying.copying_recipe,
    model=partial(copying.attending, attention),
    title="Copying from context",
    settings=["layers", "width"],
    views=[LossView(curves={"loss": "training", "held-out": "fresh sequences"}),
           CurvesView(title="Best head for copying", curves={"induction": "looks at the token after"}, y_range=(0, 1),
                      y_title="attention")],
    controls={"layers": Choice(label="layers", options=(1, 2, 3), help="Attention layers.")},
)

# %% [markdown]
# Train two layers, and pin. Then one layer, then one layer of width 64. The right-hand picture shows, for the head that
# does it best, how much of its attention goes to the token after the earlier one.

# %%
def copied(measured, layers, width):
    return studies.column("copying", measured, layers=layers, width=width)


one = copied("loss", 1, 32) + copied("loss", 1, 64)
claim("one layer, of width 32 or 64, ends above 2.3 nats but below ln 24 = 3.18, two layers below 0.1 (10 stored seeds "
      "each)", 2.3 < min(one) and max(one) < math.log(24) and max(copied("loss", 2, 32)) < 0.1, stored=True)

# %%
recall(
    "layers",
    answer="better than guessing among all 24, far worse than two layers",
    because="it can learn which 12 symbols are in play, and that lowers the loss. What came after a symbol does not "
    "reach it in one layer.",
)

# %% [markdown]
# One attention layer can find the earlier *w*, but not the token after it. With two, the first tells each token what
# stood before it, and the second looks for that: an **induction head** (Olsson et al. 2022).

# %% [markdown]
# #### More evidence

# %%
claim("in each two-layer model, a head puts over 80 % of its attention on the token after (10 stored seeds)",
      min(copied("induction", 2, 32)) > 0.8, stored=True)
falls = [max(a - b for a, b in zip(run, run[2:], strict=False)) / (run[0] - run[-1]) for run in copied("losses", 2, 32)]
claim("over 40 % of the whole fall of the loss comes within 100 of the 800 steps (10 stored seeds)", min(falls) > 0.4,
      stored=True)

# %% [markdown]
# ## 7. Why "pre": the head start
#
# Now a task: a question about a story, answered with one word. The loss counts only at the answer. We train the story
# GPT on it, and the same shape from random weights. *Scratch* means such a random start.

# %%
from chapters.stories import draw_questions, question_recipe

example = draw_questions(1, seed=3)[0]
print(textwrap.fill(f"{example.story} {example.question}", 100), "->", example.answer)

# %%
predict(
    "head-start",
    "The pretrained model gets 100 examples. How many does a random start need to answer as many questions right?",
    options=["about 100", "between 300 and 1,000", "about 10,000"],
)

# %%
from chapters.stories import CONTROLS

TrainingPanel(
    question_recipe,
    title="Questions about stories",
    settings=["start", "examples", "steps"],
    views=[CurvesView(title="Questions answered right", curves={"accuracy": "held-out questions"}, y_range=(0, 1.02),
                      y_title="share"), LossView(title="Loss on the answers")],
    controls=CONTROLS | {"steps": Choice(label="steps", options=(300, 1500), help="How long it trains.")},
    seeds=True,
)

# %% [markdown]
# Train, pin, and choose *scratch*. Then compare the two with 30 and with 3,000 examples. Last, give scratch 3,000
# examples and 1,500 steps.

# %%
def answered(start, examples, steps=300):
    return studies.column("head_start", "accuracy", start=start, examples=examples, steps=steps)


counts = (30, 100, 300, 1000)
pretrained, scratch = ({count: answered(start, count) for count in counts} for start in ("pretrained", "scratch"))
claim("with 30, 100, 300 and 1,000 examples, the pretrained model answers more questions",
      all(above(pretrained[n], scratch[n]) for n in counts),
      found=[interval(pretrained[n], scratch[n]) for n in counts], unit="points")

# %%
pair = pretrained[30], scratch[100]
claim("pretrained with 30 examples beats scratch with 100", above(*pair), found=interval(*pair), unit="points")

# %% [markdown]
# Pretraining is paid for once, and can be used for many tasks that have few examples. Given enough examples and time, a
# random start comes within two points here (He, Girshick and Dollár 2019 found the same for images). What else may
# change in a pretrained model, and what it forgets, is the subject of fine-tuning.

# %%
recall(
    "head-start",
    answer="between 300 and 1,000",
    because="the head start is worth a factor of 3 to 10 there. It depends on the task, and with enough examples and "
    "steps it ends.",
)

# %% [markdown]
# #### More evidence

# %%
pairs = (pretrained[100], scratch[300]), (scratch[1000], pretrained[100])
claim("pretrained with 100 examples lies between scratch with 300 and with 1,000", all(above(*pair) for pair in pairs),
      found=[interval(*pair) for pair in pairs], unit="points")
claim("with 3,000 examples and five times the steps, scratch answers over 98 %, too (3 stored seeds)",
      min(answered("scratch", 3000, steps=1500)) > 0.98, stored=True)

# %% [markdown]
# ## 8. Use it
#
# A model that predicts can write: draw the next token from its probabilities, append it, and ask again.
#
# - **Temperature** T divides the logits before the softmax: p ∝ exp(logit / T). In words: below 1 the likely gets
#   likelier, above 1 all gets more alike, and at 0 the likeliest token is always taken.
# - **Top-k** lets only the k likeliest tokens be drawn.

# %%
predict(
    "coldest",
    "You draw 200 stories at each temperature. At which one do you get the largest number of different stories that "
    "have no mistake?",
    options=["0", "0.5", "1", "2"],
)

# %%
from chapters.pretraining.panel_stories import prompt_panel

prompt_panel({
    "after 1,000 steps": lambda: checkpoint.load("story_gpt"),
    "your model of section 2": lambda: panel.model,
})

# %% [markdown]
# 1. Try *dragon*: a word that the language does not have gives an error that names its nearest words.
# 2. Try each end of the temperature slider, and several seeds. The heading says whether the grammar could have written
#    the story.
# 3. At temperature 3, try top-k 8, 3 and 1. With 1, the temperature no longer matters.
# 4. *Anna has a red ball. She takes the green ball to the park. Max asks: What colour is the ball? She says: It is*
#    Which colour does it believe?
#
# ### Exercise: sampling with temperature
#
# Return one token drawn at a temperature above 0. (At 0 you would divide by zero.)

# %%
def sample_token(logits, temperature, generator):
    """logits: (vocabulary,) -> the number of one token, drawn with this generator (see `torch.multinomial`)"""
    ...


check("sample-token", sample_token)

# %% jupyter={"source_hidden": true} tags=["solution"]
def sample_token_solution(logits, temperature, generator):
    chances = (logits / temperature).softmax(-1)
    return torch.multinomial(chances, 1, generator=generator).item()


check("sample-token", sample_token_solution, solution=True)

# %% [markdown]
# Here a story is written with it, token by token, at temperature 0.5.

# %%
draw = written(sample_token, sample_token_solution)
tokens, dice = [tokenizer.begin], runtime.generator(0)
with torch.no_grad():
    while tokens[-1] != tokenizer.end and len(tokens) < 64:
        logits = gpt(torch.tensor([tokens]))[0][0, -1]  # (vocabulary,)
        tokens.append(draw(logits, 0.5, dice))
print(textwrap.fill(tokenizer.decode(tokens), 100))

# %%
def right_stories(temperature, stories=200):
    """The share of sampled stories that the grammar could have written, and the stories."""
    start = torch.full((stories, 1), tokenizer.begin)
    how = {"steps": 63, "temperature": temperature, "generator": runtime.generator(0), "stop": tokenizer.end}
    written = [tokenizer.decode(row) for row in pretraining.sample(gpt, start, **how)]
    return sum(map(data.grammatical, written)) / stories, written


share = {temperature: right_stories(temperature) for temperature in (0.0, 0.5, 1.0, 2.0)}

# %%
flawless = {temperature: sum(map(data.grammatical, set(made))) for temperature, (_, made) in share.items()}
claim("0.5 gives the largest number of different flawless stories", max(flawless, key=flawless.get) == 0.5)

# %% [markdown]
# The catch is temperature 0. It writes one story, the same each time, and that story may contain what cannot happen:
# look for a person who asks herself a question. The likeliest next word at each place does not make the likeliest
# story.

# %%
recall(
    "coldest",
    answer="0.5",
    because="a low temperature cuts off the many unlikely tokens, each a small chance of a mistake, and still leaves "
    "many stories. At 0 there is one story, and whether that one is right is a matter of luck.",
)

# %% [markdown]
# #### More evidence

# %%
claim("at temperature 0.5, over 85 % of 200 stories are flawless", share[0.5][0] > 0.85)
claim("at temperature 1, over 5 points fewer", share[1.0][0] < share[0.5][0] - 0.05)
claim("at temperature 2, fewer than 10 %", share[2.0][0] < 0.1)
claim("at temperature 0, it writes one single story", len(set(share[0.0][1])) == 1)

# %%
known = set(data.stories(20_000)).intersection(share[0.5][1] + share[1.0][1])
claim("none of the 400 stories at 0.5 and 1 stands among the 20,000 that it learned from", not known)

# %% [markdown]
# ### Save it, load it
#
# A checkpoint holds the weights as `safetensors`, a format that can only contain numbers: nothing in it is executed
# when it is loaded, unlike a pickle file. Beside it stands a **model card** that says where the weights come from.
# This is from the card of the model that you have been using:

# %%
print("\n".join(checkpoint.card("story_gpt").splitlines()[2:9]))

# %% [markdown]
# Now save one, load it, and damage the file.

# %%
import tempfile
from pathlib import Path

folder = Path(tempfile.mkdtemp())
saved = checkpoint.save(gpt, folder / "mine", card={"data": "stories", "made by": "me"})
prompt = torch.tensor([[tokenizer.begin, *tokenizer.encode("Anna has a")]])
claim("a loaded model gives exactly the same logits", torch.equal(checkpoint.load(saved)(prompt)[0], gpt(prompt)[0]))

content = bytearray(saved.read_bytes())
content[-1] ^= 1  # one bit of one weight
saved.write_bytes(content)
try:
    checkpoint.load(saved)
except checkpoint.DamagedCheckpoint as error:
    print(error)

# %% [markdown]
# ### The same on real text
#
# Nothing about this needs our small language. Below, the same GPT reads Python's own manual, character by character.
# Or choose a text file of your own: it stays on this machine. There is a ladder here too, but nobody knows its
# lowest level.

# %%
from chapters.pretraining.panel_texts import TextPanel

real = TextPanel()
real

# %% [markdown]
# #### More evidence

# %%
from chapters.pretraining.characters import manual_text
from chapters.pretraining.texts import text_recipe

run = text_recipe(manual_text(), steps=200).start(0)
training.finish(run)
claim("after 200 steps on the manual, the held-out loss is below the unigram level",
      run.history["held-out"].last < run.history.levels["unigram"])

# %% [markdown]
# ## What you can do now
#
# - Predict a language model's loss before training: ln V. Name the ladder: ln V, unigram, bigram, floor.
# - Say what is learned when: syntax first, facts from far back last, for a small part of the fall of the loss.
# - Choose a learning rate, and say in which range a rule about schedules was found.
# - Say when repeats pay, and what a scaling law predicts and does not.
# - Look at attention and embeddings without believing too much.
# - Say how many examples pretraining saves, and where the head start ends.
# - Sample with temperature and top-k, save and load a checkpoint, and train on your own text.
# - Write the next-token loss, the bigram level, a schedule with warmup, and sampling with temperature.

# %% jupyter={"source_hidden": true}
quiz("pretraining", [
    Question("A model with random weights and a vocabulary of 50,000 tokens has a loss of about", {
        "0": "That would be a model that always knows what comes.",
        "10.8": "Yes: ln 50,000 = 10.8.",
        "50,000": "The loss is the logarithm of how many tokens it hesitates between.",
    }, answer="10.8"),
    Question("A model's held-out loss is 0.48 where the language's entropy is 0.50, on 60 stories. That is", {
        "a model better than perfect": "No model is below the entropy in the long run.",
        "noise": "Yes: 60 stories are few, and may be easier than most.",
        "a sign of memorization": "Held-out stories cannot be memorized: it never saw them.",
    }, answer="noise"),
    Question("What does a model learn last?", {
        "what is frequent": "That comes first: the unigram level is reached within a few steps.",
        "what depends on the word before": "That comes second, with the bigram level.",
        "what depends on words far back": "Yes, and it accounts for only a small part of the whole fall of the loss.",
    }, answer="what depends on words far back"),
    Question("Temperature 0.5", {
        "halves all probabilities": "They still sum to 1.",
        "makes the likely likelier": "Yes: it squares the probabilities and normalizes them again.",
        "halves the vocabulary": "That would be a top-k.",
    }, answer="makes the likely likelier"),
    Question("Pretraining differs from other training in", {
        "its algorithm": "It is the same loop with the same loss.",
        "what comes after it": "Yes: the word says only that the model is trained before it is put to use.",
        "needing no loss": "Its loss is that of the next token.",
    }, answer="what comes after it"),
])

# %% [markdown]
# **Further reading.** Radford et al. 2019, *Language Models are Unsupervised Multitask Learners* (GPT-2, whose
# architecture this is). Hoffmann et al. 2022, *Training Compute-Optimal Large Language Models*. Muennighoff et al.
# 2023, *Scaling Data-Constrained Language Models*. Olsson et al. 2022, *In-context Learning and Induction Heads*. He,
# Girshick and Dollár 2019, *Rethinking ImageNet Pre-training*. Eldan and Li 2023, *TinyStories* (small
# models that write fluently if the language is narrow). Shannon 1951, *Prediction and Entropy of Printed
# English* (people play the part of the model).
#
# **Next:** [02 Fine-tuning](02_fine_tuning.ipynb), where this model learns to answer questions.
