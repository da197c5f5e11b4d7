# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Figure S3. Calibration
# How often the truth is within the central interval that the samples imply, over all brain voxels of all subjects. On the
# dotted diagonal: calibrated. Below: too sure.

# %% tags=["parameters"]
preset: str = "smoke"  # smoke | demo | gpu | paper
data: str = ""  # a prepared data set; empty: embedded phantoms
runs: str = ""  # where trainings are kept; empty: runs/ in the checkout
settings: str = ""  # others in place of those in experiments.yaml, written as for snakemake --config

# %%
from diffens_core.show import plots
from figures.contents import PAGES
from figures.plan import open_plan
from figures.volumes import Gallery, methods_by_task
from figures.write import write_figure

plan = open_plan(preset, settings, data=data, runs=runs)
among = ("tpdm", "ours-tpdm", "tosm", "ours-tosm", "madm", "ours-madm")

# %%
panels = {}
for task, methods in methods_by_task(plan, PAGES["figure_s3_calibration"].needs, among).items():
    panels[task] = Gallery(plan, task, methods).calibration()
if panels:
    labels = {"xlabel": "confidence of the interval", "ylabel": "share of brain voxels within"}
    figure = plots.level_curves(panels, reference="calibrated", **labels)
    write_figure(figure, plan.folder("figure_s3_calibration") / "figure_s3_calibration")
