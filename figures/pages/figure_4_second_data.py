# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Figure 4. A second data set, seen
# As Figure 3, on the first subject of the second data set; models are those of the first.

# %% tags=["parameters"]
preset: str = "smoke"  # smoke | demo | gpu | paper
data: str = ""  # a prepared data set; empty: embedded phantoms
runs: str = ""  # where trainings are kept; empty: runs/ in the checkout
settings: str = ""  # others in place of those in experiments.yaml, written as for snakemake --config

# %%
from diffens_core.show import plots
from figures.contents import PAGES
from figures.plan import open_plan
from figures.volumes import SHOWN, Gallery, methods_by_task
from figures.write import write_figure

plan = open_plan(preset, settings, data=data, runs=runs)
found = methods_by_task(plan, PAGES["figure_4_second_data"].needs, SHOWN)
print("" if found else "no second data set was given: second=DIR")

# %%
for task, methods in found.items():
    gallery = Gallery(plan, task, methods, second=True)
    figure = plots.zoomed(gallery.images(0), gallery.place(0), gallery.title(0))
    write_figure(figure, plan.folder("figure_4_second_data") / f"figure_4_{task}")
