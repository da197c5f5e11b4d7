# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Figure 3. Comparison
# One held-out subject per task, one sample of each method: a square of it in three planes, enlarged, and its difference
# from the truth, red where it is too bright and blue where it is too dark. Where to look is decided by a rule that knows
# no method: in the cortex of the upper half, at most half of the square's half side below the surface, where the three
# squares hold most of its edges. Grey reaches over 98 % of the truth within the squares, but for the background.
# Whole heads are in Figures 20 and 21.

# %% tags=["parameters"]
preset: str = "smoke"  # smoke | demo | scan | gpu | paper
data: str = ""  # a prepared data set; empty: embedded phantoms
runs: str = ""  # where trainings are kept; empty: runs/ in the checkout
settings: str = ""  # others in place of those in experiments.yaml, written as for snakemake --config

# %%
from diffens_core.show import zooms
from figures.page import open_page
from figures.volumes import SHOWN

page = open_page("figure_3_comparison", preset, settings, data, runs)

# %%
for task, gallery in page.galleries(SHOWN).items():
    images = gallery.images(0)
    truth = images.pop("truth")
    place = zooms.cortex(truth, gallery.pair(0).brain.numpy())
    figure = zooms.zoomed(images, truth, place, gallery.title(0))
    page.add_figure(f"figure_3_{task}", figure)
