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
preset: str = "smoke"  # smoke | demo | gpu | paper
data: str = ""  # a prepared data set; empty: embedded phantoms
runs: str = ""  # where trainings are kept; empty: runs/ in the checkout
settings: str = ""  # others in place of those in experiments.yaml, written as for snakemake --config

# %%
from diffens_core.show import plots
from figures.contents import PAGES
from figures.plan import open_plan
from figures.volumes import Gallery, methods_by_task
from figures.write import write_figure

plan = open_plan(preset, settings, data=data, runs=runs)

# %%
among = ("tpdm", "ours-tpdm", "tosm", "ours-tosm", "madm", "ours-madm")
for task, methods in methods_by_task(plan, PAGES["figure_20_21_more"].needs, among).items():
    gallery = Gallery(plan, task, methods)
    for number in sorted({min(1, gallery.count - 1), gallery.count - 1}):
        images = gallery.images(number)
        figure = plots.three_planes(images, images["truth"], gallery.place(number), gallery.title(number))
        write_figure(figure, plan.folder("figure_20_21_more") / f"figure_20_21_{task}_{number}")
