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
preset: str = "smoke"  # smoke | demo | scan | gpu | paper
data: str = ""  # a prepared data set; empty: embedded phantoms
runs: str = ""  # where trainings are kept; empty: runs/ in the checkout
settings: str = ""  # others in place of those in experiments.yaml, written as for snakemake --config

# %%
from diffens_core.show import plots
from figures.page import open_page

page = open_page("figure_s3_calibration", preset, settings, data, runs)
among = ("tpdm", "ours-tpdm", "tosm", "ours-tosm", "madm", "ours-madm")

# %%
panels = {task: gallery.calibration() for task, gallery in page.galleries(among).items()}
if panels:
    labels = {"xlabel": "confidence of the interval", "ylabel": "share of brain voxels within"}
    figure = plots.level_curves(panels, reference="calibrated", **labels)
    page.add_figure("figure_s3_calibration", figure)
