"""Damaged files, kind by kind, as `benchmarks/fuzz.py` met them: the right answer, or one line that names the file."""

import gzip
import json
import struct
import warnings

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
import torch
from tiny import expert_config, write_prepared

from benchmarks import fuzz
from benchmarks.wrong_bytes import fields
from data_prep.bids import _name_of
from data_prep.splits import read_split_file
from diffens_core.batch import cases_in_table
from diffens_core.data.layout import describe_data, read_participants, read_table
from diffens_core.data.tasks import TASKS
from diffens_core.data.volumes import VolumeError, load_volume, save_volume, spacing_of
from diffens_core.evaluation.evaluate import read_reports
from diffens_core.experiment.samples import read_times
from diffens_core.networks.published import published_weights
from diffens_core.support.cost import read_cost
from diffens_core.support.files import is_name
from diffens_core.support.settings import ConfigError, quoted, shown, to_dict
from diffens_core.training.checkpoints import load_checkpoint, save_checkpoint
from diffens_core.training.config import load_config
from diffens_core.training.loop import _cut_log, read_log
from diffens_core.training.runs import build, load_folder, save_weights
from figures.plan import open_plan

AFFINE = np.diag([-2.0, 2.0, 3.0, 1.0])
DATA = np.arange(60, dtype=np.float32).reshape(3, 4, 5)


def write(path, data=DATA, kind=nib.Nifti1Image, codes=(1, 1), **changes):
    """An image whose qform and sform have the `codes`, then fields of its header with other values."""
    image = kind(data, AFFINE)
    image.set_qform(AFFINE, codes[0])
    image.set_sform(AFFINE, codes[1])
    nib.save(image, path)
    raw = bytearray(path.read_bytes())
    for name, value in changes.items():
        fields(raw)[name][0] = value
    path.write_bytes(raw)
    return path


# Volumes


@pytest.mark.parametrize("value", [np.inf, -np.inf, 1e276, 1e31])
def test_one_voxel_beyond_all_numbers_does_not_make_the_others_zero(tmp_path, value):
    data = DATA.astype(np.float64)
    data[1, 1, 1] = value
    with pytest.raises(VolumeError, match="1 voxels are NaN or infinite|intensities beyond 1e\\+30"):
        load_volume(write(tmp_path / "in.nii", data))


def test_a_wrong_checksum_is_found_though_every_voxel_can_be_read(tmp_path):
    path = tmp_path / "in.nii.gz"
    packed = bytearray(gzip.compress(write(tmp_path / "in.nii", np.ones((16, 16, 16), np.float32)).read_bytes()))
    path.write_bytes(packed)
    np.testing.assert_array_equal(load_volume(path).data, load_volume(tmp_path / "in.nii").data)
    packed[-8] ^= 1  # of the checksum
    path.write_bytes(packed)
    with pytest.raises(VolumeError, match="in.nii.gz: cannot be read.*CRC"):
        load_volume(path)


@pytest.mark.parametrize(
    "changes, complaint",
    [
        ({"vox_offset": 0}, "vox_offset 0 is within the header"),
        ({"scl_slope": 1e-30, "scl_inter": 5}, "scl_slope 1e-30 with scl_inter 5 is no scale"),
        ({"scl_slope": 0, "scl_inter": -7.5}, "scl_slope 0 with scl_inter -7.5 is no scale"),
        ({"qform_code": 6}, "qform_code 6, .*repair the header"),
        ({"pixdim": [-2, 2, 2, 3, 1, 1, 1, 1]}, "pixdim -2, 2, 2, 3"),
        ({"pixdim": [1, 2, 2, -3, 1, 1, 1, 1]}, "pixdim 1, 2, 2, -3"),
        ({"quatern_b": 1, "quatern_c": 1}, "the qform is singular"),
        ({"srow_x": [1e9, 0, 0, 0]}, "the affine is singular"),
        ({"dim": [3, 30000, 30000, 30000, 1, 1, 1, 1]}, "promises 108000000000000 bytes of voxels"),
    ],
)
def test_a_header_that_readers_understand_differently_is_refused(tmp_path, changes, complaint):
    path = write(tmp_path / "in.nii", **changes)
    with fuzz.limits(path.stat().st_size), pytest.raises(VolumeError, match=complaint) as caught:
        load_volume(path)
    assert str(path) in str(caught.value) and len(str(caught.value).splitlines()) == 1


