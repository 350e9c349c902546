"""No test touches a learner's own models. Notebooks under nbval: each runs as for a learner who has done nothing yet,
and its cost is one item more."""

import os
import tempfile

import pytest
from nbval.plugin import IPyNbCell

from tools.costs import cost_of, over_budget

PROGRESS = pytest.StashKey[str]()


class NotebookBudget(pytest.Item):
    """Fails where a notebook's kernel took more time or memory than a notebook may."""

    def runtest(self):
        cost = cost_of(self.parent.kernel.km.provisioner.pid)
        self.user_properties.append(("cost", f"{self.path.name}: {cost}"))
        too_much = over_budget(cost)
        if too_much:
            pytest.fail("; ".join(too_much), pytrace=False)

    def reportinfo(self):
        return self.path, 0, self.name


def pytest_configure(config):
    folder = tempfile.TemporaryDirectory()
    config.add_cleanup(folder.cleanup)
    config.stash[PROGRESS] = folder.name
    os.environ["COURSE_MODELS"] = f"{folder.name}/models"


@pytest.hookimpl(tryfirst=True)  # the kernel takes these over where it starts, in its first cell's set-up
def pytest_runtest_setup(item):
    if isinstance(item, IPyNbCell):
        os.environ["COURSE_PROGRESS"] = f"{item.config.stash[PROGRESS]}/{item.path.stem}.json"
        os.environ["COURSE_MODELS"] = f"{item.config.stash[PROGRESS]}/{item.path.stem}"
        os.environ["COURSE_STRICT"] = "1"


def pytest_collection_modifyitems(items):
    # After a notebook's last cell its kernel still runs, so no notebook has to run a second time.
    for position, item in reversed(list(enumerate(items))):
        is_last = position + 1 == len(items) or items[position + 1].parent is not item.parent
        if isinstance(item, IPyNbCell) and is_last:
            items.insert(position + 1, NotebookBudget.from_parent(item.parent, name="budget"))


def pytest_terminal_summary(terminalreporter):
    for report in terminalreporter.getreports("passed") + terminalreporter.getreports("failed"):
        for name, value in report.user_properties:
            if name == "cost":
                terminalreporter.write_line(value)
