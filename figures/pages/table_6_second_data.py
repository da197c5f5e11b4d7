# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Table 6. A second data set
# The same models, trained on the first data set, translate another. The paper trains anew on HCP, healthy brains of
# 192x152x152; give prepared data with `second=DIR` that have a FLAIR (such as `data_prep.open_ms` makes; HCP has none).
# Without it, and where the first data are embedded phantoms, the second are phantoms of another seed: other heads and
# tumours of the same simulator, so that this table asks for more subjects rather than for another domain.
#
# Regions are the whole tumour (WT), the tumour core (TC) and the enhancing tumour (ET). Below: by how much a fusion recovers more of the Dice than its average, paired over subjects, which is known far better
# than either Recovery; each fusion against its average; and how many subjects a test would need to tell them apart.

# %% tags=["parameters"]
preset: str = "smoke"  # smoke | demo | scan | gpu | paper
data: str = ""  # a prepared data set; empty: embedded phantoms
runs: str = ""  # where trainings are kept; empty: runs/ in the checkout
settings: str = ""  # others in place of those in experiments.yaml, written as for snakemake --config

# %%
from figures.contents import RIVALS
from figures.page import open_page
from figures.tables import DICE, IMAGE, SETS, SSIM_PAPER, leads, measured, recovery_leads, segmentation, tasks_of

page = open_page("table_6_second_data", preset, settings, data, runs)
print(page.about if len(page.costs) else "no second data set was given: second=DIR")

# %%
for task, title in tasks_of(page.metrics).items():
    print(f"Task {task}: {title}")
    page.add_table(f"table_6_{task}", measured(page.metrics, task, (*IMAGE, SSIM_PAPER, *SETS), paper=6))
    page.add_table(f"table_6_{task}_segmentation", segmentation(page.metrics, task))
    page.add_table(f"table_6_{task}_recovery_lead", recovery_leads(page.metrics, RIVALS, task))

# %%
for metric, table in leads(page.metrics, RIVALS, (*IMAGE[:2], *DICE[:2])).items():
    page.add_table(f"table_6_lead_{metric}", table)
