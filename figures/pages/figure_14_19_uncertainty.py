# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Figures 14 to 19. Spread and error
# The mean of the samples, their standard deviation, and the error of the mean, on one scale: where a method knows its
# error, the two maps look alike. One subject per task.

# %% tags=["parameters"]
preset: str = "smoke"  # smoke | demo | gpu | paper
data: str = ""  # a prepared data set; empty: embedded phantoms
runs: str = ""  # where trainings are kept; empty: runs/ in the checkout
settings: str = ""  # others in place of those in experiments.yaml, written as for snakemake --config

# %%
from diffens_core.show import plots
from diffens_core.evaluation.uncertainty import uncertainty
from figures.contents import PAGES
from figures.plan import open_plan
from figures.volumes import Gallery, methods_by_task
from figures.write import write_figure

plan = open_plan(preset, settings, data=data, runs=runs)

# %%
for task, methods in methods_by_task(plan, PAGES["figure_14_19_uncertainty"].needs, ("tpdm", "ours-tpdm")).items():
    gallery = Gallery(plan, task, methods)
    truth, samples = gallery.pair(0).x0[0], gallery.samples(0)
    found = {name: uncertainty(volumes[:, 0], truth) for name, volumes in samples.items() if len(volumes) > 1}
    if found:
        figure = plots.uncertainty_planes(found, truth.numpy(), gallery.place(0), gallery.title(0))
        write_figure(figure, plan.folder("figure_14_19_uncertainty") / f"figure_14_19_{task}")
