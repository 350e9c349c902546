"""Every notebook, as it is stored. Whether a fresh run gives the same outputs, and at what cost, nbval finds out."""

import json
import re
import subprocess
import sys
from collections import Counter

import nbformat
import pytest

from tools import build_notebooks as builder
from tools import minutes

ROOT = builder.NOTEBOOKS.parent
NOTEBOOKS = sorted(builder.NOTEBOOKS.glob("*.ipynb"))
IGNORED = ("nbval-ignore-output", "nbval-check-output", "nbval-skip", "nbval-raises-exception", "raises-exception",
           "pytest-validate-ignore-output")
LINES, SOLUTION_LINES = 15, 30  # a cell that is read, and one that is folded


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request):
    return nbformat.read(request.param, as_version=4)


def code(notebook):
    """Every code cell with something in it, with its number."""
    return [(index, cell) for index, cell in enumerate(notebook.cells)
            if cell.cell_type == "code" and cell.source.strip()]


def test_there_are_notebooks_and_a_start_page():
    assert builder.NOTEBOOKS / "00_start_here.ipynb" in NOTEBOOKS


def test_notebooks_and_their_sources_have_the_same_cells():
    assert builder.check(builder.NOTEBOOKS) == []


def test_every_cell_was_run_in_order(notebook):
    assert [cell.execution_count for _, cell in code(notebook)] == list(range(1, len(code(notebook)) + 1))


def test_outputs_were_not_stripped(notebook):
    assert any(cell.outputs for _, cell in code(notebook))
    for index, cell in code(notebook):
        assert cell.outputs or "print(" not in cell.source, f"cell {index} prints and stores nothing"


def test_no_cell_is_left_out_of_the_comparison(notebook):
    for index, cell in code(notebook):
        assert not set(cell.metadata.get("tags", [])) & set(IGNORED), f"cell {index}"
        marks = [line.lstrip("# ").lower().replace("_", "-") for line in cell.source.splitlines()]
        assert not set(marks) & set(IGNORED), f"cell {index}"


def test_every_claim_holds(notebook):
    # nbval compares a run with what is stored: a failed claim that was stored would pass there.
    for index, cell in code(notebook):
        assert "✗" not in json.dumps(cell.outputs, ensure_ascii=False), f"cell {index}"


def test_a_picture_comes_with_words_and_no_widget_is_stored(notebook):
    for index, cell in code(notebook):
        for output in cell.outputs:
            shown = output.get("data", {})
            assert builder.WIDGET_VIEW not in shown, f"cell {index}"
            assert "image/png" not in shown or shown["text/plain"].strip(), f"cell {index}"
    assert "widgets" not in notebook.metadata


def test_cells_are_short(notebook):
    for index, cell in code(notebook):
        folded = cell.metadata.get("jupyter", {}).get("source_hidden", False)
        most = SOLUTION_LINES if folded else LINES
        assert len(cell.source.splitlines()) <= most, f"cell {index}: at most {most} lines"


@pytest.mark.parametrize("name", ["00_start_here", "01_pretraining"])
def test_two_claims_a_section_are_in_sight(name):
    claims = Counter()
    for section, cell in minutes.in_sight(nbformat.read(builder.NOTEBOOKS / f"{name}.ipynb", as_version=4)):
        claims[section] += len(re.findall(r"^claim\(", cell.source, re.MULTILINE))
    assert claims.total() > 0 and {section: count for section, count in claims.items() if count > 2} == {}


def test_links_lead_somewhere(notebook):
    for index, cell in enumerate(notebook.cells):
        for target in links(cell.source if cell.cell_type == "markdown" else ""):
            assert (builder.NOTEBOOKS / target).exists(), f"cell {index}: {target}"


@pytest.mark.parametrize("path", sorted(ROOT.glob("*.md")) + sorted((ROOT / "docs").glob("*.md")),
                         ids=lambda path: path.name)
