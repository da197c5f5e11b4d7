# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Table 4. Ablations
# `ours-tpdm` with one thing changed: without the projection onto what was measured; without the last phase on whole
# volumes; without the 2D models' feature maps; with the gate alone or the residual alone; two or three of these at once, as
# in two rows of the paper. `ours-small` has half the width and no feature maps.
#
# The paper's rows are on 250 BraTS volumes.

# %% tags=["parameters"]
preset: str = "smoke"  # smoke | demo | gpu | paper
data: str = ""  # a prepared data set; empty: embedded phantoms
runs: str = ""  # where trainings are kept; empty: runs/ in the checkout
settings: str = ""  # others in place of those in experiments.yaml, written as for snakemake --config

# %%
from IPython.display import display

from diffens_core.experiment.methods import ABLATIONS
from figures.contents import PAGES
from figures.plan import open_plan
from figures.tables import IMAGE, SETS, TASKS, leads, measured
from figures.write import write_table

plan = open_plan(preset, settings, data=data, runs=runs)
metrics, costs = plan.read(PAGES["table_4_ablations"].needs)
print(plan.about(costs))

# %%
changed = metrics[metrics["method"].isin(ABLATIONS)]
for task in sorted(set(changed["task"]), key=list(TASKS).index):
    print(f"Task {task}: {TASKS[task]}")
    numbers, shown = measured(metrics, task, (*IMAGE, *SETS[:1]), paper=4)
    write_table(numbers, shown, plan.folder("table_4_ablations") / f"table_4_{task}")
    display(shown)

# %% [markdown]
# What each change costs or brings against `ours-tpdm` itself, subject by subject:

# %%
others = {m: "ours-tpdm" for m in sorted(set(metrics["method"])) if m.startswith("ours-") and m != "ours-tpdm"}
for metric, (numbers, shown) in leads(metrics, others, IMAGE[:2]).items():
    write_table(numbers, shown, plan.folder("table_4_ablations") / f"table_4_lead_{metric}")
    display(shown)
