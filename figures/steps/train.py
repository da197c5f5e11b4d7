# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Step: one training
# Trains the run that a `config.json` describes, or goes on with it, as `diffens train CONFIG.json` does. What it builds
# on, such as the experts of a fusion, is trained first if it is not there.

# %% tags=["parameters"]
config: str = ""  # the run's config.json
runs: str = ""  # where trainings are kept; empty: runs/ in the checkout

# %%
from pathlib import Path

from diffens_core import check_parameters
from diffens_core.show import plots
from diffens_core.training.config import load_config
from diffens_core.support.cost import read_cost
from diffens_core.support.places import default_runs
from diffens_core.training.loop import read_log
from diffens_core.training.runs import find, load_or_train

check_parameters()
run, root = load_config(config), Path(runs) if runs else default_runs()
print(f"{run.folder.name}: {run.stage}, task {run.task}, seed {run.seed}, {run.train.steps} steps")
print(f"data {run.data.name} {run.data.fingerprint}, {run.data.spacing:g} mm, {run.data.shape}")

# %%
model = load_or_train(run, root)

# %%
folder = find(run, root)
figure = plots.training_curves({run.folder.name: read_log(folder)})
read_cost(folder)
