"""Build the notebooks: read notebooks/src/*.py, run each in a fresh kernel, write notebooks/*.ipynb.

    python -m tools.build_notebooks                  all of them
    python -m tools.build_notebooks 01_pretraining   one of them
    python -m tools.build_notebooks --text           run nothing, take over text; code must be as it was built
    python -m tools.build_notebooks --check          run nothing, say whether sources and notebooks agree

A source is a Python file in jupytext's percent format. A notebook is written once all its cells have run.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import tempfile
from collections import Counter
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode

from course_utils.live.card import PICTURE
from tools.costs import Cost, cost_of, over_budget
from tools.picture import png
from tools.run_studies import stale

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"  # without a kernel it reads "model not found"
KEPT = ("text/plain", "text/html", "text/markdown", "text/latex", "image/png")
CELL_TIMEOUT = 600  # seconds
ANSWERS = ("recall(", "quiz(")  # their source says what the learner is asked: it is stored folded
MORE = "#### More evidence"  # what stands below such a heading is folded: two claims a section stay in sight
NOTEBOOK_METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


class BuildError(Exception):
    """A notebook that cannot be built, with the cell at fault."""


def read_source(path: Path) -> NotebookNode:
    """The notebook that a percent-format file describes, with stable cell ids and no outputs."""
    notebook = jupytext.read(path, fmt="py:percent")
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    notebook.metadata = nbformat.from_dict(NOTEBOOK_METADATA)
    seen = Counter()
    for cell in notebook.cells:
        cell.metadata.pop("lines_to_next_cell", None)  # jupytext's note on the source's blank lines
        if cell.cell_type == "markdown" and cell.source.startswith(("# ", "## ")):
            cell.metadata["slideshow"] = {"slide_type": "slide"}  # with nbconvert, a section is a slide
        if cell.cell_type == "code" and cell.source.startswith(ANSWERS):
            cell.metadata["jupyter"] = {"source_hidden": True}
        if cell.cell_type == "markdown" and cell.source == MORE:
            cell.metadata["jp-MarkdownHeadingCollapsed"] = True
        cell.id = _cell_id(cell, seen)
    return notebook


def _cell_id(cell: NotebookNode, seen: Counter) -> str:
    # From the text and not from the position: a cell put in the middle leaves all the other ids as they are.
    digest = hashlib.sha256(f"{cell.cell_type}\n{cell.source}".encode()).hexdigest()[:12]
    seen[digest] += 1
    return digest if seen[digest] == 1 else f"{digest}-{seen[digest]}"


def run_(notebook: NotebookNode, *, folder: Path) -> Cost:
    """Run every cell in a fresh kernel, in a folder; the outputs go into the notebook.

    The kernel belongs to a learner who has done nothing yet, raises what a widget's callback raises, is asked for
    pictures of what is live, and refuses stored runs of code that has changed. Raises BuildError for a cell that fails.
    """
    client = NotebookClient(notebook, timeout=CELL_TIMEOUT, resources={"metadata": {"path": str(folder)}},
                            store_widget_state=False, record_timing=False, coalesce_streams=True)
    client.reset_execution_trackers()
    with tempfile.TemporaryDirectory() as empty, client.setup_kernel(env={
            **os.environ, "COURSE_PICTURES": "1", "COURSE_STRICT": "1", "COURSE_PROGRESS": f"{empty}/progress.json",
            "COURSE_MODELS": f"{empty}/models", "COURSE_STALE": ",".join(stale())}):
        for index, cell in enumerate(notebook.cells):
            try:
                client.execute_cell(cell, index)
            except CellExecutionError as error:
                raise BuildError(f"cell {index} failed:\n{error}") from error
        return cost_of(client.km.provisioner.pid)


def tidy_(notebook: NotebookNode) -> None:
    """Keep of the outputs what reads the same everywhere: text and pictures, which are drawn here, and no widgets.

    Raises BuildError for an output that could not be compared with another machine's, such as a warning.
    """
    notebook.metadata = nbformat.from_dict(NOTEBOOK_METADATA)
    for index, cell in enumerate(notebook.cells):
        for output in cell.get("outputs", []):
            _tidy_output_(output, index)


def _tidy_output_(output: NotebookNode, index: int) -> None:
    if output.output_type == "stream":
        if output.name == "stderr":
            raise BuildError(f"cell {index} wrote to stderr, where warnings go; only stdout is stored:\n"
                             f"{output.text}")
        return
    output.data.pop(WIDGET_VIEW, None)
    if PICTURE in output.data:
        output.data["image/png"] = png(*json.loads(output.data.pop(PICTURE)))
        output.metadata["image/png"] = {"alt": output.data["text/plain"]}
    unknown = sorted(set(output.data) - set(KEPT))
    if unknown:
        raise BuildError(f"cell {index} shows {', '.join(unknown)}, a notebook stores only "
                         f"{', '.join(KEPT)}: show a panel, or text")
    output.metadata = nbformat.from_dict(
        {mime: about for mime, about in output.metadata.items() if mime in KEPT})


def differences(source: NotebookNode, built: NotebookNode) -> list[str]:
    """How a built notebook's cells differ from its source's, one line for each; outputs are not looked at."""
    if len(source.cells) != len(built.cells):
        return [f"{len(built.cells)} cells, its source has {len(source.cells)}"]
    found = []
    for index, (wanted, stored) in enumerate(zip(source.cells, built.cells, strict=True)):
        for part in ("cell_type", "source", "metadata", "id"):
            if wanted[part] != stored[part]:
                found.append(f"cell {index}: its {part} differs from the source's")
                break
    return found


def build(source: Path, target: Path) -> Cost:
    """Write one notebook with its outputs and return what running it cost."""
    notebook = read_source(source)
    cost = run_(notebook, folder=target.parent)
    tidy_(notebook)
    nbformat.validate(notebook)
    nbformat.write(notebook, target)
    return cost


def take_over_text(source: Path, target: Path) -> None:
    """Write a notebook again whose text has changed and whose code has not: nothing runs, outputs stay.

    Raises BuildError where a code cell was changed, added or removed.
    """
    notebook, built = read_source(source), nbformat.read(target, as_version=4)
    wanted, stored = ([cell for cell in one.cells if cell.cell_type == "code"] for one in (notebook, built))
    if [cell.source for cell in wanted] != [cell.source for cell in stored]:
        raise BuildError("its code has changed: build it without --text")
    for cell, ran in zip(wanted, stored, strict=True):
        cell.outputs, cell.execution_count = ran.outputs, ran.execution_count
    nbformat.write(notebook, target)


def check(folder: Path) -> list[str]:
    """How a folder's notebooks differ from their sources in its src/; an empty list when they agree."""
    sources = {path.stem: path for path in (folder / "src").glob("*.py")}
    notebooks = {path.stem: path for path in folder.glob("*.ipynb")}
    found = [f"{name}: has a source and no notebook" for name in sorted(sources.keys() - notebooks.keys())]
    found += [f"{name}: has a notebook and no source" for name in sorted(notebooks.keys() - sources.keys())]
    for name in sorted(sources.keys() & notebooks.keys()):
        built = nbformat.read(notebooks[name], as_version=4)
        found += [f"{name}: {line}" for line in differences(read_source(sources[name]), built)]
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description="Build the course's notebooks from notebooks/src.")
    parser.add_argument("names", nargs="*", help="such as 01_pretraining; all of them when left out")
    parser.add_argument("--check", action="store_true", help="run nothing, only compare the cells")
    parser.add_argument("--text", action="store_true", help="run nothing, take over text cells, keep outputs")
    options = parser.parse_args()
    if options.check:
        found = check(NOTEBOOKS)
        print("\n".join(found) or "Every notebook has the cells of its source.")
        return 1 if found else 0

    known = sorted(path.stem for path in (NOTEBOOKS / "src").glob("*.py"))
    unknown = sorted(set(options.names) - set(known))
    if unknown:
        parser.error(f"no source for {', '.join(unknown)}: choose from {', '.join(known)}")
    for name in options.names or known:
        source, target = NOTEBOOKS / "src" / f"{name}.py", NOTEBOOKS / f"{name}.ipynb"
        print(f"{name}: {'taking over its text' if options.text else 'running'} ...", flush=True)
        try:
            cost = take_over_text(source, target) if options.text else build(source, target)
        except BuildError as error:
            print(f"{name} was not built: {error}", file=sys.stderr)
            return 1
        print(f"{name}: written{f', {cost}' if cost else ''}", flush=True)
        for line in over_budget(cost) if cost else ():
            print(f"{name}: over budget: {line}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
