"""Damages the files of an input, at random and by what is known of their structure."""

from __future__ import annotations

import copy
import io
import json
import math
import re
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable
from random import Random
from typing import Any

from seeds import Files

_WORDS = [b"\x00", b"\x01", b"\x7f", b"\x80", b"\xff"]
_NUMBERS = [0, 1, 2, 3, 255, 256, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1]
_VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 3, 2.5, 1e-300, 1e308, math.nan, math.inf, 2**31, 2**63, 2**64,
    10**12, 10**30, "", "a", "0", "stage2", "pickle", "../..", "\x1b[2J", "é" * 300, "x" * 100_000,
    [], {}, [0], [1] * 3, [[]], [1] * 5000, {"a": {}}, [[[[1]]]],
]  # fmt: skip


def mutate(files: Files, others: list[Files], random: Random) -> Files:
    """Give the input with one to three of its files damaged; the seeds are left as they are."""
    result = dict(files)
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        if not result:
            break
        name = random.choice(list(result))
        if len(files) > 1 and random.random() < 0.1:
            _rearrange(result, name, random)
        else:
            result[name] = _damage(name, result[name], others, random)
    return result


def _rearrange(files: Files, name: str, random: Random) -> None:
    content = files.pop(name)
    if random.random() < 0.5:
        files[random.choice(list(files) or [name])] = content


def _damage(name: str, content: bytes, others: list[Files], random: Random) -> bytes:
    special = next((change for mark, change in _SPECIAL if mark(name, content)), None)
    if special is not None and random.random() < 0.75:
        try:
            return special(content, random)
        except Exception:  # noqa: BLE001 - an earlier damage keeps this one from being done
            pass
    if random.random() < 0.1:
        other = random.choice(list(random.choice(others).values()))
        cut, start = random.randint(0, len(content)), random.randint(0, len(other))
        return content[:cut] + other[start:]
    return _bytes(content, random)


def _place(length: int, random: Random) -> int:
    """Somewhere in a file, near its beginning more often."""
    return int(length * random.random() ** random.choice((1, 3)))


def _bytes(content: bytes, random: Random) -> bytes:
    data = bytearray(content)
    for _ in range(random.choice((1, 1, 2, 8))):
        start = _place(len(data), random)
        length = random.choice((1, 2, 4, 8, 64, 1000))
        match random.randrange(6):
            case 0 if data:
                data[start] ^= 1 << random.randrange(8)
            case 1:
                data[start : start + length] = random.choice(_WORDS) * length
            case 2:
                number = random.choice(_NUMBERS) % 2 ** (8 * min(length, 8))
                order: Any = random.choice(("little", "big"))
                data[start : start + length] = number.to_bytes(min(length, 8), order)
            case 3:
                del data[start : start + length]
            case 4:
                data[start:start] = data[start : start + length]
            case _:
                del data[random.randint(0, len(data)) :]
    return bytes(data)


def _json(content: bytes, random: Random) -> bytes:
    root = json.loads(content)
    for _ in range(random.choice((1, 1, 2, 4))):
        root = _changed(root, random)
    if random.random() < 0.02:
        depth = random.choice((100, 3000, 100_000))
        return b"[" * depth + b"]" * depth
    return json.dumps(root).encode()


def _changed(root: Any, random: Random) -> Any:
    """The tree with one of its values replaced, scaled, left out, or put somewhere else."""
    holders = [holder for holder in _holders(root) if holder]
    if not holders:
        return copy.deepcopy(random.choice(_VALUES))
    holder = random.choice(holders)
    keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
    key = random.choice(keys)
    value = holder[key]
    match random.randrange(5):
        case 0:
            del holder[key]
        case 1 if isinstance(value, int | float) and not isinstance(value, bool):
            holder[key] = value * random.choice((-1, 0, 2, 1000, 10**6, 10**12, 0.5))
        case 2:
            holder[key] = copy.deepcopy(random.choice(holders))
        case 3 if isinstance(holder, dict):
            holder[random.choice(("a", "", "x" * 1000, "seed", "\x1b[2J"))] = value
        case _:
            holder[key] = copy.deepcopy(random.choice(_VALUES))
    return root


def _holders(value: Any) -> list[Any]:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    found = [value] if isinstance(value, dict | list) else []
    return found + [holder for item in inner for holder in _holders(item)]


def _zip(content: bytes, random: Random) -> bytes:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    index = random.randrange(len(members))
    name, inner = members[index]
    match random.randrange(8):
        case 0:
            del members[index]
        case 1:
            members.append((random.choice((name, "more", "../a", "")), inner))
        case 2:
            members[index] = (name, inner + bytes(random.choice((1, 10**5, 10**8))))
        case _:
            members[index] = (name, _damage(name, inner, [dict(members)], random))
    how = random.choice((zipfile.ZIP_DEFLATED,) * 6 + (zipfile.ZIP_STORED, zipfile.ZIP_LZMA))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", how) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of two members with one name
        for name, inner in members:
            archive.writestr(zipfile.ZipInfo(name), inner, how)
    return buffer.getvalue()


def _safetensors(content: bytes, random: Random) -> bytes:
    length = int.from_bytes(content[:8], "little")
    header = _json(content[8 : 8 + length], random)
    return struct.pack("<Q", len(header)) + header + content[8 + length :]


