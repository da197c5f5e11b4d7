"""README: its lines of Python run as they stand, its length, its pictures, and the numbers that it says beside one."""

import re
from pathlib import Path

import pandas as pd
from nibabel import load

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_the_lines_of_python_run_and_the_fusion_is_ahead(tmp_path, monkeypatch, capsys):
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(code.splitlines()) <= 10
    monkeypatch.setenv("DIFFENS_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    exec(code, names := {})
    assert "ours-tpdm" in capsys.readouterr().out
    psnr = names["metrics"].query("metric == 'psnr'").groupby("method")["value"].mean()
    assert psnr["ours-tpdm"] > psnr["tpdm"] > psnr["degraded"]
    assert load(tmp_path / "flair.nii.gz").shape == tuple(names["pair"].x0.shape[1:])


def test_it_is_short_and_shows_what_is_there():
    assert len(README.splitlines()) <= 150
    shown = re.findall(r"^!\[[^\]]+\]\(([^)]+)\)", README, re.MULTILINE)
    assert len(shown) == 2 and all((ROOT / path).is_file() for path in shown)


def test_leads_beside_the_picture_are_those_of_the_table():
    table = ROOT / "figures" / "out" / "demo" / "pages" / "table_s1_significance" / "table_s1_psnr.csv"
    leads = pd.read_csv(table).set_index(["task", "method"])["difference"]
    said = README[README.index("The fusion gains most") :].partition("\n\n")[0]
    wanted = [leads[key] for key in (("both", "multi-ours"), ("both", "ours-tpdm"), ("sr", "ours-tpdm"))]
    assert re.findall(r"\+\d\.\d\d", said) == [f"{lead:+.2f}" for lead in wanted]
