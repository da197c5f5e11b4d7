# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Table 8. Time and memory
# Training is that of everything behind a method, each network once; parameters and memory likewise. Minutes and seconds
# are those of the clock, on the GPU where there is one, and of all CPU cores together, which other processes disturb less.
# The paper's times are of an A100 at 1 mm.
#
# This and Table S2 are the tables that differ from run to run.

# %% tags=["parameters"]
preset: str = "smoke"  # smoke | demo | gpu | paper
data: str = ""  # a prepared data set; empty: embedded phantoms
runs: str = ""  # where trainings are kept; empty: runs/ in the checkout
settings: str = ""  # others in place of those in experiments.yaml, written as for snakemake --config

# %%
from IPython.display import display

from figures.contents import PAGES
from figures.plan import open_plan
from figures.tables import TASKS, cost_table
from figures.write import write_table

plan = open_plan(preset, settings, data=data, runs=runs)
metrics, costs = plan.read(PAGES["table_8_cost"].needs)
print(plan.about(costs))

# %%
for task in sorted(set(metrics["task"]), key=list(TASKS).index):
    print(f"Task {task}: {TASKS[task]}")
    numbers, shown = cost_table(costs, task)
    write_table(numbers, shown, plan.folder("table_8_cost") / f"table_8_{task}")
    display(shown)
