# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Table 2. Is the tumour still found?
# A segmentation network reads four contrasts (FLAIR and T1ce alone where some subjects have no other); in place of the
# true FLAIR it is given each method's. It finds the whole tumour (WT), the tumour core (TC) and the enhancing tumour (ET).
# Dice in per cent; the 95 % Hausdorff distance in mm (a region that only the network
# or only the truth has counts as 373.1 mm and Dice 0, as in BraTS, so one such subject moves a mean of few by much); and
# Recovery: the share of the Dice lost by degrading the FLAIR that a method gets back, a ratio of small differences: its
# interval says whether it means anything.
#
# The paper judges with a SwinUNETR trained on BraTS 2021 at 1 mm; ours is a small one trained here on the same split as
# everything else, unless `segmenter=FILE` says otherwise.

# %% tags=["parameters"]
preset: str = "smoke"  # smoke | demo | scan | gpu | paper
data: str = ""  # a prepared data set; empty: embedded phantoms
runs: str = ""  # where trainings are kept; empty: runs/ in the checkout
settings: str = ""  # others in place of those in experiments.yaml, written as for snakemake --config

# %%
from figures.page import open_page
from figures.tables import segmentation, tasks_of

page = open_page("table_2_segmentation", preset, settings, data, runs)
print(page.about)

# %%
for task, title in tasks_of(page.metrics).items():
    print(f"Task {task}: {title}")
    page.add_table(f"table_2_{task}", segmentation(page.metrics, task, paper=2))
