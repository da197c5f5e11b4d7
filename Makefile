# make demo    the whole job on embedded data, in minutes on two CPU cores
# make test    style, unit tests and every notebook, with its exercises tried, at preset smoke
# make course  notebooks with exercises: course/student/, and course/solutions/
# make tables  every table and figure of preset smoke, or PRESET=demo, gpu, paper: figures/out/<preset>/index.html
# make lab     JupyterLab
# make site    notebooks, library and results as a site: site/_build/html/index.html; NOTEBOOKS= says which to execute
# make pictures the pictures of README and results anew, by 00_quickstart at preset demo (minutes)
# make weights train the methods of preset demo anew and ship them (about two hours on one CPU core, estimated)
# make clean   remove what was generated (.venv, runs/, data/, figures/out/ and executed notebooks of the site stay)
PYTHON ?= python3
BIN := .venv/bin
OUT := figures/out/demo
PRESET ?= smoke
TESTS ?= tests
NOTEBOOKS ?= notebooks
CORES ?= 2

.PHONY: demo test course tables lab notebooks pictures weights clean
.DELETE_ON_ERROR:

demo: .venv/ready
	@mkdir -p $(OUT)
	$(BIN)/papermill notebooks/00_quickstart.ipynb $(OUT)/00_quickstart.ipynb -k python3 -p preset demo -p out $(OUT)
	@cat $(OUT)/table.txt
	@echo
	@echo "Table: $(OUT)/metrics.csv  picture: $(OUT)/translation.png  volumes: $(OUT)/*.nii.gz"
	@echo "Next: $(BIN)/diffens translate --help (your own NIfTI files), or make lab (the notebooks)."

test: .venv/ready
	$(BIN)/ruff check .
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(CORES) --dist loadfile --no-loadscope-reorder $(TESTS)
	rm -rf .test-home && mkdir .test-home
	notebooks=$$($(BIN)/python -m course.build --to-test $(NOTEBOOKS)) && \
	DIFFENS_HOME="$(CURDIR)/.test-home" OMP_NUM_THREADS=1 CUDA_VISIBLE_DEVICES= \
	  $(BIN)/python -m pytest --nbmake --nbmake-kernel=python3 --nbmake-timeout=600 -n $(CORES) $$notebooks
	rm -rf .test-home

course: .venv/ready
	$(BIN)/python -m course.build

tables: .venv/ready
	$(BIN)/snakemake -s figures/Snakefile --cores $(CORES) --resources gpu=1 --config preset=$(PRESET)

lab: .venv/ready
	$(BIN)/jupyter lab notebooks

notebooks: .venv/ready
	$(BIN)/jupytext --to ipynb --update notebooks/*.py figures/steps/*.py figures/pages/*.py

pictures: .venv/ready
	$(BIN)/python -m figures.pictures

# Notebooks are executed only where what decides their outputs has changed; NOTEBOOKS= executes none.
.PHONY: site
site: PRESET = demo
site: .venv/site
	OMP_NUM_THREADS=1 $(BIN)/python site/make.py $(NOTEBOOKS) --preset $(PRESET)

# Trains preset demo from embedded data and replaces the weights that come with the package.
SHIPPED := sr:ours-tpdm both:ours-tpdm mt:ours-tpdm both:multi-ours sr:pix2pix-2d sr:pix2pix-3d sr:make-a-volume
weights: .venv/ready
	rm -rf diffens_core/weights/demo && mkdir -p runs
	for job in $(SHIPPED); do \
	  $(BIN)/diffens evaluate $${job#*:} --task $${job%:*} --preset demo --subjects 1 --runs runs || exit 1; \
	done
	$(BIN)/diffens evaluate truth --preset demo --subjects 1 --segmenter own --runs runs
	$(BIN)/python -m diffens_core.training.ship $$(ls -d runs/demo/*/ | grep -v -e /samples- -e /prepared-)

clean:
	rm -rf build site/_build/source site/_build/doctrees site/_build/html *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

.venv/site: .venv/ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[site]'
	@touch $@

.venv/ready: pyproject.toml constraints.txt setup.sh
	PYTHON="$(PYTHON)" bash setup.sh
	@touch $@
