# %% [markdown]
# # 01 Pretraining
#
# A model learns a language by guessing the next word of plain text, again and again. In this notebook you train one
# from nothing, find out what it learns first, how far from perfect it is, and use it.
#
# **Time:** 90 minutes, or 25 for sections 1, 2 and 8. **Know first:** Python, and roughly what a neural network and a
# gradient are. [00 Start here](00_start_here.ipynb) shows how the panels work.
#
# After this notebook you can
#
# - predict a language model's loss before it has seen anything, and name the levels below it,
# - say what a model learns early and what late, and read both off its curves,
# - sample from a model with temperature and top-k, save it and load it,
# - train a model on a text of your own,
# - write the next-token loss, the bigram level, and sampling with temperature.

# %%
import math
import tempfile
from pathlib import Path

import torch

from course_utils import checkpoint, data, pretraining, runtime, training
from course_utils.exercises.pretraining import check
from course_utils.lesson import Question, claim, predict, quiz, recall
from course_utils.panels.stories import guesser_panel, prompt_panel, story_panel
from course_utils.panels.texts import TextPanel

# %% [markdown]
# ## 1. A model that has never seen text
#
# The course has a language of its own: short English stories, made by a small grammar. Here are two.

# %%
for story in data.stories(2, seed=4):
    print(story, end="\n\n")

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
    options=["about 0", "about ln 116 = 4.75", "about 116"],
)

# %% [markdown]
# Play the part of the model. Below, the story is cut off and somebody guesses the next token. The orange bar is the
# token that really comes. Move through the story, and let each of the three guess: one that knows nothing, one that
# knows how frequent each token is, and one that has also counted which token follows which.

# %%
guesser_panel({"a trained GPT": lambda: checkpoint.load("story_gpt")})

# %%
recall(
    "first-loss",
    answer="about ln 116 = 4.75",
    because="with random weights, every token gets about the same probability, 1/116, and −ln(1/116) = ln 116.",
)

# %% [markdown]
# ### The ladder
#
# Each of the guessers has a loss that can be computed exactly, because we wrote the grammar and so know the
# probability of every story:
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
first = [pretraining.story_recipe(measured=False).start(seed).step() for seed in range(10)]
claim("before training, the loss is within 10 % of ln V (10 seeds)",
      all(abs(loss / levels["ln V"] - 1) < 0.1 for loss in first), highest=max(first))

tokenizer, stories = data.StoryTokenizer(), data.stories(5000, seed=99)
tokens = sum(len(tokenizer.encode(story)) + 1 for story in stories)  # and the end of each story
own = -sum(data.story_log_prob(story) for story in stories) / tokens
claim("on 5,000 stories, the grammar's own loss is within 1 % of the floor",
      abs(own / levels["floor"] - 1) < 0.01, loss=own)

# %% [markdown]
# ### Exercise: the next-token loss
#
# `logits` has one row for each token of a text: row i was computed after reading tokens 0 to i. Return the mean loss in
# nats over all tokens but the first, which nobody had to predict.

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
counts = pretraining.bigram_counts(pretraining.story_pool(20_000))
counted = float(bigram_level_solution(counts))
claim("counted on 20,000 stories, the bigram level is within 1 % of the exact one",
      abs(counted / levels["bigram"] - 1) < 0.01, counted=counted)

# %% [markdown]
# ## 2. Pretrain one, live
#
# Now a real one: a GPT with two layers, 64 numbers for each token, four heads, and about 110,000 weights. Each step, it
# reads 16 stories, and **AdamW** moves every weight a little so that the loss on these stories falls.
#
# The right-hand picture splits up what it gets right on **held-out** stories, which it never trains on:
#
# - **syntax**: places where only one kind of word can come, such as a noun after *red*,
# - **he or she**: the pronoun fits the name,
# - **which coloured thing**, **which place**: it remembers what was said earlier,
# - **which feeling**: it follows from what happened.

# %%
predict(
    "what-first",
    "What does it learn last?",
    options=["syntax", "he or she", "which feeling", "which thing, and where"],
)

# %%
panel = story_panel(
    title="Pretrain a GPT on stories",
    settings=["width", "layers", "heads", "context"],
    knobs=["lr", "weight_decay", "batch_size"],
    seeds=True,
)
panel

# %% [markdown]
# Things to try, once a run has finished. Pin it first, so that you can compare.
#
# 1. **Context 8.** The model sees only 8 tokens of a story. Which curves suffer, and which do not?
# 2. **Width 16, then 128.** Watch the loss and the steps per second.
# 3. **One layer.** Look at the coloured thing and the place.
# 4. **Three runs** side by side. How far apart are their curves? A smaller gap between two settings says nothing.

# %%
recall(
    "what-first",
    answer="which thing, and where",
    because="the frequent and near comes first: syntax needs two words of context and is needed in every sentence. "
    "The place must be found dozens of tokens back, and a mistake there costs only a few tokens of loss.",
)

