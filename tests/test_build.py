"""The notebook builder, on a small notebook of its own."""

import io
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from PIL import Image

from course_utils import figures
from tools import build_notebooks as builder
from tools import picture
from tools.costs import BUDGET, Cost, over_budget

ROOT = Path(__file__).resolve().parent.parent
SOURCE = """\
# %% [markdown]
# # A title
# and a sentence.
# %%
import os

class Panel:
    def __repr__(self):
        return "a panel at rest"

    def _repr_mimebundle_(self, include=None, exclude=None):
        bundle = {"text/plain": repr(self), "application/vnd.jupyter.widget-view+json": {"model_id": "0"}}
        if os.environ.get("COURSE_PICTURES") == "1":
            bundle["image/png"] = "aGVsbG8="
        return bundle

Panel()
# %%
print("one")
print("two")
# %% jupyter={"source_hidden": true} tags=["solution"]
answer = 42
# %%
print("one")
print("two")
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("notebooks")
    (folder / "src").mkdir()
    (folder / "src" / "00_sample.py").write_text(SOURCE)
    cost = builder.build(folder / "src" / "00_sample.py", folder / "00_sample.ipynb")
    return folder, cost, nbformat.read(folder / "00_sample.ipynb", as_version=4)


def run(source):
    """A notebook of one code cell, run and tidied."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
    builder.run_(notebook, folder=builder.NOTEBOOKS.parent)
    builder.tidy_(notebook)
    return notebook


def test_a_built_notebook_has_its_sources_cells_and_their_outputs(built):
    folder, _, notebook = built
    assert [cell.cell_type for cell in notebook.cells] == ["markdown", "code", "code", "code", "code"]
    assert notebook.cells[0].source == "# A title\nand a sentence."
    assert [cell.execution_count for cell in notebook.cells[1:]] == [1, 2, 3, 4]
    assert [output.text for output in notebook.cells[2].outputs] == ["one\ntwo\n"]
    assert builder.check(folder) == []


def test_a_panel_is_stored_as_text_and_a_picture(built):
    [output] = built[2].cells[1].outputs
    assert dict(output.data) == {"text/plain": "a panel at rest", "image/png": "aGVsbG8="}


def test_a_solution_is_stored_folded(built):
    assert built[2].cells[3].metadata == {"jupyter": {"source_hidden": True}, "tags": ["solution"]}


def test_a_cell_that_says_an_answer_is_stored_folded(tmp_path):
    (tmp_path / "00_sample.py").write_text("# %%\nrecall('x', answer='a')\n\n# %%\nquiz('y', [])\n\n# %%\nprint(1)\n\n"
                                          "# %% [markdown]\n# #### More evidence\n\n# %%\nprint(2)\n")
    folded = [dict(cell.metadata) for cell in builder.read_source(tmp_path / "00_sample.py").cells]
    hidden = {"jupyter": {"source_hidden": True}}
    assert folded == [hidden, hidden, {}, {"jp-MarkdownHeadingCollapsed": True}, {}]


def test_nothing_that_differs_from_machine_to_machine_is_stored_beside_the_outputs(built):
    notebook = built[2]
    assert notebook.metadata == builder.NOTEBOOK_METADATA
    assert all(cell.metadata.keys() <= {"jupyter", "tags", "slideshow"} for cell in notebook.cells)


def test_a_notebook_is_built_for_a_learner_who_has_done_nothing(monkeypatch):
    monkeypatch.setenv("COURSE_PROGRESS", "mine.json")
    monkeypatch.setenv("COURSE_MODELS", "mine")
    notebook = run("import os; print(*('mine' in os.environ[f'COURSE_{name}'] for name in ('PROGRESS', 'MODELS')), "
                   "os.environ['COURSE_STRICT'])")  # fmt: skip
    assert notebook.cells[0].outputs[0].text == "False False 1\n"


def test_the_cost_is_that_of_a_real_kernel(built):
    cost = built[1]
    assert 0.1 < cost.seconds < 60
    assert 20 < cost.megabytes < 500


def test_a_cost_is_over_budget_only_above_it():
    assert over_budget(BUDGET) == []
    slow, large = over_budget(Cost(seconds=121, megabytes=701))
    assert "121 s where 120 s are allowed" in slow
    assert "701 MB where 700 MB are allowed" in large


def test_ids_follow_the_text_and_not_the_position(tmp_path):
    before, after = tmp_path / "before.py", tmp_path / "after.py"
    before.write_text(SOURCE)
    after.write_text("# %%\nprint('new')\n" + SOURCE)
    ids = [cell.id for cell in builder.read_source(before).cells]
    assert [cell.id for cell in builder.read_source(before).cells] == ids
    assert [cell.id for cell in builder.read_source(after).cells][1:] == ids
    assert len(set(ids)) == len(ids), "two cells with the same text need two ids"


@pytest.mark.parametrize(("change", "said"), [
    (lambda cells: cells[2].update(source="print('three')"), "cell 2: its source differs"),
    (lambda cells: cells[3].update(metadata={}), "cell 3: its metadata differs"),
    (lambda cells: cells[1].update(id="another"), "cell 1: its id differs"),
    (lambda cells: cells.pop(), "4 cells, its source has 5"),
])
def test_an_edited_notebook_is_told_from_its_source(built, change, said):
    folder, _, notebook = built
    edited = nbformat.from_dict(notebook)
    change(edited.cells)
    [line] = builder.differences(builder.read_source(folder / "src" / "00_sample.py"), edited)
    assert said in line


def test_a_source_without_notebook_and_a_notebook_without_source_are_named(tmp_path):
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "01_new.py").write_text("# %%\n1\n")
    nbformat.write(nbformat.v4.new_notebook(), tmp_path / "02_old.ipynb")
    assert builder.check(tmp_path) == ["01_new: has a source and no notebook",
                                       "02_old: has a notebook and no source"]


