# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Figure 1. The method
# One step of sampling. Green is trained first, on slices, and then frozen; orange is trained second, in 3D. The projection
# is for tasks with a degraded FLAIR: it brings the block means of the clean estimate, its measurement by $A$, to what was
# measured, the degraded FLAIR in $y$.

# %% tags=["parameters"]
preset: str = "smoke"  # smoke | demo | scan | gpu | paper
data: str = ""  # a prepared data set; empty: embedded phantoms
runs: str = ""  # where trainings are kept; empty: runs/ in the checkout
settings: str = ""  # others in place of those in experiments.yaml, written as for snakemake --config

# %%
from figures.diagram import method_diagram
from figures.page import open_page

page = open_page("figure_1_method", preset, settings, data, runs)
page.add_figure("figure_1_method", method_diagram())