def test_links_between_documents_lead_somewhere(path):
    assert [target for target in links(path.read_text()) if not (path.parent / target).exists()] == []


def links(text):
    """The files that a markdown text links to, or shows."""
    return [target for target in re.findall(r"\]\(([^)#\s]+)", text) if "://" not in target]


# --- the comparison itself ----------------------------------------------------------------------------------------


def nbval(folder, *arguments):
    """Run nbval on a folder as `make test` does; what it printed."""
    command = [sys.executable, "-m", "pytest", "-p", "conftest", "-p", "no:cacheprovider", "--rootdir", folder,
               "--nbval", "--nbval-current-env", "--nbval-sanitize-with", "tests/nbval_sanitize.cfg", folder]
    done = subprocess.run([*map(str, command), *arguments], cwd=ROOT, capture_output=True, text=True)
    return done.stdout


def test_a_changed_output_fails_nobodys_progress_is_touched_and_a_notebooks_cost_is_told(tmp_path):
    cells = [nbformat.v4.new_code_cell("print(1 + 1)", execution_count=1,
                                       outputs=[nbformat.v4.new_output("stream", name="stdout", text="3\n")])]
    cells[0:0] = [nbformat.v4.new_code_cell("import os; [os.environ[f'COURSE_{name}'].count('wrong') for name in "
                                            "('PROGRESS', 'MODELS')]",
                                            execution_count=1, outputs=[nbformat.v4.new_output(
                                                "execute_result", data={"text/plain": "[1, 1]"}, execution_count=1)])]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "wrong.ipynb")
    printed = nbval(tmp_path)
    assert "Cell outputs differ" in printed
    assert "1 failed, 2 passed" in printed
    assert "wrong.ipynb: " in printed and " MB" in printed


def test_a_notebook_over_its_budget_fails(tmp_path):
    cells = [nbformat.v4.new_code_cell("held = bytearray(750_000_000)", execution_count=1)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "large.ipynb")
    printed = nbval(tmp_path)
    assert "MB where 700 MB are allowed" in printed
    assert "1 failed, 1 passed" in printed


@pytest.mark.parametrize("path", minutes.SOURCES, ids=lambda path: path.stem)
def test_a_notebook_and_the_readme_state_the_time_that_is_counted(path):
    told = "`python -m tools.minutes` counts a notebook's minutes: write them there"
    first, readme = path.read_text().split("# %%")[1], (ROOT / "README.md").read_text()
    states = r"\*\*Time:\*\* (\d+) minutes(?:, or (\d+) for sections (\d[\d, and to]*\d))?"
    whole, short, sections = re.search(states, first).groups()
    assert int(whole) == minutes.stated(path), told
    assert re.search(rf"\({re.escape(f'notebooks/{path.stem}.ipynb')}\).* \| {whole} min \|", readme), told
    if short:
        named = [int(number) for number in re.findall(r"\d+", sections)]
        named = list(range(named[0], named[1] + 1)) if " to " in sections else named
        assert int(short) == minutes.stated(path, named), told
        row = f"| {path.stem[:2]} | sections {sections.replace(' and', ',')}: {short} min |"
        assert row in readme, told


def test_time_is_counted_by_words_cells_predictions_exercises_and_panels(tmp_path):
    source = tmp_path / "source.py"
    words = " ".join(["word"] * 150)
    source.write_text(f"# %% [markdown]\n# ## 1. First\n# {words}\n\n# %%\npredict('a')\ncheck('b', c)\n\n"
                      "# %% jupyter={\"source_hidden\": true}\ncheck('b', d)\n\n# %% [markdown]\n# ## 2. Next\n\n"
                      "# %%\nTrainingPanel(x)\n")  # fmt: skip
    assert minutes.counted(source) == {"1. First": pytest.approx(1 + 2 / 150 + 0.5 + 0.5 + 8),
                                       "2. Next": pytest.approx(2 / 150 + 0.5 + 4)}  # fmt: skip
