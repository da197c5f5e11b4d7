"""Files with wrong bytes: every reader gives an answer, or refuses in one line of `DiffensError`.

    python benchmarks/fuzz.py [--kind nifti] [--count 10000] [--seed 0] [--first 0]

Each kind of file is mutated at random, and read as the library reads it. A fault is any other error than a
`DiffensError` of one line, a numerical warning, an answer that is not finite, more seconds of processor than `SECONDS`,
more memory than 8 times the (unpacked) file and `ALLOWANCE`, and files left beside what was written. A volume that is
accepted is written again, and the qform, sform and unit of both files are compared by a reader of the standard's fields
that shares no code with nibabel (`geometry`). Mutant N of a kind depends on the seed and N alone:
`--kind K --seed S --first N --count 1` makes it again.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import json
import logging
import re
import shutil
import signal
import struct
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
import yaml

from data_prep.pairs import find
from data_prep.splits import read_split_file
from diffens_core.data.layout import DataConfig, describe_data
from diffens_core.data.prepared import PreparedData
from diffens_core.data.tasks import SEGMENTATIONS, TASKS
from diffens_core.data.volumes import is_sane, load_volume, save_volume
from diffens_core.diffusion.schedule import DiffusionConfig
from diffens_core.networks.unet import UNetConfig
from diffens_core.support.errors import DiffensError
from diffens_core.support.settings import to_dict
from diffens_core.training.checkpoints import load_checkpoint, save_checkpoint
from diffens_core.training.config import RunConfig, load_config
from diffens_core.training.loop import Phase, TrainConfig
from diffens_core.training.runs import build, load_folder, save_weights
from figures.plan import EXPERIMENTS, open_plan

ROOT = Path(__file__).parents[1]
SECONDS = 5.0  # of processor time for one file
ALLOWANCE = 32 * 2**20  # bytes beside 8 times the file
ZEROS = gzip.compress(bytes(2**25))  # a member to append: 32 MiB in 32 KiB
SIDE = 12  # voxels of the volumes of a set
DTYPES = ("u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8")
NASTY = (
    'NaN Infinity -Infinity null true false -1 0 1e999 -1e-999 1.5 [] {} [[]] {a:b} \'\' "" " ~ ! & * @ ` % | > - ? :'
)
NASTY = [*NASTY.split(" "), "9" * 5000, "1" + "0" * 400, "[" * 20_000, "{a: " * 2_000, '{"a":' * 20_000, "x" * 300]
NASTY += ['"\\ud800"', '"\\u0000"', '"a\\nb"', "\n", "\t", "\r", ",", "\0", "../..", "/", "٣", "²", "\u2028", "\ufeff"]
NASTY += ["2026-99-99", "!!binary x", "&a [*a]", "!!python/name:os.system", "0x10", "1_000", "2147483648", "?[]: 1"]

VALUES = [float("nan"), float("inf"), -1, 0, 1, 2, 0.5, 1e300, 2**31, 2**63, 10**400, None, True, False, "", "x" * 300]
VALUES += [
    "\ud800",
    "\0",
    "a\nb",
    "../..",
    "sr",
    "all",
    "axial",
    [],
    {},
    [[]],
    [1],
    {"a": 1},
    ["sr"],
    [float("nan")],
    "1",
]
OFTEN = [*["dim"] * 3, *["pixdim"] * 3, "datatype", "bitpix", "vox_offset", "scl_slope", "scl_inter", "qform_code"]
OFTEN += ["sform_code", "xyzt_units", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "srow_x", "srow_y", "srow_z"]
OFTEN += ["sizeof_hdr", "magic"]


class TooLong(BaseException):
    """A file took longer than `SECONDS`."""


class Wrong(Exception):
    """An answer that cannot be right."""


def flip(content: bytes, rng: np.random.Generator) -> bytes:
    """`content` with one to eight random changes: bits, runs of bytes, pieces cut out, doubled, appended, cut off."""
    content = bytearray(content)
    for _ in range(int(rng.integers(1, 9)) if rng.random() < 0.5 else 1):
        low = int(rng.integers(len(content) + 1))
        high = min(len(content), low + int(rng.integers(1, 1 + 2 ** int(rng.integers(1, 9)))))
        match int(rng.integers(8)):
            case 0 | 1 if low < high:
                content[low] ^= 1 << int(rng.integers(8))
            case 2:
                content[low:high] = rng.bytes(high - low)
            case 3:
                content[low:high] = bytes([int(rng.choice([0, 255]))]) * (high - low)
            case 4:
                content[low:high] = content[low:high] * 2
            case 5:
                del content[low:high]
            case 6:
                del content[low:]
            case 7:
                content += rng.bytes(int(rng.integers(1, 64)))
    return bytes(content)


def retold(content: bytes, rng: np.random.Generator) -> bytes:
    """Text with some of its words, numbers, strings or marks replaced by another's, or by what parsers stumble over."""
    if rng.random() < 0.3:
        return flip(content, rng)
    pieces = re.findall(r'"[^"]*"|[\w.-]+|\s+|.', content.decode(errors="replace"), re.DOTALL)
    for _ in range(int(rng.integers(1, 4))):
        if pieces:
            at, other = (int(rng.integers(len(pieces))) for _ in range(2))
            pieces[at] = pieces[other] if rng.random() < 0.3 else NASTY[int(rng.integers(len(NASTY)))]
    return "".join(pieces).encode(errors="replace")