def test_a_slope_of_zero_scales_nothing(tmp_path):
    sound = load_volume(write(tmp_path / "sound.nii"))
    np.testing.assert_array_equal(load_volume(write(tmp_path / "in.nii", scl_slope=0, scl_inter=0)).data, sound.data)


def test_a_file_that_says_its_voxel_size_twice_keeps_both(tmp_path):
    """The standard goes by the sform alone, ITK by the sform's directions and the sizes of pixdim."""
    path = write(tmp_path / "in.nii", codes=(0, 1), pixdim=[1, 2, 2, 4, 1, 1, 1, 1])
    volume = load_volume(path)
    assert volume.spacing == spacing_of(path) == (2, 2, 3)
    save_volume(tmp_path / "out.nii", volume.data, volume)
    seen, again = (SimpleITK.ReadImage(str(tmp_path / name)) for name in ("in.nii", "out.nii"))
    assert seen.GetSpacing() == again.GetSpacing() == (2, 2, 4) and seen.GetDirection() == again.GetDirection()
    assert seen.GetOrigin() == again.GetOrigin()
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(seen), SimpleITK.GetArrayFromImage(again))


def test_the_origin_of_an_analyze_file_of_spm_is_kept(tmp_path):
    """Its axes are a guess, of which a warning tells, but not where it lies."""
    image = nib.Spm99AnalyzeImage(DATA, None)
    image.header.set_zooms((2, 2, 3))
    image.header["origin"][:3] = 3, 4, 1  # counted from 1
    nib.save(image, tmp_path / "in.img")
    with pytest.warns(UserWarning, match="LAS is assumed"):
        volume = load_volume(tmp_path / "in.img")
    np.testing.assert_array_equal(volume.source_affine @ [2, 3, 0, 1], [0, 0, 0, 1])
    save_volume(tmp_path / "out.nii.gz", volume.data, volume)
    np.testing.assert_allclose(load_volume(tmp_path / "out.nii.gz").affine, volume.affine)


def test_nifti_2_stays_nifti_2_with_every_digit_of_its_affine(tmp_path):
    volume = load_volume(write(tmp_path / "in.nii", kind=nib.Nifti2Image, srow_x=[-2 - 1e-12, 0, 0, 1 / 3]))
    save_volume(tmp_path / "out.nii.gz", volume.data, volume)
    image = nib.load(tmp_path / "out.nii.gz")
    assert isinstance(image, nib.Nifti2Image)
    np.testing.assert_array_equal(image.affine[0], [-2 - 1e-12, 0, 0, 1 / 3])


def test_a_compressed_file_of_another_format_is_not_taken_for_truncated(tmp_path):
    nib.save(nib.MGHImage(np.zeros((32, 32, 32), np.float32) + 5, AFFINE), tmp_path / "in.mgz")
    assert load_volume(tmp_path / "in.mgz").data.mean() == 5


def test_a_file_of_bytes_takes_eight_times_its_memory_and_not_more(tmp_path):
    nib.save(nib.Nifti1Image(np.ones((400, 400, 300), np.uint8), AFFINE), tmp_path / "in.nii")
    with fuzz.limits((tmp_path / "in.nii").stat().st_size), warnings.catch_warnings():
        assert load_volume(tmp_path / "in.nii").data.all()


def test_a_name_that_no_file_can_have_is_no_file(tmp_path):
    for read in (load_volume, lambda path: read_table(path, ())):
        with pytest.raises(VolumeError, match="no such file"):
            read(tmp_path / ("x" * 300))


# Tables


def table(path, *lines):
    path.write_text("\n".join(lines) + "\n", newline="")
    return path


def test_cells_stay_in_their_columns(tmp_path):
    """pandas drops what is beyond the header, renames a second column of a name, and loses a blank after a return."""
    rows = read_table(table(tmp_path / "a.csv", "participant_id,split,,", "a", "b,val,,", "\r,test"), ())
    assert rows.to_dict("list") == {"participant_id": ["a", "b", ""], "split": ["", "val", "test"]}
    table(tmp_path / "participants.tsv", "participant_id\tsplit\t", "a\ttrain\t", "\t\t", "b\tval", " \t ", "")
    assert read_participants(tmp_path)["participant_id"].tolist() == ["a", "b"]
    quoted_cells = read_table(table(tmp_path / "b.csv", "participant_id,split", '"a, b ""c""",val'), ())
    assert quoted_cells["participant_id"].tolist() == ['a, b "c"']
    for line, complaint in (("a,b\n1,2,3", "more cells than the header"), ("a,a\n1,2", "several columns of one name")):
        with pytest.raises(VolumeError, match=complaint):
            read_table(table(tmp_path / "c.csv", line), ())
    for line in ('a,b\n"1,2', 'a,b\n"1"x,2', "a,b\n1,\0", "a,b\n1,\x1b[31m"):
        with pytest.raises(VolumeError, match="c.csv: "):
            read_table(table(tmp_path / "c.csv", line), ())


