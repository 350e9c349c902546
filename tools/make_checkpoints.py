"""Make the checkpoints that the course ships: `python -m tools.make_checkpoints`, about two minutes."""

from __future__ import annotations

from chapters.distillation import digits
from chapters.stories import held_out_loss, story_recipe
from course_utils import checkpoint, data, training

SEED = 0
CARD_STORIES = 2000  # held-out stories that the card's loss is measured on


def story_gpt(what="a GPT pretrained on the course's story language", **settings):
    """The story GPT of notebook 01, after the steps that its first panel makes."""
    run = training.finish(story_recipe(measured=False, **settings).start(SEED))
    loss, floor = held_out_loss(run.model, stories=CARD_STORIES), data.stories_entropy()
    card = {
        "what": what,
        "data": "20,000 stories, `course_utils.data.stories(20_000, seed=0)`",
        "training": f"{run.step_count} steps of 16 stories, AdamW, learning rate {run.start_knobs['lr']:g}, "
        "cosine after 50 steps of warmup",
        "seed": SEED,
        "held-out loss": f"{loss:.4f} nats per token, on {CARD_STORIES:,} stories",
        "floor": f"{floor:.4f} nats per token, the entropy of the language",
        "use": "notebooks of this course; it knows nothing but the story language",
        "made by": "`python -m tools.make_checkpoints`",
    }
    return run.model, card


def story_teacher():
    """The teacher of notebook 03: twice the layers of the story GPT, trained for longer."""
    return story_gpt("a GPT of 4 layers on the course's story language, a teacher", layers=4, steps=1500)


def digit_teacher():
    """The teacher of notebook 03's digits."""
    run = training.finish(digits.teacher_recipe().start(SEED))
    split = digits.digits()
    loss = training.default_loss(run.model.to("cpu").eval(), (split.test_images, split.test_labels)).item()
    card = {
        "what": "a multilayer perceptron that names handwritten digits, a teacher",
        "data": "1,257 of the 8x8 digits that come with scikit-learn, `course_utils.data.digits_split(0)`, each "
        "moved by up to one pixel",
        "training": f"{run.step_count} steps of {digits.BATCH} images, AdamW, learning rate {run.start_knobs['lr']:g}, "
        "cosine after 20 steps of warmup",
        "seed": SEED,
        "held-out loss": f"{loss:.4f} nats per image, on 540 images",
        "held-out accuracy": f"{digits.accuracy(run.model):.4f}, on the same images",
        "use": "notebooks of this course",
        "made by": "`python -m tools.make_checkpoints`",
    }
    return run.model, card


CHECKPOINTS = {"story_gpt": story_gpt, "story_teacher": story_teacher, "digit_teacher": digit_teacher}


def main() -> None:
    for name, make in CHECKPOINTS.items():
        print(f"{name}: training ...", flush=True)
        model, card = make()
        path = checkpoint.save(model, checkpoint.SHIPPED / name, card=card)
        print(f"{name}: written to {path.relative_to(checkpoint.SHIPPED.parent.parent)}, {card['held-out loss']}")


if __name__ == "__main__":
    main()
