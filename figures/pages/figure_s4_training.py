# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Figure S4. Training
# The loss of every training behind the first seed's methods, by stage: pale as it is, bold smoothed, which lags behind it
# at the start. Losses of different stages are not comparable.

# %% tags=["parameters"]
preset: str = "smoke"  # smoke | demo | gpu | paper
data: str = ""  # a prepared data set; empty: embedded phantoms
runs: str = ""  # where trainings are kept; empty: runs/ in the checkout
settings: str = ""  # others in place of those in experiments.yaml, written as for snakemake --config

# %%
from diffens_core.show import plots
from figures.contents import PAGES
from figures.plan import open_plan
from figures.volumes import training_logs
from figures.write import write_figure

plan = open_plan(preset, settings, data=data, runs=runs)

# %%
for task, logs in training_logs(plan, PAGES["figure_s4_training"].needs).items():
    print(f"Task {task}")
    figure = plots.loss_panels(logs)
    write_figure(figure, plan.folder("figure_s4_training") / f"figure_s4_{task}")
