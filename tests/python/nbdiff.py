#!/usr/bin/env python3
"""Makes and applies nbdiff patches with Python's lzma and bsdiff4: an independent peer.

usage: nbdiff.py make OLD NEW PATCH [SLICE]  |  nbdiff.py apply OLD PATCH NEW [SLICE]
"""
import lzma
import sys


def crc16(data):
    crc = 0
    for b in data:
        crc ^= b << 8
        for _ in range(8):
            crc = (crc << 1 ^ (0x1021 if crc & 0x8000 else 0)) & 0xFFFF
    return crc


def number(v):
    b = bytearray(abs(v).to_bytes(8, "little"))
    if v < 0:
        b[7] |= 0x80
    return bytes(b)


def value(b):
    v = int.from_bytes(b, "little")
    return -(v & ~(1 << 63)) if v >> 63 else v


def xz(data):
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 9, "dict_size": 16384, "lc": 3, "lp": 0, "pb": 2}]
    return lzma.compress(data, lzma.FORMAT_XZ, lzma.CHECK_CRC32, filters=filters)


def make(old, new, size):
    from bsdiff4 import core

    out = b""
    for at in range(0, len(new), size):
        part, view = new[at : at + size], new[:at] + old[at:]
        control, diff, extra = core.diff(view, part)
        # bsdiff4 gives the control numbers as bytes, in the form a patch has.
        triples = bytes(control)
        streams = [xz(triples), xz(diff), xz(extra) if extra else b""]
        head = b"BSDIFF40" + b"".join(number(len(s)) for s in streams)
        out += head + number(len(part)) + number(crc16(part)) + b"".join(streams)
    return out


def apply(old, patch, size):
    new, at = b"", 0
    while at < len(patch):
        head = patch[at : at + 48]
        assert head[:8] == b"BSDIFF40"
        lens = [value(head[i : i + 8]) for i in (8, 16, 24)]
        count, crc = value(head[32:40]), value(head[40:48])
        at += 48
        streams = []
        for n in lens:
            streams.append(lzma.decompress(patch[at : at + n], lzma.FORMAT_XZ) if n else b"")
            at += n
        assert 0 < count <= size and (count == size or at == len(patch))
        control, diff, extra = streams
        view, part, o, d, e = new + old[len(new) :], bytearray(), 0, 0, 0
        for i in range(0, len(control), 24):
            x, y, z = (value(control[i + k : i + k + 8]) for k in (0, 8, 16))
            assert x >= 0 and y >= 0 and (x == 0 or 0 <= o and o + x <= len(view))
            part += bytes((a + b) & 0xFF for a, b in zip(view[o : o + x], diff[d : d + x]))
            part += extra[e : e + y]
            o, d, e = o + x + z, d + x, e + y
        assert len(part) == count and (d, e) == (len(diff), len(extra)) and crc16(part) == crc
        new += bytes(part)
    return new


if __name__ == "__main__":
    verb, first, second, third = sys.argv[1:5]
    size = int(sys.argv[5]) if len(sys.argv) > 5 else 65536
    with open(first, "rb") as f:
        a = f.read()
    with open(second, "rb") as f:
        b = f.read()
    with open(third, "wb") as f:
        f.write((make if verb == "make" else apply)(a, b, size))