def test_a_cell_that_fails_is_shown_with_its_traceback():
    with pytest.raises(builder.BuildError, match=r"(?s)cell 0 failed.*1 / 0.*ZeroDivisionError"):
        run("1 / 0")


def test_a_section_is_a_slide_and_a_picture_has_its_words_for_those_who_do_not_see_it(tmp_path):
    source = tmp_path / "src" / "00_sample.py"
    source.parent.mkdir()
    panel = """
from course_utils import figures
from course_utils.live import Explorer, Shown, Slider
line = figures.Series(name="x", x=[0.0, 1.0], y=[0.0, 1.0])
Explorer(lambda power: Shown(figures=[figures.lines([line], title="A", x_title="x", y_title="y")]), title="Powers",
         controls={"power": (Slider(label="power", help="How bent.", low=1, high=5), 2.0)})"""
    cells = ["# %% [markdown]\n# # A title", f"# %%{panel}", "# %% [markdown]\n# ## A section", "# %%\nprint(1)"]
    source.write_text("\n".join(cells))
    builder.build(source, tmp_path / "00_sample.ipynb")
    for kind in ("html", "slides"):
        command = [sys.executable, "-m", "nbconvert", "--to", kind, "--output-dir", str(tmp_path)]
        subprocess.run([*command, str(tmp_path / "00_sample.ipynb")], cwd=ROOT, check=True, capture_output=True)
    page, slides = (tmp_path / name for name in ("00_sample.html", "00_sample.slides.html"))
    assert 'alt="Powers: a live panel. Controls: power.' in page.read_text()
    assert "No description has been provided" not in page.read_text() and "(Shift+Enter)" in page.read_text()
    assert slides.read_text().count("<section><section>") == 2


def test_warnings_are_not_stored():
    with pytest.raises(builder.BuildError, match=r"(?s)cell 0 wrote to stderr.*take care"):
        run("import warnings; warnings.warn('take care')")


def test_a_kind_of_output_that_nobody_compares_is_refused():
    with pytest.raises(builder.BuildError, match="cell 0 shows application/json"):
        run("from IPython.display import JSON; JSON({})")


def test_a_failed_build_leaves_the_old_notebook(tmp_path):
    source, target = tmp_path / "a.py", tmp_path / "a.ipynb"
    source.write_text("# %%\nraise ValueError('no')\n")
    target.write_text("the old one")
    with pytest.raises(builder.BuildError):
        builder.build(source, target)
    assert target.read_text() == "the old one"


def test_a_change_of_text_keeps_the_outputs_and_a_change_of_code_is_refused(built, tmp_path):
    folder, _, notebook = built
    source, target = tmp_path / "a.py", tmp_path / "a.ipynb"
    target.write_bytes((folder / "00_sample.ipynb").read_bytes())
    source.write_text(SOURCE.replace("and a sentence", "and another sentence"))
    builder.take_over_text(source, target)
    after = nbformat.read(target, as_version=4)
    assert after.cells[0].source == "# A title\nand another sentence."
    assert after.cells[1:] == notebook.cells[1:]
    source.write_text(SOURCE.replace("42", "43"))
    with pytest.raises(builder.BuildError, match="its code has changed"):
        builder.take_over_text(source, target)
    assert nbformat.read(target, as_version=4) == after


# --- pictures -----------------------------------------------------------------------------------------------------

BARS = figures.bars(["a", "b"], [1, 2], title="t", x_title="x", y_title="y")


@pytest.fixture
def browsers(monkeypatch):
    """Stand-ins for browsers, in the order they were opened; as many of the first ones fail as is said."""
    opened = []

    class Browser:
        failing = 0

        def __init__(self):
            self.open = True
            opened.append(self)

        def draw(self, figure, options):
            if len(opened) <= Browser.failing:
                raise TimeoutError("no answer")
            return b"a picture"

        def close(self):
            self.open = False

    monkeypatch.setattr(picture, "_Browser", Browser)
    monkeypatch.setattr(picture, "_browser", None)
    return Browser, opened


def test_one_browser_draws_all_pictures(browsers):
    _, opened = browsers
    assert [picture._drawn(BARS) for _ in range(5)] == [b"a picture"] * 5
    assert [one.open for one in opened] == [True]


def test_a_picture_that_fails_is_drawn_by_a_new_browser(browsers):
    browser, opened = browsers
    browser.failing = picture.TRIES - 1
    assert picture._drawn(BARS) == b"a picture"
    assert [one.open for one in opened] == [False] * browser.failing + [True]


def test_a_picture_that_always_fails_fails_the_build(browsers):
    browser, opened = browsers
    browser.failing = picture.TRIES
    with pytest.raises(TimeoutError, match="no answer"):
        picture._drawn(BARS)
    assert [one.open for one in opened] == [False] * picture.TRIES


def test_a_text_in_a_picture_is_drawn_letter_by_letter(monkeypatch):
    blank, drawn = io.BytesIO(), []
    Image.new("RGB", (2, 2)).save(blank, "PNG")
    monkeypatch.setattr(picture, "_drawn", lambda spec: drawn.append(spec) or blank.getvalue())
    text = "<b>&'\"$x$"
    picture.png([figures.bars([text, "b"], [1, 2], title=text, x_title="x", y_title="y")], [(text, text)])
    shown = [drawn[0]["data"][0]["x"][0], *(spec["layout"]["title"]["text"] for spec in drawn),
             drawn[1]["layout"]["annotations"][0]["text"]]  # fmt: skip
    assert shown == ["&lt;b&gt;&amp;'\"$x$"] * 4, "the entities that plotly knows, each once"
