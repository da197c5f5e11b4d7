# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Table 6. A second data set
# The same models, trained on the first data set, translate another. The paper trains anew on HCP, healthy brains of
# 192x152x152; give prepared data with `second=DIR` that have a FLAIR (such as `data_prep.open_ms` makes; HCP has none).
# Without it, and where the first data are embedded phantoms, the second are phantoms of another seed: other heads and
# tumours of the same simulator, so that this table asks for more subjects rather than for another domain.
#
# Below: by how much a fusion recovers more of the Dice than its average, paired over subjects, which is known far better
# than either Recovery; each fusion against its average; and how many subjects a test would need to tell them apart.

# %% tags=["parameters"]
preset: str = "smoke"  # smoke | demo | gpu | paper
data: str = ""  # a prepared data set; empty: embedded phantoms
runs: str = ""  # where trainings are kept; empty: runs/ in the checkout
settings: str = ""  # others in place of those in experiments.yaml, written as for snakemake --config

# %%
from IPython.display import display

from figures.contents import PAGES, RIVALS
from figures.plan import open_plan
from figures.tables import DICE, IMAGE, SETS, TASKS, leads, measured, recovery_leads, segmentation
from figures.write import write_table

plan = open_plan(preset, settings, data=data, runs=runs)
metrics, costs = plan.read(PAGES["table_6_second_data"].needs)
print(plan.about(costs) if len(costs) else "no second data set was given: second=DIR")

# %%
for task in sorted(set(metrics["task"]), key=list(TASKS).index):
    print(f"Task {task}: {TASKS[task]}")
    tables = {"": measured(metrics, task, (*IMAGE, *SETS), paper=6), "_segmentation": segmentation(metrics, task)}
    tables["_recovery_lead"] = recovery_leads(metrics, RIVALS, task)
    for name, (numbers, shown) in tables.items():
        write_table(numbers, shown, plan.folder("table_6_second_data") / f"table_6_{task}{name}")
        display(shown)

# %%
for metric, (numbers, shown) in leads(metrics, RIVALS, (*IMAGE[:2], *DICE[:2])).items():
    write_table(numbers, shown, plan.folder("table_6_second_data") / f"table_6_lead_{metric}")
    display(shown)
