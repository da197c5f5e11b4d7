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
preset: str = "smoke"  # smoke | demo | scan | gpu | paper
data: str = ""  # a prepared data set; empty: embedded phantoms
runs: str = ""  # where trainings are kept; empty: runs/ in the checkout
settings: str = ""  # others in place of those in experiments.yaml, written as for snakemake --config

# %%
from figures.page import open_page
from figures.tables import overview, tasks_of

page = open_page("table_s2_overview", preset, settings, data, runs)
print(page.about)

# %%
for task, title in tasks_of(page.metrics).items():
    print(f"Task {task}: {title}")
    page.add_table(f"table_s2_{task}", overview(page.metrics, page.costs, task))
