"""Any byte of a file may be wrong: an answer, or one line that says what is; `benchmarks/fuzz.py` tries many more."""

import json

import numpy as np
import pytest

from benchmarks import fuzz


@pytest.mark.parametrize("name", fuzz.KINDS)
def test_wrong_bytes_give_an_answer_or_one_line(name, tmp_path):
    counts, faults = fuzz.fuzz(name, 300, 1, tmp_path)
    assert not faults, f"{faults}: repeat with benchmarks/fuzz.py --kind {name} --seed 1 --first NUMBER --count 1"
    assert counts["answered"] and (counts["refused"] or name in ("table", "checkpoint"))


@pytest.mark.parametrize("name", fuzz.KINDS)
def test_sound_files_are_answered(name, tmp_path, monkeypatch):
    for change in ("flip", "retold", "reshaped"):
        monkeypatch.setattr(fuzz, change, lambda content, rng: bytes(content))
    monkeypatch.setattr(fuzz.Nifti, "overwritten", staticmethod(lambda raw, header, rng: bytes(raw)))
    monkeypatch.setattr(fuzz.Weights, "_mutated", lambda self, weights, rng: weights)
    counts, faults = fuzz.fuzz(name, 30, 0, tmp_path)
    assert not faults and not counts["refused"]


def test_the_harness_sees_faults_of_each_sort(tmp_path):
    class Broken(fuzz.Kind):
        def write(self, rng):
            return 0

        def use(self):
            self.act()

    def loop():
        while True:
            pass

    def refuse():
        raise fuzz.DiffensError("two\nlines")

    kind = Broken(tmp_path / "broken")
    acts = {
        "KeyError": lambda: {}["a"],
        "TooLong": loop,
        "Wrong": refuse,
        "MiB": lambda: np.ones(10**7),
        "RuntimeWarning": lambda: np.float32(1e38) * np.float32(1e38),
    }
    for word, kind.act in acts.items():
        assert word in fuzz.attempt(kind, None)


def test_a_list_that_repeats_itself_without_end_is_refused_in_one_line(tmp_path):
    laughs = "\n".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9))
    (tmp_path / "list.yaml").write_text(f"a0: &a0 x\n{laughs}\nsmoke: {{evaluations: *a8}}\n")
    kind = fuzz.Experiments(tmp_path / "other")
    kind.path = tmp_path / "list.yaml"
    with fuzz.limits(kind.path.stat().st_size), pytest.raises(fuzz.DiffensError):
        kind.use()


def test_a_wrong_number_in_a_configuration_takes_no_memory(tmp_path):
    kind = fuzz.Weights(tmp_path / "run")
    config = json.loads(kind.sound["config.json"])
    config["unet"] |= {"base": 2**20}
    (kind.run / "config.json").write_text(json.dumps(config))
    with fuzz.limits(0), pytest.raises(fuzz.DiffensError, match="no trained weights"):
        kind.use()
