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
preset: str = "smoke"  # smoke | demo | scan | gpu | paper
data: str = ""  # a prepared data set; empty: embedded phantoms
runs: str = ""  # where trainings are kept; empty: runs/ in the checkout
settings: str = ""  # others in place of those in experiments.yaml, written as for snakemake --config

# %%
from figures.page import open_page
from figures.tables import cost_table, tasks_of

page = open_page("table_8_cost", preset, settings, data, runs)
print(page.about)

# %%
for task, title in tasks_of(page.metrics).items():
    print(f"Task {task}: {title}")
    page.add_table(f"table_8_{task}", cost_table(page.costs, task))
