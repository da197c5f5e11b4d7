# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Tables 7 and 9 to 11. Hyper-parameters and networks
# Printed from the code itself: what this preset trains, and beside it preset `paper`. The paper's Table 7 has a batch of 4
# slices, 1 volume, 1000 steps of noise, 50 of sampling, a linear schedule, Adam at 5e-5 and 1e-4.

# %% tags=["parameters"]
preset: str = "smoke"  # smoke | demo | gpu | paper
data: str = ""  # a prepared data set; empty: embedded phantoms
runs: str = ""  # where trainings are kept; empty: runs/ in the checkout
settings: str = ""  # others in place of those in experiments.yaml, written as for snakemake --config

# %%
from IPython.display import display

from figures.networks import hyperparameters, layers
from figures.plan import open_plan
from figures.write import write_table

plan = open_plan(preset, settings, data=data, runs=runs)
table = hyperparameters((preset, "paper"))
write_table(table, table, plan.folder("table_7_networks") / "table_7")
display(table)

# %% [markdown]
# ## Tables 9, 10, 11: the 2D network, the 3D network of the fusion, its small variant
# Every block, with the channels that it takes and gives, and its parameters.

# %%
for number, name in ((9, "2D"), (10, "3D"), (11, "3D small")):
    table = layers(preset, name)
    write_table(table, table, plan.folder("table_7_networks") / f"table_{number}")
    display(table)
