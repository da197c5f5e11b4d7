# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Figure S2. Quality against steps
# The same weights, sampled with more and fewer DDIM steps; means over the same subjects, one sample each. Means have
# the intervals of Table 1, far wider than the distances between these curves, which are paired.

# %% tags=["parameters"]
preset: str = "smoke"  # smoke | demo | gpu | paper
data: str = ""  # a prepared data set; empty: embedded phantoms
runs: str = ""  # where trainings are kept; empty: runs/ in the checkout
settings: str = ""  # others in place of those in experiments.yaml, written as for snakemake --config

# %%
from diffens_core.show import plots
from figures.contents import PAGES
from figures.plan import open_plan
from figures.tables import step_panels
from figures.write import write_figure

plan = open_plan(preset, settings, data=data, runs=runs)
metrics, costs = plan.read(PAGES["figure_s2_steps"].needs)
print(plan.about(costs))

# %%
for task in sorted(set(metrics[metrics["steps"] > 0]["task"])):
    panels = step_panels(metrics, task, plan.experiment().preset.steps)
    figure = plots.level_curves(panels, panels, xlabel=f"DDIM steps ({task})")
    write_figure(figure, plan.folder("figure_s2_steps") / f"figure_s2_{task}")
