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
# slices, 1 volume, 1000 steps of noise, 50 of sampling, a linear schedule, Adam at 5e-5 and 1e-4. Preset `paper` has these
# to the letter; every setting in which it differs from another preset has a name (`diffens methods --preset paper`).

# %% tags=["parameters"]
preset: str = "smoke"  # smoke | demo | scan | gpu | paper
data: str = ""  # a prepared data set; empty: embedded phantoms
runs: str = ""  # where trainings are kept; empty: runs/ in the checkout
settings: str = ""  # others in place of those in experiments.yaml, written as for snakemake --config

# %%
from figures.networks import hyperparameters, layers
from figures.page import open_page

page = open_page("table_7_networks", preset, settings, data, runs)
table = hyperparameters((preset, "paper"))
page.add_table("table_7", (table, table))

# %% [markdown]
# ## Tables 9, 10, 11: the 2D network, the 3D network of the fusion, its small variant
# Every block, with the channels that it takes and gives, and its parameters.

# %%
for number, name in ((9, "2D"), (10, "3D"), (11, "3D small")):
    table = layers(preset, name)
    page.add_table(f"table_{number}", (table, table))
