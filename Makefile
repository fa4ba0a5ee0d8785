# make demo   train a detector by ranking on data that it makes itself, and show what it learnt
# make test   run the whole test suite
# Both make the environment in .venv first, if it is not there.
#
# make demo LOSS=focal          the same detector with focal loss, to compare
# make bccd BCCD=FOLDER         train on real photos of blood cells (VOC XML; see README.md)
# make demo DEMO_ARGS='...'     more options of tools/demo.py
# make test PYTEST_ARGS='...'   more options of pytest
# make lint                     what CI checks of the form of the code and of its types
# make docs                     build the pages of docs/ into docs/_build/html
# make links                    ask the network for every address that the pages link to
# make clean                    remove the environment and the demo

PYTHON ?= python3
VENV ?= .venv
LOSS ?= ap
BIN := $(VENV)/bin
# The stamp's name changes with the requirements, so that a change of them renews the environment.
STAMP := $(VENV)/.ready-$(shell cat requirements.txt requirements-dev.txt docs/requirements.txt setup.py | cksum | cut -d' ' -f1)

.PHONY: help demo bccd test lint docs links env clean
.DEFAULT_GOAL := help

help:
	@sed -n '1,13s/^# \{0,1\}//p' Makefile

demo: $(STAMP)
	$(BIN)/python tools/demo.py --loss $(LOSS) $(DEMO_ARGS)

bccd: $(STAMP)
	@test -n "$(BCCD)" || { echo "error: say where the photos are: make bccd BCCD=FOLDER" >&2; exit 1; }
	$(BIN)/python tools/dataset_converters/voc_to_coco.py "$(BCCD)" --split train test --out data/bccd
	BCCD="$(BCCD)" $(BIN)/python tools/train.py \
	  configs/bccd/retinanet_r18_fpn_ap-loss_1xb8-30e_bccd-320.py --resume

test: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder \
	  $(PYTEST_ARGS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(STAMP)
	$(BIN)/python -m sphinx -q -W --keep-going -b html docs docs/_build/html
	@echo 'open docs/_build/html/index.html'

links: $(STAMP)
	$(BIN)/python -m sphinx -q -b linkcheck docs docs/_build/links

env: $(STAMP)

$(STAMP):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "error: Python 3.10 or newer is needed, $(PYTHON) is older: make PYTHON=python3.11 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
	  { echo "error: $(PYTHON) lacks venv; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@echo '== 0/4  the environment $(VENV): about 2 minutes and 6 GB, once'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --no-warn-script-location \
	  -r requirements-dev.txt
	$(BIN)/python -m pip install --disable-pip-version-check --no-deps --no-build-isolation -q -e .
	@# mmcv and a helper of mmdet bring one OpenCV each, and the later one wins. The one for
	@# desktops needs libGL, which servers lack; the headless one does all that is needed here.
	@$(BIN)/python -c 'import cv2' 2>/dev/null || \
	  $(BIN)/python -m pip install -q --disable-pip-version-check --force-reinstall --no-deps \
	    opencv-python-headless==$$($(BIN)/python -m pip list --format=freeze 2>/dev/null | sed -n 's/^opencv-python==//p')
	$(BIN)/python -c 'import rankdet.plugin'
	@rm -f $(VENV)/.ready-*; touch $@

clean:
	rm -rf $(VENV) work_dirs/demo work_dirs/demo-focal data/digits
