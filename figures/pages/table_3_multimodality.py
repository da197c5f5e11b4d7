# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Table 3. Experts of one modality each, fused
# Experts of super-resolution never saw a T1ce, experts of translation never a FLAIR. `multi-tpdm` averages them;
# `multi-ours` and `multi-small` fuse them, and none of them is trained again. Below them, experts that were trained on
# both conditions, averaged and fused. Minutes are those of training the fusion alone, where experts are there already;
# the paper's days are of one A100, and for the last two rows count the experts as well.

# %% tags=["parameters"]
preset: str = "smoke"  # smoke | demo | scan | gpu | paper
data: str = ""  # a prepared data set; empty: embedded phantoms
runs: str = ""  # where trainings are kept; empty: runs/ in the checkout
settings: str = ""  # others in place of those in experiments.yaml, written as for snakemake --config

# %%
from figures.page import open_page
from figures.tables import IMAGE, SETS, SSIM_PAPER, measured, with_fusion_cost

page = open_page("table_3_multimodality", preset, settings, data, runs)
print(page.about)

# %%
if len(page.metrics):
    quality = measured(page.metrics, "both", (*IMAGE, SSIM_PAPER, *SETS[:1]), paper=3)
    page.add_table("table_3", with_fusion_cost(quality, page.costs))