def reshaped(content: bytes, rng: np.random.Generator) -> bytes:
    """JSON with some of its values replaced by others of any type, or taken out; sound JSON, but for its numbers."""
    tree = json.loads(content)
    for _ in range(int(rng.integers(1, 3))):
        node, key, parent = tree, None, None
        while isinstance(node, dict | list) and node and (parent is None or rng.random() < 0.8):
            keys = list(node) if isinstance(node, dict) else range(len(node))
            parent, key = node, keys[int(rng.integers(len(keys)))]
            node = parent[key]
        if parent is not None and rng.random() < 0.2:
            del parent[key]
        elif parent is not None:
            parent[key] = VALUES[int(rng.integers(len(VALUES)))]
    return json.dumps(tree).encode()


def changed(content: bytes, rng: np.random.Generator) -> bytes:
    """JSON with wrong bytes, wrong words, or wrong values."""
    return reshaped(content, rng) if rng.random() < 0.6 else retold(content, rng)


@dataclass
class Kind:
    """Files of one kind in a `folder`: `write` a mutant and return its size in bytes, then `use` it."""

    folder: Path

    def __post_init__(self):
        self.folder.mkdir(parents=True)
        self.set_up()

    def set_up(self) -> None:
        """Write what the mutants are made from."""

    def write(self, rng: np.random.Generator) -> int:
        raise NotImplementedError

    def use(self) -> None:
        raise NotImplementedError


