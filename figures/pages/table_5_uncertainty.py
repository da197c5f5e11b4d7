# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Table 5. Does a method know where it is wrong?
# Several samples of every subject. MACE (Eq. 7) is the mean of | std - error |, in 1e-4 of the window of intensities that
# networks work in (not of each target's range, as PSNR): no calibration error, as a model that is always sure has its mean
# error as MACE. Calibration error, coverage of the 90 % interval, AUSE and the rank correlation of spread and error say
# what MACE cannot; `13_uncertainty` explains them.
#
# The paper draws five samples. Here DDIM is deterministic, and samples differ by their first noise alone.

# %% tags=["parameters"]
preset: str = "smoke"  # smoke | demo | scan | gpu | paper
data: str = ""  # a prepared data set; empty: embedded phantoms
runs: str = ""  # where trainings are kept; empty: runs/ in the checkout
settings: str = ""  # others in place of those in experiments.yaml, written as for snakemake --config

# %%
from figures.page import open_page
from figures.tables import IMAGE, SSIM_PAPER, UNCERTAINTY, measured, tasks_of

page = open_page("table_5_uncertainty", preset, settings, data, runs)
print(page.about)

# %%
for task, title in tasks_of(page.metrics).items():
    print(f"Task {task}: {title}")
    page.add_table(f"table_5_{task}", measured(page.metrics, task, (*IMAGE[:2], SSIM_PAPER, *UNCERTAINTY), paper=5))
