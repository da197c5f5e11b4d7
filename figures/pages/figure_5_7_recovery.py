# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Figures 5 to 7. Dice and Recovery
# Of the whole tumour (WT), the tumour core (TC) and the enhancing tumour (ET). Points are means over subjects with 95 %
# bootstrap intervals. Dashed: Dice with the degraded and with the true FLAIR;
# Recovery 0 and 100 %. Means of Dice vary with the subjects more than with the method, so intervals of Dice overlap even
# where one method is ahead on every subject; Table S1 has the paired comparison.

# %% tags=["parameters"]
preset: str = "smoke"  # smoke | demo | scan | gpu | paper
data: str = ""  # a prepared data set; empty: embedded phantoms
runs: str = ""  # where trainings are kept; empty: runs/ in the checkout
settings: str = ""  # others in place of those in experiments.yaml, written as for snakemake --config

# %%
from diffens_core.evaluation.names import name_of
from diffens_core.show import plots
from figures.page import open_page
from figures.tables import region_panels, segmentation, tasks_of

page = open_page("figure_5_7_recovery", preset, settings, data, runs)
print(page.about)

# %%
for task in tasks_of(page.metrics):
    numbers, _ = segmentation(page.metrics, task)
    for name in ("dice", "recovery"):
        panels, bounds = region_panels(numbers, name)
        if panels:
            figure = plots.bounded(panels, bounds, f"{name_of(name).heading('%')} ({task})")
            page.add_figure(f"figure_5_7_{name}_{task}", figure)
