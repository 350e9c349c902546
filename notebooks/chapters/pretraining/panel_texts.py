"""The panel that pretrains on real text: Python's manual, or a file of the learner's own."""

from __future__ import annotations

from course_utils.live import LossView, TextView, TrainingPanel

from ..stories import CONTROLS
from .characters import MOST_BYTES, UNKNOWN, CharTokenizer, manual_text, own_text
from .picker import FilePicker
from .texts import text_recipe

VIEWS = (
    LossView(
        title="Loss on real text",
        curves={"loss": "training", "held-out": "held-out"},
        y_title="loss (nats per character)",
    ),
    TextView(title="It writes, from the text's first characters on", name="sample"),
)


def described(text: str) -> str:
    """How long a text is, and what of it a model cannot see."""
    tokenizer = CharTokenizer(text)
    told = f"{len(text):,} characters, {len(set(text)):,} different ones."
    unknown = tokenizer.unknown_share(text)
    if not unknown:
        return told
    share = f"{unknown:.1%}" if unknown >= 0.001 else "less than 0.1%"
    cut = f"the others, {share} of the text, all read as {UNKNOWN}."
    advice = " A text with fewer different characters loses less." if unknown >= 0.02 else ""
    return f"{told} The {len(tokenizer) - 1:,} most frequent are learned; {cut}{advice}"


class TextPanel(TrainingPanel):
    """Trains a character GPT on ``text``. A file that cannot be used is refused, and the present text stays."""

    def __init__(self, *, title: str = "Real text"):
        self.text = manual_text()
        settings = ["width", "layers", "context"]
        super().__init__(self._recipe, title=title, settings=settings, views=VIEWS, controls=CONTROLS)
        self.picker = FilePicker(
            label="A text file of your own (UTF-8):",
            limit=MOST_BYTES,
            on_file=self.guard(self.use),
            on_refused=self.guard(self._refuse),
        )
        sheet, heading, *rest = self.box.children
        self.box.children = [sheet, heading, self.picker, *rest]

    def _recipe(self, *, width: int = 64, layers: int = 2, context: int = 64):
        return text_recipe(self.text, width=width, layers=layers, context=context)

    def use(self, name: str, content: bytes) -> None:
        """Learn from a file's content instead. ValueError, and no change, if it is no text to learn from."""
        text, before = own_text(content), self.text
        self.text = text
        try:
            self.reset()
        except ValueError:
            self.text = before
            raise
        self._note = f"{name}: {described(text)} Press Start."
        self.redraw()

    def _refuse(self, text: str) -> None:
        raise ValueError(text)
