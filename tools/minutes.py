"""How long a notebook takes a learner, counted and not guessed: `python -m tools.minutes`.

150 words a minute, half a minute for a code cell in sight and for a prediction, 8 minutes for an exercise, 4 for a
panel. Cells that stand folded (solutions, answers, more evidence) are not counted.
"""

from __future__ import annotations

import argparse
import ast
import re
from collections.abc import Collection, Iterator
from pathlib import Path

from nbformat import NotebookNode

from tools.build_notebooks import MORE, NOTEBOOKS, read_source

SOURCES = sorted((NOTEBOOKS / "src").glob("*.py"))
WORDS, CELL, PREDICTION, EXERCISE, PANEL = 150, 0.5, 0.5, 8, 4  # words a minute; minutes for each
STEP = 5  # minutes: what is stated is rounded to these


def counted(path: Path) -> dict[str, float]:
    """Minutes for each section of a notebook's source, by its heading; "" is what stands before the first."""
    minutes = {}
    for section, cell in in_sight(read_source(path)):
        takes = len(re.findall(r"\w+", cell.source)) / WORDS
        if cell.cell_type == "code":
            takes = 0 if cell.metadata.get("jupyter", {}).get("source_hidden") else _code(ast.parse(cell.source))
        minutes[section] = minutes.get(section, 0.0) + takes
    return minutes


def in_sight(notebook: NotebookNode) -> Iterator[tuple[str, NotebookNode]]:
    """Each cell with its section's heading, but for those that are folded under *More evidence*."""
    section, folded = "", False
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and re.search(r"^#", cell.source, re.MULTILINE):
            heading, folded = re.search(r"^## (.*)$", cell.source, re.MULTILINE), cell.source == MORE
            section = heading[1] if heading else section
        if not folded:
            yield section, cell


def stated(path: Path, sections: Collection[int] = ()) -> int:
    """A notebook's minutes, or those of some of its sections, by number: as its first cell and the README give them."""
    chosen = [minutes for section, minutes in counted(path).items()
              if not sections or section.partition(".")[0] in map(str, sections)]  # fmt: skip
    return STEP * round(sum(chosen) / STEP)


def _code(tree: ast.Module) -> float:
    """Minutes for a cell: half a one, and what a learner does in it."""
    called = [ast.unparse(node.func).split(".")[-1] for node in ast.walk(tree) if isinstance(node, ast.Call)]
    panels = sum(name.lower().endswith(("panel", "explorer")) for name in called)
    return CELL + PREDICTION * called.count("predict") + EXERCISE * called.count("check") + PANEL * panels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="such as 01_pretraining; all of them when left out")
    names = parser.parse_args().names
    for path in SOURCES:
        if not names or path.stem in names:
            print(f"{path.stem}: {stated(path)} minutes")
            for section, minutes in counted(path).items():
                print(f"  {minutes:5.1f}  {section or 'before the first section'}")


if __name__ == "__main__":
    main()
