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

# %%
for task, methods in methods_by_task(plan, PAGES["figure_3_comparison"].needs, SHOWN).items():
    gallery = Gallery(plan, task, methods)
    figure = plots.zoomed(gallery.images(0), gallery.place(0), gallery.title(0))
    write_figure(figure, plan.folder("figure_3_comparison") / f"figure_3_{task}")