@pytest.mark.parametrize("name", ["../../up", ".hidden", "x" * 300, "a/b"])
def test_a_participant_that_no_file_can_be_called_is_refused(tmp_path, name):
    assert not is_name(name) and is_name("sub-01_ses.2 é")
    write_prepared(tmp_path / "set")
    table(tmp_path / "set" / "participants.tsv", "participant_id\tsplit", f"{name}\ttrain")
    with pytest.raises(VolumeError, match="no folder can have"):
        read_participants(tmp_path / "set")
    with pytest.raises(VolumeError, match="a participant_id of its own that a file can have"):
        cases = table(tmp_path / "cases.csv", "participant_id,lr", f"{name},a.nii")
        cases_in_table(cases, TASKS["sr"], tmp_path / "out")


def test_a_split_that_there_is_not_is_refused_and_not_left_out(tmp_path):
    write_prepared(tmp_path)
    table(tmp_path / "participants.tsv", "participant_id\tsplit", "sub-00\ttrain", "sub-01\ttra1n")
    with pytest.raises(VolumeError, match="sub-01 has the split 'tra1n'; use train, val, test"):
        read_participants(tmp_path)
    with pytest.raises(VolumeError, match="sub-01 has the split 'tra1n'"):
        read_split_file(tmp_path / "participants.tsv")


def test_wrong_values_in_the_description_of_a_set_are_named(tmp_path):
    about = json.loads((write_prepared(tmp_path) / "dataset.json").read_text())
    for key, value in (("name", "a\nb"), ("spacing", [1, 1]), ("shape", [1, 1, float("nan")]), ("source", "x")):
        (tmp_path / "dataset.json").write_text(json.dumps(about | {key: value}))
        with pytest.raises(VolumeError, match=f"dataset.json: wrong {key}; restore it"):
            describe_data(tmp_path, 4.0, (8, 8, 8))


@pytest.mark.parametrize("content, name", [('{"Name": "a\\nb"}', "a b"), ("[" * 20_000, ""), ("[]", ""), ("{}", "")])
def test_the_name_of_a_bids_data_set_is_one_line(tmp_path, content, name):
    (tmp_path / "dataset_description.json").write_text(content)
    assert _name_of(tmp_path) == name or tmp_path.name


# Records


COST = {"seconds": 1.5, "core_seconds": 2, "parameters": 7, "memory": 0.5, "device": "CPU, x86_64"}


def test_sound_records_are_read_as_they_were_written(tmp_path):
    table(tmp_path / "log.csv", "step,loss,lr", "10,0.25,0.001", "20,nan,1e-05")
    assert read_log(tmp_path)["step"].tolist() == [10, 20] and read_log(tmp_path)["lr"].tolist() == [0.001, 1e-5]
    assert np.isnan(read_log(tmp_path)["loss"].iloc[1])
    table(tmp_path / "cost.csv", "subject,sample,sampling,core_sampling", "NA,0,1.5,2.5")
    assert read_times(tmp_path).to_dict("records") == [
        {"subject": "NA", "sample": 0, "sampling": 1.5, "core_sampling": 2.5}
    ]
    table(tmp_path / "metrics.csv", "method,task,subject,sample,metric,value", "a,sr,NA,0,psnr,25.5", "a,sr,all,0,fid,")
    (tmp_path / "cost.json").write_text(json.dumps(COST | {"method": "a", "task": "sr"}))
    metrics, costs = read_reports([tmp_path])
    assert metrics["value"].iloc[0] == 25.5 and np.isnan(metrics["value"].iloc[1])
    assert metrics["subject"].tolist() == ["NA", "all"] and costs.loc[("a", "sr"), "parameters"] == 7
    assert read_cost(tmp_path)["memory"] == 0.5 and read_cost(tmp_path / "none") == {}