# %% [markdown]
# Read the loss curve with the ladder. The first 50 steps take it below the unigram level and to the bigram level. What
# comes after is learned from far back, and it shows in the accuracy curves one after the other. The last tenth of a
# nat takes most of the time, and holds the facts: a loss that looks flat can hide that the model still learns what
# matters most.

# %%
begin = pretraining.story_recipe(steps=100, horizon=1000)
early = [training.finish(begin.start(seed)).history for seed in range(3)]
at_end = {name: [run[name].last for run in early] for name in ("syntax", "thing", "place")}
claim("after 100 steps, syntax is right in over 90 % of the places (3 seeds)", min(at_end["syntax"]) > 0.9)
claim("and the coloured thing and the place in under 30 % (3 seeds)", max(at_end["thing"] + at_end["place"]) < 0.3)

# %%
gpt = checkpoint.load("story_gpt")  # the same model after 1,000 steps
loss = pretraining.held_out_loss(gpt, stories=2000)
knows = pretraining.evaluate(gpt, runtime.generator(0))
claim("after 1,000 steps, the held-out loss is within 10 % of the floor, and not below it",
      1 < loss / levels["floor"] < 1.1, ratio=loss / levels["floor"])
claim("and it gets the thing and the place right in over 90 %", min(knows["thing"], knows["place"]) > 0.9)

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
    "At which temperature does the trained model write the most stories without a mistake?",
    options=["0", "0.5", "1", "2"],
)

# %%
prompt_panel({
    "after 1,000 steps": lambda: checkpoint.load("story_gpt"),
    "your model of section 2": lambda: panel.model,
})

# %% [markdown]
# A word that the language does not have gives an error that names its nearest words: try *dragon*. Then try each end of
# the temperature slider, and several seeds.
#
# ### Exercise: sampling with temperature

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

# %%
def right_stories(temperature, stories=200):
    """The share of sampled stories that the grammar could have written, and the stories."""
    start = torch.full((stories, 1), tokenizer.begin)
    how = {"temperature": temperature, "generator": runtime.generator(0), "stop": tokenizer.end}
    written = [tokenizer.decode(row) for row in pretraining.sample(gpt, start, steps=63, **how)]
    return sum(map(data.grammatical, written)) / stories, written


share = {temperature: right_stories(temperature) for temperature in (0.0, 0.5, 1.0, 2.0)}
claim("at temperature 0.5, over 90 % of 200 stories are flawless", share[0.5][0] > 0.9)
claim("at temperature 1, fewer than 90 %: 2 % above the floor still is a mistake in many a story", share[1.0][0] < 0.9)
claim("at temperature 2, fewer than 10 %", share[2.0][0] < 0.1)
claim("at temperature 0, it writes one single story", len(set(share[0.0][1])) == 1)
learned = set(data.stories(20_000))
claim("none of the 400 stories at 0.5 and 1 stands among the 20,000 that it learned from",
      not learned.intersection(share[0.5][1] + share[1.0][1]))

# %% [markdown]
# The catch is temperature 0. Always taking the likeliest token gives one story, and the same one each time. It may even
# contain what cannot happen: look for a person in it who comes and asks themselves. The likeliest next word at each
# place does not make the likeliest story.

# %%
recall(
    "coldest",
    answer="0.5",
    because="a low temperature cuts off the many unlikely tokens, each a small chance of a mistake, and still leaves "
    "many stories. At 0 there is one story, and whether that one is right is a matter of luck.",
)

# %% [markdown]
# ### Save it, load it
#
# A checkpoint holds the weights as `safetensors`, a format that can only contain numbers: nothing in it is executed
# when it is loaded, unlike a pickle file. Beside it stands a **model card** that says where the weights come from.

# %%
folder = Path(tempfile.mkdtemp())
saved = checkpoint.save(gpt, folder / "mine", card={"data": "the course's stories", "made by": "me"})
again = checkpoint.load(saved)
prompt = torch.tensor([[tokenizer.begin, *tokenizer.encode("Anna has a")]])
claim("a loaded model gives exactly the same logits", torch.equal(again(prompt)[0], gpt(prompt)[0]))

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
real = TextPanel()
real

# %%
run = pretraining.text_recipe(data.manual_text(), steps=200).start(0)
training.finish(run)
claim("after 200 steps on the manual, the held-out loss is below the unigram level",
      run.history["held-out"].last < run.history.levels["unigram"])

# %% [markdown]
# ## What you can do now
#
# - Predict a language model's loss before training: ln V. Name the ladder: ln V, unigram, bigram, floor.
# - Say what is learned when: syntax first, facts from far back last, at the end of a curve that looks flat.
# - Sample with temperature and top-k, save and load a checkpoint, and train on your own text.
# - Write the next-token loss, the bigram level, and sampling with temperature.

# %%
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
        "what depends on words far back": "Yes, and it is worth only a few hundredths of the loss.",
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
# architecture this is). Eldan and Li 2023, *TinyStories* (small models that write fluently if the language is narrow).
# Shannon 1951, *Prediction and Entropy of Printed English* (people play the part of the model).
#
# **Next:** the course map in [00 Start here](00_start_here.ipynb) shows what there is.
