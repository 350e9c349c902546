"""A file chooser for the learner's own data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import anywidget
import traitlets


class FilePicker(anywidget.AnyWidget):
    """Lets the learner choose a file, and calls ``on_file(name, content)`` with its bytes.

    A file above ``limit`` bytes is refused in the browser, before it is read: ``on_refused(text)`` says so.
    """

    _esm = Path(__file__).with_suffix(".js")
    label = traitlets.Unicode().tag(sync=True)
    limit = traitlets.Int().tag(sync=True)

    def __init__(
        self,
        *,
        label: str,
        limit: int,
        on_file: Callable[[str, bytes], None],
        on_refused: Callable[[str], None],
    ):
        super().__init__(label=label, limit=limit)
        self._on_file, self._on_refused = on_file, on_refused
        self.on_msg(self._receive)

    def _receive(self, _widget, content, buffers) -> None:
        if content["type"] == "file":
            self.send({"type": "taken"})
            self._on_file(content["name"], bytes(buffers[0]))
        else:
            self._on_refused(content["text"])