@dataclass
class Nifti(Kind):
    """NIfTI-1 and 2, single files and pairs, compressed or not, either byte order, all integers and floats."""

    path: Path = field(default=Path(), init=False)

    def write(self, rng):
        shutil.rmtree(self.folder)
        (self.folder / "out").mkdir(parents=True)
        two, pair, packed = rng.random() < 0.3, rng.random() < 0.2, rng.random() < 0.4
        image = self._image(rng, two, pair)
        parts = {key: holder.fileobj.getvalue() for key, holder in image.file_map.items() if holder.fileobj}
        header, body = parts.get("header", b""), parts["image"]
        mutate = self.overwritten if rng.random() < 0.6 else lambda raw, *_: flip(raw, rng)
        if pair:
            header = mutate(header, image.header, rng)
            body = flip(body, rng) if rng.random() < 0.3 else body
        else:
            body = mutate(body, image.header, rng)
        size = len(header) + len(body)
        if packed:
            header, body = gzip.compress(header, 1), gzip.compress(body, 1)
            fate = rng.random()
            if fate < 0.05:
                body, size = body + ZEROS, size + 2**25
            elif fate < 0.2:
                body = flip(body, rng)
        ending = ".gz" if packed else ""
        self.path = self.folder / f"in{'.img' if pair else '.nii'}{ending}"
        self.path.write_bytes(body)
        if pair:
            (self.folder / f"in.hdr{ending}").write_bytes(header)
        return max(size, len(body))

    def _image(self, rng, two: bool, pair: bool):
        """A small sound image in memory, whose axes lie anyhow."""
        kinds = (nib.Nifti2Pair, nib.Nifti2Image) if two else (nib.Nifti1Pair, nib.Nifti1Image)
        kind, dtype = kinds[0 if pair else 1], np.dtype(str(rng.choice(DTYPES)))
        unit = int(rng.integers(4))
        affine = np.diag([*rng.uniform(0.5, 5, 3), 1.0])
        affine[:3, :3] = np.linalg.qr(rng.normal(size=(3, 3)))[0] @ affine[:3, :3]
        affine[:3, 3] = rng.normal(size=3) * 100
        affine[:3] *= {1: 1e-3, 3: 1e3}.get(unit, 1.0)
        shape = tuple(int(n) for n in rng.integers(2, 9, 3)) + (1,) * int(rng.integers(3))
        header = kind.header_class(endianness=">" if rng.random() < 0.4 else "<")
        header.set_data_dtype(dtype)
        image = kind(rng.uniform(0, 100, shape).astype(dtype), affine, header)
        image.set_sform(affine, int(rng.integers(5)))
        image.set_qform(affine, int(rng.integers(5)))
        image.header.set_xyzt_units(unit)
        if rng.random() < 0.3:
            image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"a comment"))
        image.file_map = kind.make_file_map({key: io.BytesIO() for key, _ in kind.files_types})
        image.to_file_map(image.file_map)
        return image

    @staticmethod
    def overwritten(raw: bytes, header, rng) -> bytes:
        """One to four fields of the header replaced by what is extreme, small or random."""
        raw = bytearray(raw)
        fields = np.frombuffer(raw, header.template_dtype.newbyteorder(header.endianness), 1)
        often = OFTEN if rng.random() < 0.9 else fields.dtype.names
        for _ in range(int(rng.integers(1, 5))):
            name = str(rng.choice(often))
            values = fields[name].reshape(-1)
            at, kind = int(rng.integers(values.size)), values.dtype.kind
            if kind in "iu":
                low, high = np.iinfo(values.dtype).min, np.iinfo(values.dtype).max
                some = [0, 1, 2, 3, 4, 5, 7, 8, 16, 64, 256, 512, 768, 1024, 1536, 2048, 2304, -1, low, high, high // 2]
                value = some[int(rng.integers(len(some)))]
                value = int(rng.integers(low, high)) if rng.random() < 0.2 else min(max(value, low), high)
            elif kind == "f":
                some = [0.0, 1.0, -1.0, 0.5, np.nan, np.inf, -np.inf, 1e-38, 1e38, 1e9, -1e9, 348, 352, 1e-4, 1e5]
                value = some[int(rng.integers(len(some)))] if rng.random() < 0.8 else rng.normal()
            else:
                value = rng.bytes(values.dtype.itemsize)
            fields[name].reshape(-1)[at] = value
        return bytes(raw)

    def use(self):
        volume = load_volume(self.path)
        if not np.isfinite(volume.data).all() or not np.isfinite(volume.affine).all():
            raise Wrong("the volume is not finite")
        target = self.folder / "out" / "out.nii.gz"
        try:
            save_volume(target, volume.data, volume)
        finally:
            if not {path.name for path in target.parent.iterdir()} <= {target.name}:
                raise Wrong("a temporary file is left")
        if not np.array_equal(load_volume(target).data, volume.data):
            raise Wrong("what is written is not what was read")
        header = self.path.with_name(self.path.name.replace(".img", ".hdr"))
        if isinstance(volume.header, nib.Nifti1Header) and (before := geometry(header)):
            compare(before, geometry(target))


def geometry(path: Path) -> dict | None:
    """Unit, qform and sform of a NIfTI file, by the standard's fields; None: its header has another size."""
    raw = path.read_bytes()
    raw = gzip.GzipFile(fileobj=io.BytesIO(raw)).read(600) if raw[:2] == b"\x1f\x8b" else raw
    order = next((o for o in "<>" if struct.unpack_from(o + "i", raw)[0] in (348, 540)), None)
    if order is None:
        return None  # nibabel goes by other fields, and the standard by none
    two = struct.unpack_from(order + "i", raw)[0] == 540

    def take(code: str, one: int, other: int) -> tuple:
        return struct.unpack_from(order + code, raw, other if two else one)

    real = "d" if two else "f"
    pixdim = np.array(take("8" + real, 76, 104), dtype=float)
    codes = take("2i", 0, 344) if two else take("2h", 252, 0)
    b, c, d, *offset = take("6" + real, 256, 352)
    rows = np.array(take("12" + real, 280, 400), dtype=float).reshape(3, 4)
    unit = (take("i", 0, 500) if two else take("b", 123, 0))[0] & 7
    with np.errstate(all="ignore"):
        rest = 1 - b * b - c * c - d * d
        a = np.sqrt(max(0.0, rest)) if rest > -1e-6 else np.nan  # else it is no rotation
        turn = [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
        size = np.abs(pixdim[1:4]) * [1, 1, -1 if pixdim[0] < 0 else 1]
        turned = np.column_stack([np.array(turn) * size, offset])
    forms = {"qform": (codes[0], turned), "sform": (codes[1], rows)}
    return {"unit": unit, "forms": {name: form for name, (code, form) in forms.items() if code > 0}}


def compare(before: dict, after: dict) -> None:
    """Raise `Wrong` where a form that is usable, or the unit, did not survive."""
    if before["unit"] != after["unit"] and before["unit"] in (1, 2, 3):
        raise Wrong(f"the unit {before['unit']} became {after['unit']}")
    for name, form in before["forms"].items():
        if not is_sane(np.vstack([form, [0, 0, 0, 1]]), {1: 1e3, 3: 1e-3}.get(before["unit"], 1.0)):
            continue
        if name not in after["forms"]:
            raise Wrong(f"the {name} is lost")
        error = np.abs(after["forms"][name] - form).max()
        if error > 2e-3 * np.abs(form[:, :3]).max() + 1e-6 * np.abs(form).max():
            raise Wrong(f"the {name} moved by {error:.3g}")


def write_set(root: Path, shape=(SIDE,) * 3) -> None:
    """A prepared set of two subjects with labels, with four contrasts at 4 mm."""
    rng, affine = np.random.default_rng(0), np.diag([4.0, 4.0, 4.0, 1.0])
    for subject in ("sub-00", "sub-01"):
        (root / subject).mkdir(parents=True)
        brain = np.zeros(shape, np.uint8)
        brain[2:-2, 2:-2, 1:-1] = 1
        images = {c: brain * rng.uniform(0.2, 0.8, shape).astype(np.float32) for c in ("flair", "t1ce", "t1", "t2")}
        for name, data in (images | {"brain": brain, "seg": brain * 2}).items():
            nib.save(nib.Nifti1Image(data, affine), root / subject / f"{name}.nii.gz")
        (root / subject / "intensity.json").write_text(json.dumps({c: {"low": 0.0, "high": 1.0} for c in images}))
    about = {"name": "tiny", "contrasts": list(images), "spacing": [4.0] * 3, "shape": list(shape)}
    (root / "dataset.json").write_text(json.dumps(about | {"source": ["test"], "licence": ["none"]}))
    rows = ("participant_id\tsplit\tpatient\tsource", "sub-00\ttrain\tsub-00\ttest", "sub-01\ttrain\tsub-01\ttest")
    (root / "participants.tsv").write_text("\n".join(rows) + "\n")


@dataclass
class PreparedSet(Kind):
    """dataset.json, participants.tsv and the files of the first subject."""

    def set_up(self):
        write_set(self.folder / "set")
        names = ["dataset.json", "participants.tsv", "sub-00/intensity.json"]
        names += [f"sub-00/{name}.nii.gz" for name in ("flair", "t1ce", "brain", "seg")]
        self.sound = {self.folder / "set" / name: (self.folder / "set" / name).read_bytes() for name in names}

    def write(self, rng):
        for path, content in self.sound.items():
            path.write_bytes(content)
        path = list(self.sound)[int(rng.integers(len(self.sound)))]
        content = self.sound[path]
        if path.suffix == ".gz":
            raw = bytearray(gzip.decompress(content))
            header = nib.Nifti1Image.header_class()
            raw = Nifti.overwritten(raw, header, rng) if rng.random() < 0.5 else flip(raw, rng)
            path.write_bytes(gzip.compress(raw, 1) if rng.random() < 0.8 else flip(content, rng))
            return 4 * sum(map(len, self.sound.values())) + len(raw)
        path.write_bytes(changed(content, rng) if path.suffix == ".json" else retold(content, rng))
        return path.stat().st_size + sum(map(len, self.sound.values()))

    def use(self):
        config = describe_data(self.folder / "set", 4.0, (SIDE,) * 3)
        for task in (TASKS["both"], SEGMENTATIONS["seg4"]):
            data = PreparedData(config, "train", task)
            pair = data[0]
            labels = data.labels(pair.subject)
            finite = [torch.isfinite(tensor).all() for tensor in (pair.x0, pair.y)]
            if not all(finite) or not np.isfinite(pair.affine).all():
                raise Wrong("the pair is not finite")
            if labels is not None and labels.shape != pair.brain.shape:
                raise Wrong("the labels have another shape")


@dataclass
class Table(Kind):
    """Tables of pairs and of splits, split at commas or tabs."""

    def write(self, rng):
        rows = [["participant_id", "flair", "t1ce", "seg", "mask", "patient", "split"]]
        rows += [
            [f"s{n}", f"s{n}/f.nii.gz", f"s{n}/c.nii", "", "m.nii", f"p{n}", s] for n, s in enumerate(["train", ""])
        ]
        ending, mark = (".csv", ",") if rng.random() < 0.5 else (".tsv", "\t")
        self.path = self.folder / f"table{ending}"
        self.path.write_bytes(retold("\n".join(map(mark.join, rows)).encode(), rng))
        return self.path.stat().st_size

    def use(self):
        for source in _each(lambda: find(self.path)):
            if not isinstance(source.participant_id, str) or not all(
                isinstance(p, Path) for p in source.files.values()
            ):
                raise Wrong("a cell is no text")
        _each(lambda: read_split_file(self.path))


@dataclass
class Experiments(Kind):
    """Lists of experiments in YAML."""

    def set_up(self):
        self.sound = EXPERIMENTS.read_text().split("\ndemo:")[0].partition("\nsmoke:")[2]
        self.sound = f"smoke:{self.sound}\n".encode()
        self.same = json.dumps(yaml.safe_load(self.sound)).encode()  # JSON is YAML
        self.path = self.folder / "list.yaml"

    def write(self, rng):
        self.path.write_bytes(retold(self.sound, rng) if rng.random() < 0.5 else reshaped(self.same, rng))
        return self.path.stat().st_size

    def use(self):
        plan = open_plan("smoke", experiments=str(self.path))
        names = [one.name for one in plan.evaluations]
        if not all(type(number) is int for number in (plan.subjects, plan.samples, plan.sets, plan.partial)):
            raise Wrong("a number of the plan is no integer")
        if not all(isinstance(text, str) for text in (plan.data, plan.runs, plan.second, plan.split, *names)):
            raise Wrong("a name of the plan is no text")


def tiny_run(root: str = "data") -> RunConfig:
    """A run of the smallest network there is."""
    data = DataConfig(root, "tiny", "0" * 8, 4.0, (8, 8, 8))
    training = TrainConfig((Phase(2, 1, 1e-3, (8, 8, 1)),))
    unet = UNetConfig(base=4, mult=(1,), blocks=1)
    return RunConfig("smoke", "expert", "sr", "axial", 0, data, DiffusionConfig(), unet, training, plane="axial")


@dataclass
class Config(Kind):
    """config.json of a run."""

    def set_up(self):
        self.sound = json.dumps(to_dict(tiny_run())).encode()
        self.path = self.folder / "config.json"

    def write(self, rng):
        self.path.write_bytes(changed(self.sound, rng))
        return self.path.stat().st_size

    def use(self):
        config = load_config(self.path)
        (self.folder / config.folder / "model.safetensors").is_file()
        if not re.fullmatch("[0-9a-f]{8}", config.identity):
            raise Wrong("no identity")


@dataclass
class Checkpoints(Kind):
    """The last two checkpoints of a training; the digest in the name of a mutant is at times that of the mutant."""

    def set_up(self):
        model = build(tiny_run())
        state = {"step": 0, "model": model.state_dict(), "pending": [0.5], "precision": "float32"}
        self.sound = {}
        for step in (1, 2):
            path = save_checkpoint(self.folder, step, state | {"step": step})
            self.sound[path.name] = path.read_bytes()

    def write(self, rng):
        shutil.rmtree(self.folder)
        self.folder.mkdir()
        older, newer = self.sound
        content = flip(self.sound[newer], rng)
        name = newer
        if rng.random() < 0.4:
            name = f"00000002-{hashlib.sha256(content).hexdigest()[:8]}.pt"
        elif rng.random() < 0.1:
            name = retold(newer.removesuffix(".pt").encode(), rng).decode(errors="replace")
            name = re.sub(r"[/\0]", "", name)[:40] + ".pt"
        (self.folder / older).write_bytes(self.sound[older])
        (self.folder / name).write_bytes(content)
        return 2 * len(content)

    def use(self):
        content = load_checkpoint(self.folder)
        if not isinstance(content, dict) or content["step"] not in (1, 2):
            raise Wrong("neither of the two checkpoints")
        save_checkpoint(self.folder, 3, content)


@dataclass
class Weights(Kind):
    """A run folder: model.safetensors, or its config.json."""

    def set_up(self):
        config = tiny_run()
        self.run = self.folder / config.folder
        save_weights(self.run, build(config), config)
        (self.run / "config.json").write_text(json.dumps(to_dict(config)))
        self.sound = {name: (self.run / name).read_bytes() for name in ("model.safetensors", "config.json")}

    def write(self, rng):
        for name, content in self.sound.items():
            (self.run / name).write_bytes(content)
        weights, config = self.sound.values()
        if rng.random() < 0.2:
            (self.run / "config.json").write_bytes(changed(config, rng))
        else:
            (self.run / "model.safetensors").write_bytes(self._mutated(weights, rng))
        return len(weights) + (self.run / "config.json").stat().st_size

    def _mutated(self, weights: bytes, rng) -> bytes:
        """Any byte wrong, or words of the header replaced, its length adapted or not."""
        length = struct.unpack_from("<Q", weights)[0]
        header, body = weights[8 : 8 + length], bytearray(weights[8 + length :])
        fate = rng.random()
        if fate < 0.3:
            return flip(weights, rng)
        if fate < 0.5:
            at = int(rng.integers(len(body) - 4))
            body[at : at + 4] = rng.bytes(4) if rng.random() < 0.5 else np.float32(np.inf).tobytes()
        elif fate < 0.9:
            header = changed(header, rng)
        else:
            dtypes = (b"F16", b"BF16", b"F64", b"I32", b"BOOL", b"F8_E4M3", b"C64", b"F4", b"U64")
            header = header.replace(b"F32", dtypes[int(rng.integers(len(dtypes)))], 1)
        length = len(header) if rng.random() < 0.95 else int(rng.integers(2**63))
        return struct.pack("<Q", length) + header + body

    def use(self):
        model, _ = load_folder(self.run)
        if not all(torch.isfinite(tensor).all() for tensor in model.state_dict().values()):
            raise Wrong("weights are not finite")


KINDS = {
    "nifti": Nifti,
    "set": PreparedSet,
    "table": Table,
    "yaml": Experiments,
    "config": Config,
    "checkpoint": Checkpoints,
    "weights": Weights,
}


def _each(read) -> list:
    """What `read` returns, as a list; nothing where it refuses, so that another reader of the file has its turn."""
    try:
        return list(read())
    except DiffensError as error:
        _check(error)
        return []


def _check(error: DiffensError) -> None:
    if len(str(error).splitlines()) != 1 or len(str(error)) > 2000:
        raise Wrong(f"{type(error).__name__} of {len(str(error).splitlines())} lines, {len(str(error))} characters")
    str(error).encode()  # a terminal could not show half a character


def _memory(name: str) -> int:
    """Bytes of this process: VmRSS now, or VmHWM, the most since the peak was forgotten."""
    return 1024 * int(re.search(rf"{name}:\s+(\d+)", Path("/proc/self/status").read_text())[1])


@contextmanager
def limits(size: int) -> Iterator[None]:
    """Raise `TooLong` or `Wrong` where what runs within takes more time or memory than a file of `size` may (Linux)."""

    def stop(*_):
        raise TooLong

    before = signal.signal(signal.SIGPROF, stop)
    Path("/proc/self/clear_refs").write_text("5")
    began = _memory("VmRSS")
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
    if (taken := _memory("VmHWM") - began) > 8 * size + ALLOWANCE:
        raise Wrong(f"{taken / 2**20:.0f} MiB for a file of {size / 2**20:.2f} MiB")


def attempt(kind: Kind, rng: np.random.Generator) -> str:
    """What becomes of one mutant: `answered`, `refused`, or the fault."""
    size = kind.write(rng)
    try:
        with limits(size), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", RuntimeWarning)
            try:
                kind.use()
            except DiffensError as error:
                _check(error)
                return "refused"
    except TooLong:
        return f"TooLong: more than {SECONDS:g} s"
    except Exception as error:
        return f"{type(error).__name__} in {_place(error)}: {' '.join(str(error).split()):.150}"
    return "answered"


def _place(error: BaseException) -> str:
    """The innermost line of this repository that an error came through."""
    own = [f for f in traceback.extract_tb(error.__traceback__) if Path(f.filename).is_relative_to(ROOT)]
    own = [f for f in own if "site-packages" not in f.filename]
    return f"{Path(own[-1].filename).name}:{own[-1].lineno}"


def fuzz(name: str, count: int, seed: int, folder: Path, first: int = 0) -> tuple[Counter, dict[str, int]]:
    """Mutants `first` to `first + count` of a kind: how many were answered, refused and faults, and the first mutant of
    each fault, by kind of error and place."""
    logging.getLogger("nibabel.global").setLevel(logging.CRITICAL)
    kind, counts, faults = KINDS[name](folder / name), Counter(answered=0, refused=0, faults=0), {}
    for number in range(first, first + count):
        fate = attempt(kind, np.random.default_rng([seed, number]))
        counts[fate if fate in counts else "faults"] += 1
        if fate not in counts and fate.split(": ")[0] not in {fault.split(": ")[0] for fault in faults}:
            faults[fate] = number
    return counts, faults


def main() -> int:
    """Command line of this module; returns 1 where there are faults."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--kind", choices=("all", *KINDS), default="all")
    options = parser.parse_args()
    print("geometry: qform, sform and unit of the bytes of both headers, without SimpleITK or nibabel")
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        for name in KINDS if options.kind == "all" else [options.kind]:
            counts, faults = fuzz(name, options.count, options.seed, Path(folder), options.first)
            print(f"{name:10}", ", ".join(f"{number} {fate}" for fate, number in counts.items()), flush=True)
            for fault, number in faults.items():
                print(f"    {fault}  (--kind {name} --seed {options.seed} --first {number} --count 1)", flush=True)
            wrong += counts["faults"]
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
