"""The site: what makes a notebook stale, whose outputs are shown, where links lead."""

import re
import sys
from importlib import import_module
from pathlib import Path

import pytest
from nbformat import v4

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "site"))
executed, links, staging = map(import_module, ("executed", "links", "staging"))


def notebook(*cells: tuple[str, str]):
    made = {"code": v4.new_code_cell, "text": v4.new_markdown_cell}
    return v4.new_notebook(cells=[made[kind](source) for kind, source in cells])


def save(path: Path, content) -> Path:
    staging.write(path, v4.writes(content))
    return path


@pytest.fixture
def store(tmp_path):
    return executed.Store(tmp_path / "executed", "smoke", "the code")


PLAIN = (("text", "# Title"), ("code", "preset = 'demo'"), ("code", "print(preset)"))


def test_a_notebook_is_executed_and_kept_until_its_code_changes(store, tmp_path):
    path = save(tmp_path / "00_a.ipynb", notebook(*PLAIN))
    assert store.read(path) is None
    plain = executed.jupytext.read(path)
    plain.cells[1].metadata["tags"] = ["parameters"]
    plain.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    store.execute(save(path, plain))
    shown = executed.with_outputs(executed.jupytext.read(path), store.read(path))
    assert [cell.cell_type for cell in shown.cells] == ["markdown", "code", "code"]
    assert shown.cells[2].outputs[0].text == "smoke\n"
    plain.cells[0].source = "# Another title"
    assert store.read(save(path, plain)) is not None  # text alone is shown as it is now
    plain.cells[2].source = "print(preset, 2)"
    assert store.read(save(path, plain)) is None


@pytest.mark.parametrize("change", [{"preset": "demo"}, {"code": "other code"}])
def test_another_preset_or_other_code_makes_it_stale(store, tmp_path, change):
    path = save(tmp_path / "00_a.ipynb", notebook(*PLAIN))
    save(store.folder / path.name, notebook(*PLAIN))
    (store.folder / "00_a.digest").write_text(store.digest(path))
    assert store.read(path) is not None
    other = executed.Store(tmp_path / "executed", **{"preset": "smoke", "code": "the code"} | change)
    save(other.folder / path.name, notebook(*PLAIN))
    assert other.digest(path) != store.digest(path) and other.read(path) is None


def test_a_notebook_that_fails_leaves_no_copy(store, tmp_path):
    failing = notebook(("text", "# Title"), ("code", "1 / 0"))
    failing.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    path = save(tmp_path / "00_a.ipynb", failing)
    with pytest.raises(Exception, match="ZeroDivisionError"):
        store.execute(path)
    assert store.read(path) is None


def test_code_counts_and_comments_do_not(tmp_path):
    (tmp_path / "pyproject.toml").write_text('[project]\ndependencies = ["numpy>=1"]\n')
    (tmp_path / "constraints.txt").write_text("numpy==2\n")
    for name, text in {"diffens_core/a.py": "x = 1\n", "diffens_core/weights/model.safetensors": "weights"}.items():
        staging.write(tmp_path / name, text)
    before = executed.digest_of_code(tmp_path)
    staging.write(tmp_path / "diffens_core/a.py", "# a remark\nx = 1\n")
    staging.write(tmp_path / "constraints.txt", "numpy==2\nruff==1\n")  # which no notebook imports
    assert executed.digest_of_code(tmp_path) == before
    changes = {"a.py": "x = 2\n", "weights/model.safetensors": "others", "../constraints.txt": "numpy==3\n"}
    for name, text in changes.items():
        staging.write(tmp_path / "diffens_core" / name, text)
        assert executed.digest_of_code(tmp_path) != before
        before = executed.digest_of_code(tmp_path)


def test_data_and_runs_of_other_code_are_deleted(store, tmp_path):
    store._clear_home()
    (store.home / "runs").mkdir()
    store._clear_home()
    assert (store.home / "runs").is_dir()
    executed.Store(tmp_path / "executed", "smoke", "other code")._clear_home()
    assert not (store.home / "runs").exists()


