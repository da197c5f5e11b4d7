# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Figures 5 to 7. Dice and Recovery
# Points are means over subjects with 95 % bootstrap intervals. Dashed: Dice with the degraded and with the true FLAIR;
# Recovery 0 and 100 %. Means of Dice vary with the subjects more than with the method, so intervals of Dice overlap even
# where one method is ahead on every subject; Table S1 has the paired comparison.

# %% tags=["parameters"]
preset: str = "smoke"  # smoke | demo | gpu | paper
data: str = ""  # a prepared data set; empty: embedded phantoms
runs: str = ""  # where trainings are kept; empty: runs/ in the checkout
settings: str = ""  # others in place of those in experiments.yaml, written as for snakemake --config

# %%
from diffens_core.show import plots
from figures.contents import PAGES
from figures.plan import open_plan
from figures.tables import TASKS, region_panels, segmentation
from figures.write import write_figure

plan = open_plan(preset, settings, data=data, runs=runs)
metrics, costs = plan.read(PAGES["figure_5_7_recovery"].needs)
print(plan.about(costs))

# %%
for task in sorted(set(metrics["task"]), key=list(TASKS).index):
    numbers, _ = segmentation(metrics, task)
    for name, unit in (("Dice", "Dice, %"), ("Recovery", "Recovery, %")):
        panels, bounds = region_panels(numbers, name)
        if panels:
            figure = plots.bounded(panels, bounds, f"{unit} ({task})")
            write_figure(figure, plan.folder("figure_5_7_recovery") / f"figure_5_7_{name.lower()}_{task}")