def _tiff(content: bytes, random: Random) -> bytes:
    """Change a field of a page's directory, the number of its fields, or the next page's place."""
    order = "<" if content[:2] == b"II" else ">"
    big = content[2:4] in (b"+\0", b"\0+")
    count_code, word_code, size, start = ("Q", "Q", 20, 8) if big else ("H", "L", 12, 4)
    pages = []
    (page,) = struct.unpack_from(order + word_code, content, start)
    while page and page not in pages and page < len(content):
        pages.append(page)
        (fields,) = struct.unpack_from(order + count_code, content, page)
        following = page + struct.calcsize(count_code) + fields * size
        (page,) = struct.unpack_from(order + word_code, content, following)
    data = bytearray(content)
    page = random.choice(pages)
    (fields,) = struct.unpack_from(order + count_code, data, page)
    first = page + struct.calcsize(count_code)
    if random.random() < 0.15:
        where = random.choice([*pages, 0, page + 1, len(content) - 1])
        struct.pack_into(order + word_code, data, first + fields * size, where)
        return bytes(data)
    if random.random() < 0.05:
        number = random.choice(_NUMBERS) % 2 ** (8 * struct.calcsize(count_code))
        struct.pack_into(order + count_code, data, page, number)
        return bytes(data)
    field = first + random.randrange(fields) * size
    value = (size - struct.calcsize(word_code), word_code)
    part, code = random.choice(((0, "H"), (2, "H"), (4, word_code), value, value, value))
    number = random.choice([*_NUMBERS, *range(16)]) % 2 ** (8 * struct.calcsize(code))
    struct.pack_into(order + code, data, field + part, number)
    return bytes(data)


def _text(content: bytes, random: Random) -> bytes:
    """Replace a number or a quoted text in a description, its length kept."""
    data = bytearray(content)
    for _ in range(random.choice((1, 1, 3))):
        found = list(re.finditer(rb'(?<=[="])-?\d+\.?\d*|(?<=")[A-Za-z]+(?=")', data))
        match = random.choice(found)
        length = len(match[0])
        number = random.choice(
            (b"0", b"9" * length, b"-1", b"nan", b"1e999", b"", b"\xff", b"&#0;")
        )
        data[match.start() : match.end()] = number[:length].ljust(
            length, random.choice((b"0", b" "))
        )
    return bytes(data)


def _png(content: bytes, random: Random) -> bytes:
    """Damage what a chunk holds, or its order, its checksum being right."""
    chunks, place = [], 8
    while place < len(content):
        (length,) = struct.unpack_from(">L", content, place)
        chunks.append((content[place + 4 : place + 8], content[place + 8 : place + 8 + length]))
        place += 12 + length
    index = random.randrange(len(chunks))
    kind, inner = chunks[index]
    match random.randrange(5):
        case 0:
            del chunks[index]
        case 1:
            chunks.insert(random.randrange(len(chunks)), (kind, inner))
        case 2:
            chunks.insert(1, (random.choice((b"tRNS", b"iCCP", b"zTXt", b"abCd", b"PLTE")), inner))
        case _:
            chunks[index] = (kind, _bytes(inner, random))
    return content[:8] + b"".join(
        struct.pack(">L", len(inner)) + kind + inner + struct.pack(">L", zlib.crc32(kind + inner))
        for kind, inner in chunks
    )


def _npy(content: bytes, random: Random) -> bytes:
    length = int.from_bytes(content[8:10], "little")
    header = content[10 : 10 + length].rstrip().decode("latin-1")
    old, new = random.choice(
        (
            ("(", "(2, "), ("48", "480000000"), ("56", "-56"), ("56", "0"), ("56", "True"),
            ("<u2", "|O"), ("<", ">"), ("u2", "f8"), ("u2", "c16"), ("f8", "M8[s]"),
            ("'<u2'", "[('a', '<u2')]"),
            ("False", "True"), ("False", "5"), ("shape", "shapes"), (")", ", 10**9)"), ("{", "{{"),
            ("(", "(" * 300), ("u2", "V0"), ("u1", "S1"), ("7", "9" * 30), ("f8", "f2"),
        )
    )  # fmt: skip
    text = header.replace(old, new).encode("latin-1") + b"\n"
    return content[:8] + struct.pack("<H", len(text) % 2**16) + text + content[10 + length :]


def _either(*changes: Callable[[bytes, Random], bytes]) -> Callable[[bytes, Random], bytes]:
    return lambda content, random: random.choice(changes)(content, random)


_SPECIAL: list[tuple[Callable[[str, bytes], bool], Callable[[bytes, Random], bytes]]] = [
    (lambda name, data: data[:2] == b"PK", _zip),
    (lambda name, data: name.endswith(".safetensors"), _safetensors),
    (lambda name, data: data[:4] in (b"II*\0", b"MM\0*", b"II+\0"), _either(_tiff, _tiff, _text)),
    (lambda name, data: data[:4] == b"\x89PNG", _png),
    (lambda name, data: data[:6] == b"\x93NUMPY", _npy),
    (lambda name, data: data[:1] in (b"{", b"["), _json),
]
