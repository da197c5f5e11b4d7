"""Bytes that became wrong at random: in any file, in text, in JSON, in a header of NIfTI, in weights, in gzip."""

from __future__ import annotations

import gzip
import json
import re
from copy import deepcopy

import nibabel as nib
import numpy as np
from numpy.random import Generator

Files = dict[str, bytes]  # content by name
ZEROS = gzip.compress(bytes(2**25))  # a member of gzip to append: 32 MiB in 32 KiB
# What parsers stumble over: as text, and as values of JSON. And the fields of a header that decide most.
NASTY = ["NaN", "Infinity", "-Infinity", "null", "true", "false", "-1", "0", "1e999", "-1e-999", "1.5", "[]", "{}"]
NASTY += ["[[]]", "{a:b}", "''", '""', '"', *"~!&*@`%|>-?:,/٣²", "0x10", "1_000", "2147483648", "2026-99-99", "&a[*a]"]
NASTY += ["!!binary", "!!python/name:os.system", "../..", '"\\ud800"', '"\\u0000"', '"a\\nb"']
NASTY += ["", "\n", "\t", "\r", "\0", "\u2028", "\ufeff", "?[]: 1", "&a [*a]", "!!binary x", "x" * 300, "9" * 5000]
NASTY += ["1" + "0" * 400, "[" * 3_000, "{a: " * 1_000, '{"a":' * 3_000]
VALUES = [float("nan"), float("inf"), -1, 0, 1, 2, 0.5, 1e300, 2**31, 2**63, 10**400, None, True, False, "", "x" * 300]
VALUES += ["\ud800", "\0", "a\nb", "../..", "sr", "all", "axial", "1", [], {}, [[]], [1], {"a": 1}, ["sr"], [1e999]]
OFTEN = [*["dim", "pixdim"] * 3, "datatype", "bitpix", "vox_offset", "scl_slope", "scl_inter", "qform_code", "magic"]
OFTEN += ["sform_code", "xyzt_units", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "srow_x", "srow_y", "srow_z"]
OFTEN += ["sizeof_hdr"]


class Wrong(Exception):
    """An answer that cannot be right."""


def pick(choices, rng: Generator):
    return choices[int(rng.integers(len(choices)))]


def flip(content: bytes, rng: Generator) -> bytes:
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
                content[low:high] = bytes([pick((0, 255), rng)]) * (high - low)
            case 4:
                content[low:high] = content[low:high] * 2
            case 5:
                del content[low:high]
            case 6:
                del content[low:]
            case 7:
                content += rng.bytes(int(rng.integers(1, 64)))
    return bytes(content)


def retold(content: bytes, rng: Generator) -> bytes:
    """Text with some of its words, numbers, strings or marks replaced by another's, or by what parsers stumble over."""
    if rng.random() < 0.3:
        return flip(content, rng)
    pieces = re.findall(r'"[^"]*"|[\w.-]+|\s+|.', content.decode(errors="replace"), re.DOTALL)
    for _ in range(int(rng.integers(1, 4))):
        pieces[int(rng.integers(len(pieces)))] = pick(pieces if rng.random() < 0.3 else NASTY, rng)
    return "".join(pieces).encode(errors="replace")


def changed(content: bytes, rng: Generator) -> bytes:
    """JSON with wrong bytes or words; or sound JSON with values replaced by those of any type, or taken out."""
    if rng.random() < 0.4:
        return retold(content, rng)
    tree = json.loads(content)
    for _ in range(int(rng.integers(1, 3))):
        node, parent, key = tree, None, None
        while isinstance(node, dict | list) and node and (parent is None or rng.random() < 0.8):
            parent, key = node, pick(list(node) if isinstance(node, dict) else range(len(node)), rng)
            node = parent[key]
        if parent and rng.random() < 0.2:
            del parent[key]
        elif parent:
            parent[key] = deepcopy(pick(VALUES, rng))
    return json.dumps(tree).encode()


def overwritten(raw: bytes, rng: Generator) -> bytes:
    """A header with one to four of its fields replaced by what is extreme, small or random."""
    raw = bytearray(raw)
    view = fields(raw)
    often = OFTEN if rng.random() < 0.9 else view.dtype.names
    for _ in range(int(rng.integers(1, 5))):
        values = view[pick(often, rng)].reshape(-1)
        kind, value = values.dtype.kind, rng.bytes(values.dtype.itemsize)
        if kind in "iu":
            low, high = np.iinfo(values.dtype).min, np.iinfo(values.dtype).max
            some = [0, 1, 2, 3, 4, 5, 7, 8, 16, 64, 256, 512, 768, 1024, 1536, 2048, 2304, -1, low, high, high // 2]
            value = int(rng.integers(low, high)) if rng.random() < 0.2 else min(max(pick(some, rng), low), high)
        elif kind == "f":
            some = [0.0, 1.0, -1.0, 0.5, np.nan, np.inf, -np.inf, 1e-38, 1e38, 1e9, -1e9, 348, 352, 1e-4, 1e5]
            value = pick(some, rng) if rng.random() < 0.8 else rng.normal()
        values[int(rng.integers(values.size))] = value
    return bytes(raw)


def wrong_weights(content: bytes, rng: Generator) -> bytes:
    """safetensors with wrong bytes anywhere, or in its header, whose length is adapted or not, or in its numbers."""
    if rng.random() < 0.3:
        return flip(content, rng)
    length = int.from_bytes(content[:8], "little")
    header, body = content[8 : 8 + length], bytearray(content[8 + length :])
    if rng.random() < 0.3:
        at = int(rng.integers(len(body) - 4))
        body[at : at + 4] = pick((rng.bytes(4), np.float32(np.inf).tobytes()), rng)
    elif rng.random() < 0.2:
        dtypes = (b"F16", b"BF16", b"F64", b"I32", b"BOOL", b"F8_E4M3", b"C64", b"F4", b"U64")
        header = header.replace(b"F32", pick(dtypes, rng), 1)
    else:
        header = changed(header, rng)
    length = len(header) if rng.random() < 0.95 else int(rng.integers(2**63))
    return length.to_bytes(8, "little") + header + body


def packed(content: bytes, rng: Generator) -> bytes:
    """`content` in gzip, whose bytes may be wrong, too, or followed by very many zeros."""
    fate, content = rng.random(), gzip.compress(content, 1)
    return content + ZEROS if fate < 0.01 else flip(content, rng) if fate < 0.2 else content


def spoilt(name: str, content: bytes, rng: Generator) -> bytes:
    """One wrong file, by what its name says that it is."""
    match name.rpartition(".")[2]:
        case "gz":
            raw = gzip.decompress(content)
            return packed(overwritten(raw, rng) if rng.random() < 0.5 else flip(raw, rng), rng)
        case "json":
            return changed(content, rng)
        case "csv" | "tsv" | "yaml":
            return retold(content, rng)
        case "safetensors":
            return wrong_weights(content, rng)
    return flip(content, rng)


def one_wrong(files: Files, rng: Generator) -> Files:
    """Any one of the files wrong."""
    name = pick(list(files), rng)
    return files | {name: spoilt(name, files[name], rng)}


def fields(raw: bytearray) -> np.ndarray:
    """The fields of a sound header, to read and to write: an array of one element."""
    order = "<" if raw[0] else ">"  # both sizes of a header end in a byte of 0
    two = int.from_bytes(raw[:4], {"<": "little", ">": "big"}[order]) == 540
    return np.frombuffer(raw, (nib.nifti2 if two else nib.nifti1).header_dtype.newbyteorder(order), 1)
