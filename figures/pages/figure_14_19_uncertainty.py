# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Figures 14 to 19. Spread and error
# The mean of the samples, their standard deviation (std), and the error of the mean. std and error have a scale each, the
# same for all methods, in the unit of volumes that span -1 to 1: where a method knows where its error is, the two maps
# look alike; where it knows how large it is, so do the numbers on the two bars. One subject per task.

# %% tags=["parameters"]
preset: str = "smoke"  # smoke | demo | scan | gpu | paper
data: str = ""  # a prepared data set; empty: embedded phantoms
runs: str = ""  # where trainings are kept; empty: runs/ in the checkout
settings: str = ""  # others in place of those in experiments.yaml, written as for snakemake --config

# %%
from diffens_core.show import plots
from diffens_core.evaluation.uncertainty import uncertainty
from figures.page import open_page

page = open_page("figure_14_19_uncertainty", preset, settings, data, runs)

# %%
for task, gallery in page.galleries(("tpdm", "ours-tpdm")).items():
    truth, samples = gallery.pair(0).x0[0], gallery.samples(0)
    found = {name: uncertainty(volumes[:, 0], truth) for name, volumes in samples.items() if len(volumes) > 1}
    if found:
        figure = plots.uncertainty_planes(found, truth.numpy(), gallery.place(0), gallery.title(0))
        page.add_figure(f"figure_14_19_{task}", figure)
