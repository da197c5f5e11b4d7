# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Table S2. Quality and cost at a glance
# Tables 1 and 8 in one narrow table: means of one sample of each subject, and what a method costs, in time of one CPU core.
# Training is that of everything behind a method, each network once; parameters and memory likewise.

# %% tags=["parameters"]
preset: str = "smoke"  # smoke | demo | gpu | paper
data: str = ""  # a prepared data set; empty: embedded phantoms
runs: str = ""  # where trainings are kept; empty: runs/ in the checkout
settings: str = ""  # others in place of those in experiments.yaml, written as for snakemake --config

# %%
from IPython.display import display

from figures.contents import PAGES
from figures.plan import open_plan
from figures.tables import TASKS, overview
from figures.write import write_table

plan = open_plan(preset, settings, data=data, runs=runs)
metrics, costs = plan.read(PAGES["table_s2_overview"].needs)
print(plan.about(costs))

# %%
for task in sorted(set(metrics["task"]), key=list(TASKS).index):
    print(f"Task {task}: {TASKS[task]}")
    numbers, shown = overview(metrics, costs, task)
    write_table(numbers, shown, plan.folder("table_s2_overview") / f"table_s2_{task}")
    display(shown)
