# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Figures 8 to 13. Tumours found
# Outlines of what the segmentation network finds with each FLAIR: whole tumour (WT), tumour core (TC) and enhancing tumour
# (ET), each within the one before; dotted, what is there. Two subjects per task.

# %% tags=["parameters"]
preset: str = "smoke"  # smoke | demo | scan | gpu | paper
data: str = ""  # a prepared data set; empty: embedded phantoms
runs: str = ""  # where trainings are kept; empty: runs/ in the checkout
settings: str = ""  # others in place of those in experiments.yaml, written as for snakemake --config

# %%
from diffens_core.show import plots
from diffens_core.evaluation.judges import open_judges
from diffens_core.models.segmentation import regions_of
from figures.page import open_page
from figures.plan import NONE

page = open_page("figure_8_13_segmentation", preset, settings, data, runs)
judges = open_judges(page.plan.experiment(), "sr", page.plan.segmenter.removesuffix(NONE), sets=False)
among = ("degraded", "tpdm", "ours-tpdm", "tosm", "ours-tosm") if judges.segmenter else ()

# %%
for task, gallery in page.galleries(among).items():
    contrasts = gallery.experiment.subjects(page.plan.split, judges.contrasts)
    translated = gallery.subjects.subjects[: gallery.count]
    for number, subject in enumerate([s for s in translated if s in contrasts.subjects][:2]):
        place = translated.index(subject)
        shown, images = contrasts.pair(subject), gallery.images(place)
        found = {name: judges.segment(shown, flair)[0].numpy() for name, flair in gallery.volumes(place).items()}
        true = regions_of(shown.x0[0]).numpy()
        figure = plots.segmentation_planes(images, found, true, gallery.place(place), gallery.title(place))
        page.add_figure(f"figure_8_13_{task}_{number}", figure)
