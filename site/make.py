"""Make the site: execute what is stale, lay out the sources, run Sphinx, check the links.

python site/make.py [NOTEBOOK or FOLDER]... [--preset smoke|demo|...]: only these are executed, others are taken as they
were executed before, or are shown without results. The site lies in `site/_build/html`.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

from executed import ROOT, Store, digest_of_code
from links import broken_links
from staging import stage

BUILD = ROOT / "site" / "_build"


def main(arguments: list[str] | None = None) -> None:
    """Entry point. Exits with 1 where a notebook or Sphinx fails or a link is broken; the rest is made."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("notebooks", nargs="*", type=Path, metavar="NOTEBOOK or FOLDER")
    parser.add_argument("--preset", default="demo")
    options = parser.parse_args(arguments)
    store = Store(BUILD / "executed", options.preset, digest_of_code())
    failed = [path.stem for path in notebooks_in(options.notebooks) if not is_executed(store, path)]
    for folder in ("doctrees", "html"):
        shutil.rmtree(BUILD / folder, ignore_errors=True)
    bare = stage(BUILD / "source", store)
    rc = sphinx("html", ROOT / "site", BUILD / "html")
    rc += sphinx("revealjs", ROOT / "site" / "slides", BUILD / "html" / "lecture")
    broken = broken_links(BUILD / "html")
    print(*broken, sep="\n")
    print(f"{BUILD / 'html' / 'index.html'}: {len(broken)} broken links; without results: {', '.join(bare) or 'none'}")
    sys.exit(int(bool(rc or failed or broken)))


def notebooks_in(paths: list[Path]) -> list[Path]:
    """The notebooks among `paths`, and those in the folders among them."""
    return [path for one in paths for path in (sorted(one.glob("*.ipynb")) if one.is_dir() else [one])]


def is_executed(store: Store, path: Path) -> bool:
    """Whether there is an executed copy of the notebook `path`, made now if there was none."""
    if store.read(path):
        return True
    print(f"executing {path.name} at preset {store.preset}", flush=True)
    try:
        store.execute(path)
    except Exception as error:  # whatever a cell raised: the site is made without this one, and says so
        print(f"{path.name} failed: {error}", file=sys.stderr)
        return False
    return True


def sphinx(builder: str, configuration: Path, out: Path) -> int:
    """Run a builder of Sphinx on the staged sources, with the `conf.py` of a folder; its exit status."""
    command = [sys.executable, "-m", "sphinx", "--quiet", "-b", builder]
    places = ["-c", configuration, "-d", BUILD / "doctrees" / builder, BUILD / "source", out]
    return subprocess.run([*command, *map(str, places)]).returncode


if __name__ == "__main__":
    main()
