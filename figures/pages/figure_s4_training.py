# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Figure S4. Training
# The loss of every training behind the first seed's methods, by stage: pale as it is, bold its mean over the steps
# around; dotted, where a phase of a training begins. Losses of different stages are not comparable.

# %% tags=["parameters"]
preset: str = "smoke"  # smoke | demo | scan | gpu | paper
data: str = ""  # a prepared data set; empty: embedded phantoms
runs: str = ""  # where trainings are kept; empty: runs/ in the checkout
settings: str = ""  # others in place of those in experiments.yaml, written as for snakemake --config

# %%
from diffens_core.show import plots
from figures.page import open_page
from figures.volumes import training_logs

page = open_page("figure_s4_training", preset, settings, data, runs)

# %%
for task, logs in training_logs(page.plan, page.needs).items():
    print(f"Task {task}")
    panels = {f"loss, {stage} ↓": of_stage for stage, of_stage in logs.items()}
    page.add_figure(f"figure_s4_{task}", plots.loss_panels(panels))
