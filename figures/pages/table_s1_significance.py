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
# Regions of Dice: whole tumour (WT), tumour core (TC), enhancing tumour (ET).

# %% tags=["parameters"]
preset: str = "smoke"  # smoke | demo | scan | gpu | paper
data: str = ""  # a prepared data set; empty: embedded phantoms
runs: str = ""  # where trainings are kept; empty: runs/ in the checkout
settings: str = ""  # others in place of those in experiments.yaml, written as for snakemake --config

# %%
from figures.contents import RIVALS
from figures.page import open_page
from figures.tables import DICE, IMAGE, leads

page = open_page("table_s1_significance", preset, settings, data, runs)
print(page.about)

# %%
for metric, table in leads(page.metrics, RIVALS, (*IMAGE, *DICE)).items():
    page.add_table(f"table_s1_{metric}", table)
