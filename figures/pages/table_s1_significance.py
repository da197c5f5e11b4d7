# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Table S1. Is a fusion better than the average that it fuses?
# Seed by seed and subject by subject: what the fusion and its average reach, the mean lead with its 95 % bootstrap interval
# (which for six subjects holds the truth 86 % of the time), on how many subjects it is ahead, p of Wilcoxon's signed-rank
# test (adjusted by Holm's method for the fusions of one task, seed and metric), the rank-biserial effect, and how many
# subjects a single paired t test would need to see this lead with 80 % power. The rank test needs more: six subjects cannot
# give p below 0.03. The paper has no such table.

# %% tags=["parameters"]
preset: str = "smoke"  # smoke | demo | gpu | paper
data: str = ""  # a prepared data set; empty: embedded phantoms
runs: str = ""  # where trainings are kept; empty: runs/ in the checkout
settings: str = ""  # others in place of those in experiments.yaml, written as for snakemake --config

# %%
from IPython.display import display

from figures.contents import PAGES, RIVALS
from figures.plan import open_plan
from figures.tables import DICE, IMAGE, leads
from figures.write import write_table

plan = open_plan(preset, settings, data=data, runs=runs)
metrics, costs = plan.read(PAGES["table_s1_significance"].needs)
print(plan.about(costs))

# %%
for metric, (numbers, shown) in leads(metrics, RIVALS, (*IMAGE, *DICE)).items():
    write_table(numbers, shown, plan.folder("table_s1_significance") / f"table_s1_{metric}")
    display(shown)
