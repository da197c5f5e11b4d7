"""What every page of the report does: open its plan, read what it needs, and add tables and figures to its folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import matplotlib.pyplot as plt
import pandas as pd
from IPython.display import display

from diffens_core import check_parameters
from diffens_core.evaluation.evaluate import TRUTH

from .contents import PAGES
from .plan import Evaluation, Plan, open_plan
from .tables import ORDER, Table, in_order
from .volumes import Gallery
from .write import write_figure, write_table


@dataclass(frozen=True)
class OpenPage:
    """A page whose notebook runs. name: as in `PAGES`."""

    name: str
    plan: Plan

    @property
    def needs(self) -> Callable[[Evaluation], bool]:
        """Which evaluations it reads."""
        return PAGES[self.name].needs

    @cached_property
    def _reports(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        return self.plan.read(self.needs)

    @property
    def metrics(self) -> pd.DataFrame:
        """Of its evaluations, as `Plan.read` returns them."""
        return self._reports[0]

    @property
    def costs(self) -> pd.DataFrame:
        """Of its evaluations, as `Plan.read` returns them."""
        return self._reports[1]

    @property
    def about(self) -> str:
        """One line on what its tables are of."""
        return self.plan.about(self.costs)

    def galleries(self, among: Sequence[str] = ORDER, second: bool = False) -> dict[str, Gallery]:
        """By task, the translations by the methods `among` those that it reads, in this order."""
        read = {(one.task, one.method) for one in self.plan.needed(self.needs)}
        found = {task: [method for method in among if (task, method) in read] for task in in_order(t for t, _ in read)}
        return {task: Gallery(self.plan, task, names, second) for task, names in found.items() if set(names) - {TRUTH}}

    def add_table(self, name: str, table: Table) -> None:
        """Show a table and write its files."""
        write_table(*table, self.plan.folder(self.name) / name)
        display(table[1])

    def add_figure(self, name: str, figure: plt.Figure) -> None:
        """Write the files of a figure, which the notebook shows by itself."""
        write_figure(figure, self.plan.folder(self.name) / name)


def open_page(name: str, preset: str, settings: str, data: str, runs: str) -> OpenPage:
    """A page with the plan that the parameters of its notebook describe, which are checked."""
    check_parameters()
    return OpenPage(name, open_plan(preset, settings, data=data, runs=runs))
