# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Figures 20 and 21. More subjects
# Two more subjects per task, with the error below each cut. Not chosen: the second and the last.

# %% tags=["parameters"]
preset: str = "smoke"  # smoke | demo | scan | gpu | paper
data: str = ""  # a prepared data set; empty: embedded phantoms
runs: str = ""  # where trainings are kept; empty: runs/ in the checkout
settings: str = ""  # others in place of those in experiments.yaml, written as for snakemake --config

# %%
from diffens_core.show import plots
from figures.page import open_page

page = open_page("figure_20_21_more", preset, settings, data, runs)

# %%
for task, gallery in page.galleries(("tpdm", "ours-tpdm", "tosm", "ours-tosm", "madm", "ours-madm")).items():
    for number in sorted({min(1, gallery.count - 1), gallery.count - 1}):
        images = gallery.images(number)
        figure = plots.three_planes(images, images["truth"], gallery.place(number), gallery.title(number))
        page.add_figure(f"figure_20_21_{task}_{number}", figure)
