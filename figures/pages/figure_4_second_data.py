# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Figure 4. A second data set, seen
# As Figure 3, and by its rule, on the first subject of the second data set; models are those of the first.

# %% tags=["parameters"]
preset: str = "smoke"  # smoke | demo | scan | gpu | paper
data: str = ""  # a prepared data set; empty: embedded phantoms
runs: str = ""  # where trainings are kept; empty: runs/ in the checkout
settings: str = ""  # others in place of those in experiments.yaml, written as for snakemake --config

# %%
from diffens_core.show import zooms
from figures.page import open_page
from figures.volumes import SHOWN

page = open_page("figure_4_second_data", preset, settings, data, runs)
galleries = page.galleries(SHOWN, second=True)
print("" if galleries else "no second data set was given: second=DIR")

# %%
for task, gallery in galleries.items():
    images = gallery.images(0)
    truth = images.pop("truth")
    place = zooms.cortex(truth, gallery.pair(0).brain.numpy())
    figure = zooms.zoomed(images, truth, place, gallery.title(0))
    page.add_figure(f"figure_4_{task}", figure)
