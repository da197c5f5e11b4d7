# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Figure S2. Quality against steps
# The same weights, sampled with more and fewer steps, each of which runs the networks once, and by other samplers; means over the same subjects, one sample each. Means have
# the intervals of Table 1, far wider than the distances between these curves, which are paired.

# %% tags=["parameters"]
preset: str = "smoke"  # smoke | demo | scan | gpu | paper
data: str = ""  # a prepared data set; empty: embedded phantoms
runs: str = ""  # where trainings are kept; empty: runs/ in the checkout
settings: str = ""  # others in place of those in experiments.yaml, written as for snakemake --config

# %%
from diffens_core.show import plots
from figures.page import open_page
from figures.tables import step_panels, tasks_of

page = open_page("figure_s2_steps", preset, settings, data, runs)
print(page.about)

# %%
for task in tasks_of(page.metrics[page.metrics["steps"] > 0]):
    panels = step_panels(page.metrics, task, page.plan.experiment().preset.steps)
    figure = plots.level_curves(panels, panels, xlabel=f"steps of sampling ({task})")
    page.add_figure(f"figure_s2_{task}", figure)
