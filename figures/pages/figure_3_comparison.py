# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Figure 3. Comparison
# One held-out subject per task, one sample of each method, cut through the tumour, with a square around it enlarged.

# %% tags=["parameters"]
preset: str = "smoke"  # smoke | demo | scan | gpu | paper
data: str = ""  # a prepared data set; empty: embedded phantoms
runs: str = ""  # where trainings are kept; empty: runs/ in the checkout
settings: str = ""  # others in place of those in experiments.yaml, written as for snakemake --config

# %%
from diffens_core.show import plots
from figures.page import open_page
from figures.volumes import SHOWN

page = open_page("figure_3_comparison", preset, settings, data, runs)

# %%
for task, gallery in page.galleries(SHOWN).items():
    figure = plots.zoomed(gallery.images(0), gallery.place(0), gallery.title(0))
    page.add_figure(f"figure_3_{task}", figure)