def test_a_page_says_whether_it_was_executed():
    badge = "# Title\n\n[![Open in Colab](https://a/b.svg)](https://colab/x.ipynb)\n\nText"
    plain = notebook(("text", badge), ("code", 'if "google.colab" in sys.modules:\n    pass'), ("code", "x"))
    page = staging.notebook_page(plain, None, "demo")
    assert "Not executed" in page.cells[0].source and "[Open in Colab](https://colab/x.ipynb)" in page.cells[0].source
    assert [cell.source for cell in page.cells[1:]] == ["x"]
    plain = notebook(("text", badge), ("code", "x"))
    assert "preset `demo`" in staging.notebook_page(plain, plain, "demo").cells[0].source


@pytest.mark.parametrize(
    "name, text, wanted",
    [
        ("figures/results.md", "[a](../README.md#limits)", "[a](../README.md#limits)"),
        ("path.md", "[a](pyproject.toml)", f"[a]({staging.REPOSITORY}pyproject.toml)"),
        ("figures/results.md", "[a](tables.py)", f"[a]({staging.REPOSITORY}figures/tables.py)"),
        ("figures/results.md", "[a](out/demo/pages)", "[a](out/demo/pages/index.md)"),
        ("path.md", "[a](https://b.org/c.md), [d](#e)", "[a](https://b.org/c.md), [d](#e)"),
        ("path.md", "[a](nowhere.md)", "[a](nowhere.md)"),
    ],
)
def test_links_lead_to_pages_or_to_the_repository(name, text, wanted):
    assert staging.with_links(text, name, {"README.md", "figures/out/demo/pages/index.md"}) == wanted


def test_tables_and_figures_lead_to_the_text_that_they_belong_to():
    pages = staging.result_pages()
    assert "(../../../results.md)" in pages["figures/out/demo/pages/index.md"]
    assert "(../../../results/before.md)" in pages["figures/out/demo-comparison/pages/index.md"]


def test_a_number_becomes_a_link_to_the_notebook():
    notebooks = sorted((ROOT / "notebooks").glob("*.ipynb"))
    assert re.fullmatch(r"\[03 [A-Z].+\]\(notebooks/03_theory\.ipynb\)", staging.with_notebooks("[[03]]", notebooks))
    assert staging.with_notebooks("[[99]]", notebooks) == "99 (not in this build)"


def test_all_sources_are_staged_and_every_old_name_of_a_notebook_leads_to_one(tmp_path, store):
    names = {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")}
    assert set(staging.stage(tmp_path / "source", store)) == names
    staged = {path.relative_to(tmp_path / "source").as_posix() for path in (tmp_path / "source").rglob("*.*")}
    assert {"index.md", "glossary.md", "figures/results.md", "api/models.md", "README.md"} <= staged
    assert {f"notebooks/{name}.ipynb" for name in names} <= staged
    new = re.findall(r'"notebooks/\w+": "(\w+)\.html"', (ROOT / "site" / "conf.py").read_text())
    assert len(new) == 12 and set(new) <= names


def test_links_that_lead_nowhere_and_things_that_are_fetched_are_found(tmp_path):
    (tmp_path / "a.html").write_text('<h1 id="top"></h1><a href="b.html#here">b</a><a href="#top">top</a>')
    (tmp_path / "b.html").write_text('<p id="here"></p><a href="https://c.org">c</a><img src="data:image/png;base64,">')
    assert links.broken_links(tmp_path) == []
    (tmp_path / "c.html").write_text('<a href="d.html"></a><a href="b.html#no"></a><script src="https://c.org/d.js">')
    lines = [line.split(": ")[1].split()[0] for line in links.broken_links(tmp_path)]
    assert lines == ["d.html", "b.html#no", "fetches"]


def test_papers_that_notebooks_cite_are_in_the_bibliography():
    text = "\n".join(path.read_text() for path in sorted((ROOT / "notebooks").glob("*.py")))
    bibliography = (ROOT / "site" / "pages" / "bibliography.md").read_text()
    cited = re.findall(r"(?:arxiv\.org/abs/|doi\.org/(?:10\.48550/arXiv\.)?)([^\s)]+)", text)
    assert cited and not {name for name in cited if name not in bibliography}
