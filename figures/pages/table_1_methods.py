# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Table 1. All methods
# Single samples of each method (the mean of a subject's, where several were drawn); means over subjects, in brackets their
# 95 % bootstrap interval. It is wide because subjects differ; differences between methods, which are known far better, are
# in Table S1. No row is set in bold: which method is best is a question for that table.
#
# The paper's numbers stand beside ours where the setting is the same: its baselines beside ours without projection, as its
# comparison switches that off for them, and its SSIM beside the one with its window. They are of 250 BraTS volumes at 1 mm,
# after days of training on an A100 for every model, with 50 steps: a column to read beside ours, not to compare with it
# digit by digit. Its PSNR and SSIM take the target's own range as the unit, as ours do; its MMD is a sum over voxels, so
# it grows with their number; its FID needs MedicalNet's weights (`medicalnet=FILE`) and is left out without them. The
# Frechet distance on features of our own segmenter is another number, with another name.

# %% tags=["parameters"]
preset: str = "smoke"  # smoke | demo | scan | gpu | paper
data: str = ""  # a prepared data set; empty: embedded phantoms
runs: str = ""  # where trainings are kept; empty: runs/ in the checkout
settings: str = ""  # others in place of those in experiments.yaml, written as for snakemake --config

# %%
from figures.page import open_page
from figures.tables import IMAGE, SETS, SSIM_PAPER, measured, tasks_of

page = open_page("table_1_methods", preset, settings, data, runs)
print(page.about)

# %%
for task, title in tasks_of(page.metrics).items():
    print(f"Task {task}: {title}")
    page.add_table(f"table_1_{task}", measured(page.metrics, task, (*IMAGE, SSIM_PAPER, *SETS), paper=1))