@pytest.mark.parametrize(
    "name, content, read",
    [
        ("log.csv", "step,loss\n1,2\n", read_log),
        ("log.csv", "step,loss,lr\n1,2,x\n", read_log),
        ("log.csv", "step,loss,lr\n1,2,3,4\n", read_log),
        ("log.csv", "", read_log),
        ("log.csv", b"\xff\xfe", read_log),
        ("cost.csv", "subject,sample,sampling,core_sampling\n,0,1,2\n", read_times),
        ("cost.json", "[" * 20_000, read_cost),
        ("cost.json", "[]", read_cost),
        ("cost.json", json.dumps(COST | {"seconds": "long"}), read_cost),
        ("cost.json", json.dumps(COST | {"memory": float("nan")}), read_cost),
        ("cost.json", json.dumps(COST | {"device": 1}), read_cost),
        ("metrics.csv", "method,task\na,sr\n", lambda folder: read_reports([folder])),
    ],
)
def test_a_damaged_record_is_one_line(tmp_path, name, content, read):
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConfigError, match=f"{name}: .*restore it, or delete its folder") as caught:
        read(tmp_path)
    assert len(str(caught.value).splitlines()) == 1


def test_an_evaluation_without_its_method_is_one_line(tmp_path):
    table(tmp_path / "metrics.csv", "method,task,subject,sample,metric,value")
    (tmp_path / "cost.json").write_text('{"method": ["a"], "task": "sr"}')
    with pytest.raises(ConfigError, match="cost.json: says no method or task"):
        read_reports([tmp_path])


def test_a_damaged_log_does_not_keep_a_training_from_going_on(tmp_path):
    content = "step,loss,lr\n10,0.5,0.001\n²,1,1\n" + "9" * 5000 + ",1,1\n20,0.25,0.001\n30,0.2,0.001\n2"
    (tmp_path / "log.csv").write_bytes(content.encode() + b"\xff,\0\n")
    _cut_log(tmp_path, 20)
    assert (tmp_path / "log.csv").read_text() == "step,loss,lr\n10,0.5,0.001\n20,0.25,0.001\n"


# Runs


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run folder with fresh weights."""
    root = tmp_path_factory.mktemp("run")
    config = expert_config(write_prepared(root / "data"))
    save_weights(root / config.folder, build(config), config)
    (root / config.folder / "config.json").write_text(json.dumps(to_dict(config)))
    return root / config.folder


def changed(run, tmp_path, change):
    """A copy of a run whose weights a function has changed."""
    content = (run / "model.safetensors").read_bytes()
    folder = tmp_path / "smoke" / run.name
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(change(content))
    (folder / "config.json").write_bytes((run / "config.json").read_bytes())
    return folder


@pytest.mark.parametrize(
    "change, complaint",
    [
        (lambda content: content[:-4] + struct.pack("<f", float("nan")), "weights that are NaN or infinite"),
        (lambda content: content.replace(b'"F32"', b'"I32"', 1), "not of the network that config.json describes"),
        (lambda content: content[:-1], "corrupt weights"),
    ],
)
def test_weights_that_cannot_be_right_are_one_line(run, tmp_path, change, complaint):
    load_folder(run)
    with pytest.raises(ConfigError, match=f"model.safetensors: .*{complaint}"):
        load_folder(changed(run, tmp_path, change))


@pytest.mark.parametrize(
    "content, complaint",
    [
        ({"name": "../../up"}, "name must be a name that a folder can have"),
        ({"seed": 2**63}, "seed must be a number that is not so large"),
        ({"preset": "a\nb"}, "preset must be printable text"),
        ({"diffusion": {"steps": "many\nsteps"}}, "steps must be int, not 'many"),
        ({"a\nb": 1}, "unknown key a b; known are"),
    ],
)
def test_wrong_values_of_a_configuration_are_one_line(run, tmp_path, content, complaint):
    sound = json.loads((run / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(sound | content))
    with pytest.raises(ConfigError, match=complaint) as caught:
        load_config(tmp_path / "config.json")
    assert len(str(caught.value).splitlines()) == 1 and str(tmp_path) in str(caught.value)


def test_a_wrong_number_in_a_configuration_takes_no_memory(run, tmp_path):
    folder = changed(run, tmp_path, bytes)
    config = json.loads((run / "config.json").read_text())
    config["unet"] |= {"base": 2**20}
    (folder / "config.json").write_text(json.dumps(config))
    with fuzz.limits(0), pytest.raises(fuzz.DiffensError, match="no trained weights"):
        load_folder(folder)


def test_a_checkpoint_that_is_none_is_passed_over(tmp_path):
    save_checkpoint(tmp_path, 1, {"step": 1})
    newest = save_checkpoint(tmp_path, 2, [1, 2])  # whole, but no state
    (tmp_path / "3-notes.pt").write_bytes(b"of somebody")
    with pytest.warns(UserWarning, match=f"{newest.name}: checkpoint is corrupt"):
        assert load_checkpoint(tmp_path) == {"step": 1}


@pytest.mark.parametrize("content", [{"a": torch.tensor([1.0, float("nan")])}, [torch.zeros(2)], {1: torch.zeros(2)}])
def test_published_weights_that_cannot_be_right_are_one_line(tmp_path, content):
    torch.save({"state_dict": {"module.a": torch.ones(2), "epoch": 3}}, tmp_path / "a.pt")
    assert published_weights(tmp_path / "a.pt").keys() == {"a"}
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(ConfigError, match="a.pt: ") as caught:
        published_weights(tmp_path / "a.pt")
    assert len(str(caught.value).splitlines()) == 1


def test_a_wrong_byte_of_published_weights_is_found_by_the_checksum(tmp_path):
    weights = torch.full((64,), 0.123)
    torch.save({"a": weights}, tmp_path / "a.pt")
    torch.testing.assert_close(published_weights(tmp_path / "a.pt")["a"], weights, rtol=0, atol=0)
    content = (tmp_path / "a.pt").read_bytes()
    number = struct.pack("<f", 0.123)
    assert content.count(number) == 64
    (tmp_path / "a.pt").write_bytes(content.replace(number, struct.pack("<f", 0.25), 1))
    with pytest.raises(ConfigError, match="a.pt: not a torch checkpoint .*data/0 is damaged"):
        published_weights(tmp_path / "a.pt")


def test_an_error_without_a_message_is_one_line_too(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise AssertionError

    monkeypatch.setattr(torch, "load", fail)
    with pytest.raises(ConfigError, match="not a torch checkpoint"):
        published_weights(tmp_path / "a.pt")


# Lists of experiments, and messages


def test_a_list_that_repeats_itself_without_end_is_refused_in_one_line(tmp_path):
    laughs = "\n".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9))
    path = tmp_path / "list.yaml"
    path.write_text(f"a0: &a0 x\n{laughs}\nsmoke: {{evaluations: *a8}}\n")
    with fuzz.limits(path.stat().st_size), pytest.raises(ConfigError) as caught:
        open_plan("smoke", experiments=str(path))
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    "content, complaint",
    [
        ("{samples: -1}", "samples must be a whole number, not -1 .0 to 999999999"),
        ("{samples: yes}", "samples must be a whole number"),
        ("{samples: '2000000000'}", "samples must be a whole number"),
        ("{runs: [a]}", "runs must be text"),
        ("{jobs: {train: [.nan, 1]}}", "must be \\[minutes, GiB\\]"),
        ("{medicalnet: " + "x" * 300 + "}", "no such file"),
        ("{evaluations: [{methods: [[a]], tasks: [sr]}]}", "methods, tasks and samplers are names"),
        ("{evaluations: [{methods: [cubic], tasks: [sr], second: 1}]}", "second must be true or false"),
        ("{samples: 2026-99-99}", "not valid YAML"),
        ("{? []: 1}", "not valid YAML"),
        ("[" * 20_000, "not valid YAML"),
    ],
)
def test_wrong_values_of_a_list_are_one_line(tmp_path, content, complaint):
    (tmp_path / "list.yaml").write_text(f"smoke: {content}\n")
    with pytest.raises(ConfigError, match=complaint) as caught:
        open_plan("smoke", experiments=str(tmp_path / "list.yaml"))
    assert len(str(caught.value).splitlines()) == 1


def test_what_comes_from_a_file_is_shown_in_one_short_line():
    assert shown(" a\n\tb ") == "a b" and shown("\x1b[31m") == "\\x1b[31m" and len(shown("x" * 999)) == 303
    assert quoted(10**5000) == "a number of thousands of digits" and quoted("a'b") == '"a\'b"'
    endless = []
    endless.append(endless)
    assert len(quoted(endless)) < 300
