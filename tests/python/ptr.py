#!/usr/bin/env python3
"""Applies a ptr patch: an independent decoder, written from docs/delta-format.md.

usage: ptr.py OLD PATCH NEW
"""
import hashlib
import sys
import zlib

M32 = 0xFFFFFFFF

SQUASH = [
    32768, 34813, 36843, 38841, 40793, 42687, 44511, 46254, 47911, 49474, 50941, 52310, 53581, 54754,
    55834, 56822, 57724, 58544, 59287, 59959, 60565, 61109, 61598, 62036, 62428, 62778, 63090, 63368,
    63615, 63835, 64030, 64203, 64357, 64494, 64614, 64721, 64816, 64900, 64974, 65039, 65097, 65149,
    65194, 65234, 65269, 65300, 65328, 65352, 65374, 65393, 65410, 65425, 65438, 65449, 65459, 65468,
    65476, 65483, 65489, 65495, 65500, 65504, 65508, 65511, 65514, 65517, 65519, 65521, 65523, 65524,
    65526, 65527, 65528, 65529, 65530, 65530, 65531, 65532, 65532, 65533, 65533, 65533, 65534, 65534,
    65534, 65534, 65535, 65535, 65535, 65535, 65535, 65535, 65535, 65535, 65535, 65535, 65535,
]


def squash(x):
    x = max(-3071, min(3071, x))
    a = abs(x)
    i = a >> 5
    v = SQUASH[i] + (((SQUASH[i + 1] - SQUASH[i]) * (a & 31) + 16) >> 5)
    return 65536 - v if x < 0 else v


def _inverses():
    """inverse(p) for all p at once."""
    out, x = [], -3071
    for p in range(65536):
        while x < 3071 and squash(x) < p:
            x += 1
        out.append(x)
    return out


_INV = _inverses()
STRETCH = [
    _INV[p] if p < 1024 else -_INV[65535 - p] if p >= 64512 else _INV[(p >> 6) * 64 + 32] for p in range(65536)
]
RATE = [655360 // (10 * n + 16) for n in range(64)]


def hash2(a, b):
    return ((((a * 0x9E3779B1) & M32) ^ ((b * 0x85EBCA6B) & M32)) * 0xC2B2AE35) & M32


def bits(v):
    return v.bit_length()


def sx(v, n):
    """Sign-extends n bits."""
    return (v & ((1 << n) - 1)) - (1 << n if v >> (n - 1) & 1 else 0)


class Refused(Exception):
    pass


class Coder:
    def __init__(self, data):
        self.data, self.pos = data, 0
        self.range, self.code = M32, 0
        for _ in range(4):
            self.code = self.code << 8 | self.byte()

    def byte(self):
        b = self.data[self.pos] if self.pos < len(self.data) else 0
        self.pos += 1
        return b

    def bit(self, p):
        bound = self.range * p >> 16
        if self.code < bound:
            self.range, bit = bound, 1
        else:
            self.code -= bound
            self.range -= bound
            bit = 0
        while self.range < 1 << 24:
            self.range = self.range << 8 & M32
            self.code = (self.code << 8 | self.byte()) & M32
        return bit

    def end(self):
        if self.pos < len(self.data):
            raise Refused("a segment has bytes that were never needed")


class Fine:
    """Fine counters."""

    def __init__(self, size, p=32768, n=0):
        self.p, self.n = [p] * size, [n] * size

    def update(self, i, bit, limit):
        t = 65535 if bit else 0
        self.p[i] += ((t - self.p[i]) * (RATE[self.n[i]] >> 1)) >> 15
        if self.n[i] < limit:
            self.n[i] += 1

    def alone(self, c, i):
        bit = c.bit(max(64, min(65471, self.p[i])))
        self.update(i, bit, 30)
        return bit


class Number:
    def __init__(self):
        self.u, self.m = Fine(28), Fine(56)

    def code(self, c):
        e = 0
        while e < 27 and self.u.alone(c, e):
            e += 1
        v = 1
        for i in range(e):
            if i == 0:
                b = self.m.alone(c, 2 * e)
            elif i == 1:
                b = self.m.alone(c, 2 * e + 1)
            else:
                b = c.bit(32768)
            v = v << 1 | b
        return v - 1


class Small:
    """Small counters, each in 16 bits: p above, n in the lowest four. Plain probabilities
    have all 16."""

    def __init__(self, size):
        self.v = [32768] * size

    def p(self, i):
        return self.v[i] & 0xFFF0 | 8

    def update(self, i, bit, limit):
        p, n = self.v[i] >> 4, self.v[i] & 15
        p += (((4095 if bit else 0) - p) * RATE[n] + 32768) >> 16
        self.v[i] = p << 4 | n + (n < limit)

    def follow(self, i, bit, shift):
        """Update as a plain probability."""
        self.v[i] += ((65535 if bit else 0) - self.v[i]) >> shift

    def alone(self, c, i):
        bit = c.bit(max(64, min(65471, self.p(i))))
        self.update(i, bit, 15)
        return bit


def new_weights(sets):
    return [[1065] * 8 for _ in range(sets)]


def mixed(c, probs, w):
    """Flags."""
    s = [STRETCH[p] for p in probs]
    dot = sum((si * wi) >> 6 for si, wi in zip(s, w))
    p = max(32, min(65504, squash(dot >> 6)))
    bit = c.bit(p)
    err = (65536 * bit - p) >> 2
    for i, si in enumerate(s):
        w[i] = max(-32768, min(32767, w[i] + ((si * err + 16384) >> 15)))
    return bit


COARSE_S = [(STRETCH[64 * i + 32] + 8) >> 4 for i in range(1024)]
COARSE_Q = [squash(16 * (i - 128) + 8) for i in range(256)]


def coarse(c, probs, w, rate):
    """Bits of bytes."""
    s = [COARSE_S[p >> 6] for p in probs]
    dot = sx(sum(si * wi for si, wi in zip(s, w)), 32)
    p = COARSE_Q[max(-128, min(127, dot >> 16)) + 128]
    bit = c.bit(p)
    err = 65536 * bit - p
    if abs(err) >= 4096:
        for i, si in enumerate(s):
            w[i] = sx(w[i] + (si * err >> rate), 32)
    return bit


class Lines:
    def __init__(self, start, count):
        self.start, self.count = start, count

    def stored(self, p):
        q = p - self.start
        if q < 0:
            return p
        if q < 32 * self.count:
            return self.start + (q >> 5) * 34 + (q & 31)
        return p + 2 * self.count

    def decoded(self, x):
        q = x - self.start
        if q < 0:
            return x
        if q < 34 * self.count:
            return self.start + q // 34 * 32 + min(q % 34, 32)
        return x - 2 * self.count

    def strip(self, image):
        out = bytearray(image[: self.start])
        at = self.start
        for _ in range(self.count):
            out += image[at : at + 32]
            at += 34
        return bytes(out + image[at:])

    def restore(self, image):
        out = bytearray(image[: self.start])
        at = self.start
        for _ in range(self.count):
            line = image[at : at + 32]
            crc = 0xFFFF
            for b in line:
                crc ^= b << 8
                for _ in range(8):
                    crc = (crc << 1 ^ (0x8005 if crc & 0x8000 else 0)) & 0xFFFF
            out += line + bytes([crc >> 8, crc & 0xFF])
            at += 32
        return bytes(out + image[at:])


class Map:
    def __init__(self):
        self.seg = []

    def index(self):
        self.by_old = sorted(self.seg, key=lambda s: s[1])

    def at_new(self, p):
        found = None
        for s in self.seg:
            if s[0] <= p:
                found = s
        return found if found and p - found[0] < found[2] else None

    def new_of(self, t):
        def moved(s):
            return (t + s[0] - s[1]) & M32

        before = [s for s in self.by_old if s[1] <= t]
        if not self.by_old:
            return t, False, t
        if not before:
            return moved(self.by_old[0]), False, t
        a = before[-1]
        if t - a[1] < a[2]:
            return moved(a), True, t
        if len(before) == len(self.by_old):
            return moved(a), False, t
        b = self.by_old[len(before)]
        if t - a[1] - a[2] < b[1] - t:
            return moved(a), False, moved(b)
        return moved(b), False, moved(a)


# How a slice codes its literals.
FULL, PLAIN, FAST = range(3)


class Decoder:
    """Arch 0 none, 1 Thumb, 2 ARM, 3 A64, 4 Xtensa."""

    def __init__(self, arch, base, old, new_len):
        self.arch, self.base, self.old, self.new = arch, base, old, bytearray()
        self.new_len, self.map, self.ram = new_len, Map(), (0, 0)

    def read_map(self, data):
        c = Coder(data)
        f, g, ln, d = Fine(2), Number(), Number(), Number()
        start = g.code(c) << 8
        self.ram = (start, ln.code(c) << 8)
        new_end = old_end = 0
        while f.alone(c, 0):
            gap, length = g.code(c), ln.code(c)
            minus = f.alone(c, 1)
            mag = d.code(c)
            old = (old_end + gap + (-mag if minus else mag)) & M32
            new = new_end + gap
            self.map.seg.append((new, old, length))
            new_end, old_end = new + length, old + length
        if len(self.map.seg) > 128:
            raise Refused("too many segments")
        c.end()
        self.map.index()

    # Reading the old image, as far as a unit may.
    def old16(self, o):
        return self.old[o] | self.old[o + 1] << 8

    def old32(self, o):
        return int.from_bytes(self.old[o : o + 4], "little")

    def put(self, b):
        self.new.append(b)
        self.last = (self.last << 8 | b) & M32
        self.p += 1

    def value(self, key):
        k, v = self.values[hash2(key, 77) >> 25]
        return v if k == key and key else None

    def learn(self, key, v):
        self.values[hash2(key, 77) >> 25] = (key, v)

    # Branches.
    def is_branch(self, w):
        if self.arch == 1:
            h1, h2 = w & 0xFFFF, w >> 16
            return h1 & 0xF800 == 0xF000 and (
                h2 & 0xD000 == 0xD000 or h2 & 0xD001 == 0xC000 or h2 & 0xD000 == 0x9000
            )
        if self.arch == 2:
            return w & 0x0E000000 == 0x0A000000
        if self.arch == 3:
            return w & 0x7C000000 == 0x14000000
        return self.arch == 4 and w & 0xF == 5

    def target(self, w, at):
        if self.arch == 1:
            h1, h2 = w & 0xFFFF, w >> 16
            s = h1 >> 10 & 1
            i1, i2 = 1 ^ (h2 >> 13 & 1) ^ s, 1 ^ (h2 >> 11 & 1) ^ s
            off = s << 24 | i1 << 23 | i2 << 22 | (h1 & 0x3FF) << 12 | (h2 & 0x7FF) << 1
            return (at + 4 + sx(off, 25)) & M32
        if self.arch == 2:
            return (at + 8 + 4 * sx(w, 24)) & M32
        if self.arch == 4:
            return ((at & ~3) + 4 + 4 * sx(w >> 6, 18)) & M32
        return (at + 4 * sx(w, 26)) & M32

    def encode(self, w, to, at):
        if self.arch == 1:
            off = (to - at - 4) & M32
            s = off >> 24 & 1
            j1, j2 = 1 ^ (off >> 23 & 1) ^ s, 1 ^ (off >> 22 & 1) ^ s
            h1 = 0xF000 | s << 10 | off >> 12 & 0x3FF
            return h1 | ((w >> 16) & 0xD000 | j1 << 13 | j2 << 11 | off >> 1 & 0x7FF) << 16
        if self.arch == 2:
            return w & 0xFF000000 | ((to - at - 8) & M32) >> 2 & 0xFFFFFF
        if self.arch == 4:
            return w & 0xFF00003F | (((to - (at & ~3) - 4) & M32) >> 2 & 0x3FFFF) << 6
        return w & 0xFC000000 | ((to - at) & M32) >> 2 & 0x3FFFFFF

    def branches(self, w, o, aligned):
        """Whether the old word at o is a branch unit."""
        if not self.is_branch(w):
            return False
        if self.arch == 1:
            return o & 1 == 0
        return self.target(w, o) < len(self.old) if self.arch == 4 else aligned

    # Calls by where they go.
    def is_call(self, w):
        if self.arch == 1:
            return w & 0xF800F800 == 0xF800F000
        if self.arch == 2:
            return w >> 24 == 0xEB
        return self.arch == 3 and w >> 26 == 0x25

    def shifted(self, w, by):
        if self.arch == 1:
            off = ((w & 0x7FF) << 11 | w >> 16 & 0x7FF) + (by >> 1)
            return 0xF800F000 | off >> 11 & 0x7FF | (off & 0x7FF) << 16
        bits = 24 if self.arch == 2 else 26
        return w >> bits << bits | (w + (by >> 2)) & ((1 << bits) - 1)

    def seen(self, data, at, lo, hi):
        """Byte `at` of data, calls that lie in lo..hi as a whole absolute."""
        step = 2 if self.arch == 1 else 4
        start = at // step * step
        for h in (start, start - 2) if self.arch == 1 else (start,):
            if lo <= h and h + 4 <= hi:
                w = int.from_bytes(data[h : h + 4], "little")
                if self.is_call(w):
                    return self.shifted(w, h) >> (8 * (at - h)) & 0xFF
        return data[at]

    def back(self, dist):
        """The byte dist back, None if there is none."""
        p = self.p
        if dist == 0:
            return None
        if dist <= min(4, p - self.start):
            return self.last >> (8 * (dist - 1)) & 0xFF
        if dist <= p:
            return self.seen(self.new, p - dist, 0, p - 3)
        at = len(self.old) - (dist - p)
        return self.seen(self.old, at, self.old_min, len(self.old)) if at >= self.old_min else None

    def put_seen(self, b):
        """Puts a byte of which calls are absolute: they are undone once whole."""
        self.put(b)
        while self.whole < self.p:
            at, left = self.whole, self.p - self.whole
            n = 1
            if self.arch in (1, 2, 3):
                step = 2 if self.arch == 1 else 4
                if at % step == 0:
                    w = int.from_bytes(self.new[at : at + 4], "little")
                    opens = self.arch != 1 or w & 0xF800 == 0xF000
                    if left < (4 if opens and left >= step else step):
                        return
                    n = step
                    if opens and self.is_call(w):
                        self.new[at : at + 4] = self.shifted(w, -at).to_bytes(4, "little")
                        n = 4
            self.whole += n

    def unit(self, p):
        """(kind, guesses, key, class, w); w is None for a plain unit."""
        o = p + self.disp
        if self.copy_end - p >= 4:
            aligned = (o | p) & 3 == 0
            w = self.old32(o)
            if self.branches(w, o, aligned):
                t = self.target(w, o)
                key = t | 0x80000000
                g, sure, g2 = self.map.new_of(t)
                v = self.value(key)
                if v is not None:
                    kind, first, second = 9, v, g
                else:
                    kind, first, second = (1 if sure else 2), g, g2
                guesses = [
                    self.encode(w, first, p),
                    self.encode(w, second, p),
                    self.encode(w, (first + self.fix[0]) & M32, p),
                    w,
                ]
                return kind, guesses, key, 2 * kind + (guesses[0] != w), w
            if aligned:
                v = self.value(w)
                if (w - self.base) & M32 < len(self.old):
                    low = w & 1 if self.arch == 1 else 0
                    g, sure, g2 = self.map.new_of((w - low - self.base) & M32)

                    def enc(t):
                        return (t + self.base) & M32 | low

                    if v is not None:
                        kind, first, third = 7, v, enc(g)
                    else:
                        kind, first, third = (3 if sure else 4), enc(g), enc(g2)
                    cls = 32 + ((16 * kind & 0x30) | 8 * (first != w) | (w >> 16 & 7))
                    return kind, [first, w, third, (first + self.fix[1]) & M32], w, cls, w
                if (w - self.ram[0]) & M32 < self.ram[1]:
                    m = (w + self.shift[w >> 9 & 63]) & M32
                    kind, first = (6, m) if v is None else (5, v)
                    return kind, [first, w, m, (w + self.fix[2]) & M32], w, 2 * kind + (first != w), w
                if v is not None:
                    return 8, [v, w, w, w], w, 16 + (v != w), w
        return 0, [self.old[o]] * 4, 0, 0, None

    # One slice.
    def slice(self, data, start, end, old_min, how):
        c = Coder(data)
        self.c, self.p, self.end, self.old_min, self.how = c, start, end, old_min, how
        self.hits, self.hit_w = [Fine(256) for _ in range(6)], new_weights(32)
        self.block_f, self.block_w = Fine(512), new_weights(4)
        self.small, self.expect = Small(7168), Small(256)
        self.byte_w = [[32000, 32000] if how == FAST else [17040] * 8 for _ in range(32)]
        self.expect_w = [[24000, 36000] for _ in range(32)]  # of fast slices
        self.byte_w += [[17040] * 7 for _ in range(10)]
        self.cls, self.alt = Fine(128, 2048, 4), Fine(64)
        self.op_f, self.op_w, self.flags = Small(608), new_weights(4), Fine(64)
        self.slots, self.low = Small(256), Small(176)
        self.numbers = [Number() for _ in range(4)]
        self.values, self.shift, self.fix = [(0, 0)] * 128, [0] * 64, [0, 0, 0]
        self.start = self.whole = start
        self.reps, self.last, self.ops, self.agreed = [len(self.old), 0, 0, 0], 0, 0, 0
        self.copy_new = self.copy_end = self.block_end = start
        self.disp = self.literals = self.hist = self.blocks = self.run = self.changed = 0
        self.kind_hist, self.last_diff = [0] * 16, [0] * 16
        while self.p < end:
            if self.p >= self.copy_end:
                self.op()
            elif self.p >= self.block_end:
                self.block()
            else:
                u = self.unit(self.p)
                self.plain(u) if u[4] is None else self.field(u)
        c.end()

    def op(self):
        c, seg = self.c, self.map.at_new(self.p)
        prev, two = self.ops & 3, self.ops & 15
        idx = [
            (self.ops & 63) << 2 | self.p & 3,
            256 + (6 * prev + min(5, bits(self.literals))) * 4 + 2 * (self.p & 1) + (seg is not None),
            352 + (hash2(self.last & 0xFF, 70 + (self.p & 1)) >> 24),
        ]
        if self.how != FULL:
            bit = self.op_f.alone(c, idx[1])
        else:
            bit = mixed(c, [self.op_f.p(i) for i in idx], self.op_w[prev])
            for i in idx:
                self.op_f.update(i, bit, 15)
        if bit:
            self.literal()
            return
        self.literals = 0
        if self.flags.alone(c, two):
            self.copy(seg, prev)
        else:
            self.match(prev, two)

    def remember(self, dist):
        at = self.reps.index(dist) if dist in self.reps else 3
        self.reps = [dist] + self.reps[:at] + self.reps[at + 1 :]

    def copy(self, seg, prev):
        c, f, room = self.c, self.flags, self.end - self.p
        disp = n = None
        if seg and f.alone(c, 16 + prev):
            disp = seg[1] - seg[0]
            if f.alone(c, 28):
                n = min(seg[0] + seg[2] - self.p, room)
        elif f.alone(c, 20 + prev):
            a = f.alone(c, 24)
            disp = len(self.old) - self.reps[2 * a + f.alone(c, 25 + a)]
        else:
            minus = f.alone(c, 27)
            mag = self.numbers[1].code(c)
            disp = self.disp + (-mag if minus else mag)
        if n is None:
            n = self.numbers[0].code(c) + 1
        disp = sx(disp, 32)
        old = self.p + disp
        if n > room or old < self.old_min or old + n > len(self.old):
            raise Refused("copy out of range")
        self.remember((len(self.old) - disp) & M32)
        self.disp, self.copy_new, self.block_end = disp, self.p, self.p
        self.copy_end, self.changed, self.whole = self.p + n, 0, self.p + n
        self.ops = (self.ops << 2 | 1) & M32

    def distance(self, by):
        c, sym = self.c, 1
        for _ in range(6):
            sym = sym << 1 | self.slots.alone(c, by << 6 | sym)
        slot = sym & 63
        if slot < 4:
            return slot
        n = (slot >> 1) - 1
        v = 2 | slot & 1
        for _ in range(n - 4):
            v = v << 1 | c.bit(32768)
        n = min(4, n)
        sym, tail = 1, 0
        for i in range(n):
            bit = self.low.alone(c, (min(14, slot) - 4) << 4 | sym)
            sym = sym << 1 | bit
            tail |= bit << i
        return v << n | tail

    def match(self, prev, two):
        c, f = self.c, self.flags
        if f.alone(c, 32 + two):
            i = 0
            while i < 3 and f.alone(c, 48 + prev if i == 0 else 51 + i):
                i += 1
            n, dist, kind = self.numbers[3].code(c) + 1, self.reps[i], 3
        else:
            n = self.numbers[2].code(c) + 2
            dist, kind = self.distance(min(3, n - 2)) + 1, 2
        at = len(self.old) - (dist - self.p)
        good = dist > 0 if dist <= self.p else at >= self.old_min and at + n <= len(self.old)
        if not good or n > self.end - self.p:
            raise Refused("match out of range")
        for _ in range(n):
            self.put_seen(self.back(dist))
        self.remember(dist)
        self.ops, self.copy_end = (self.ops << 2 | kind) & M32, self.p

    def block(self):
        end = min(self.copy_end, (self.p | 31) + 1)
        p, risk, out, classes = self.p, 0, bytearray(), []
        while p < end:
            _, guesses, _, cls, w = self.unit(p)
            if w is None:
                out.append(guesses[0])
                p += 1
            else:
                risk += self.cls.p[cls]
                classes.append(cls)
                out += guesses[0].to_bytes(4, "little")
                p += 4
        n = len(out)
        risk >>= 8
        rb = bits(risk)
        risk = min(31, 2 * rb + (risk >> (rb - 2) & 1 if rb > 1 else 0))
        blocks = self.blocks
        idx = [
            blocks & 63,
            64 + (min(7, bits(self.run // 16)) << 5 | risk),
            320 + ((blocks & 3) << 5 | risk),
            448 + ((blocks & 15) << 2 | min(3, max(0, bits(n) - 3))),
        ]
        bit = mixed(self.c, [self.block_f.p[i] for i in idx], self.block_w[blocks & 3])
        for i in idx:
            self.block_f.update(i, bit, 60)
        self.blocks = (blocks << 1 | bit) & M32
        if bit:
            self.block_end = end
            return
        for b in out:
            self.put(b)
        for cls in classes:
            self.cls.update(cls, 0, 30)
        self.hist = 0 if n >= 8 else (self.hist << n) & M32
        self.run += n
        self.block_end, self.changed = self.p, 0

    def miss(self, ctx, s):
        idx = [hash2(x & M32, 0x51) >> 24 for x in ctx]
        bit = mixed(self.c, [t.p[i] for t, i in zip(self.hits, idx)], self.hit_w[s])
        for t, i in zip(self.hits, idx):
            t.update(i, bit, 60)
        return bit

    def field(self, u):
        kind, g, key, cls, w = u
        p = self.p
        o = p + self.disp
        moved = int(g[0] != w)
        h = self.kind_hist[kind]
        before = self.old16(o - 2) if p >= self.copy_new + 2 else 0
        run7 = min(7, bits(self.run))
        bit = self.miss(
            [
                0x10000000 | cls << 2 | h & 3,
                0x20000000 | kind << 9 | moved << 8 | h,
                0x30000000 ^ hash2(w >> 16, kind << 1 | moved),
                0x40000000 ^ hash2((g[0] - w) & M32, kind),
                0x50000000 | kind << 12 | run7 << 8 | (self.hist & 15) << 4 | moved << 3 | p & 3,
                0x60000000 ^ hash2(before, kind << 1 | moved),
            ],
            16 + kind,
        )
        self.cls.update(cls, bit, 30)
        self.kind_hist[kind] = (h << 1 | bit) & 0xFF
        self.hist = (self.hist << 1 | bit) & M32
        self.changed = 0
        if not bit:
            self.run += 4
            for b in g[0].to_bytes(4, "little"):
                self.put(b)
            return
        self.run = 0
        found = None
        for i in range(1, 4):
            if g[i] not in g[:i] and self.alt.alone(self.c, 4 * kind + i):
                found = g[i]
                break
        if found is not None:
            for b in found.to_bytes(4, "little"):
                self.put(b)
        else:
            differs = 0
            for i in range(4):
                differs |= self.byte(u, i, differs)
        got = int.from_bytes(self.last.to_bytes(4, "big"), "little")
        if kind in (1, 2, 9):
            to = self.target(got, p)
            self.fix[0] = (to - self.target(g[0], p)) & M32
            self.learn(key, to)
            return
        if kind in (5, 6):
            if (got - self.ram[0]) & M32 < self.ram[1]:
                self.fix[2] = self.shift[key >> 9 & 63] = (got - key) & M32
        else:
            self.fix[1] = (got - g[0]) & M32
        self.learn(key, got)

    def plain(self, u):
        o = self.p + self.disp
        self.byte(u, 0, 0)
        if (self.p | (o + 1)) & 3 == 0 and self.changed & 15 and self.p - self.copy_new >= 4:
            self.learn(self.old32(o - 3), int.from_bytes(self.last.to_bytes(4, "big"), "little"))

    def byte(self, u, i, differs):
        kind, g = u[0], u[1]
        p = self.p
        o = p + self.disp
        first, last = self.copy_new + self.disp, self.copy_end + self.disp
        pred = g[0] >> (8 * i) & 0xFF
        run7 = min(7, bits(self.run))
        at = o & ~1
        half = self.old16(at) if at >= first and at + 2 <= last else 0
        before = self.old16(at - 2) if at - 2 >= first else 0
        odd, k, hist = o & 1, 4 * kind + i, self.hist
        bit = self.miss(
            [
                k << 8 | hist & 0xFF,
                0x10000 | kind << 5 | run7 << 2 | p & 3,
                0x20000 | k << 9 | pred << 1 | hist & 1,
                0x1000000 | half << 3 | odd << 2 | hist & 3,
                0x2000000 ^ hash2(half, before << 1 | odd),
                0x3000000 | k << 12 | (hist & 15) << 8 | run7 << 5 | differs << 3 | p & 3,
            ],
            p & 3 if u[4] is None else 4 + i,
        )
        self.hist = (hist << 1 | bit) & M32
        self.changed = (self.changed << 1 | bit) & M32
        if not bit:
            self.run += 1
            self.put(pred)
            return 0
        self.run = 0
        l, ld = self.last, self.last_diff[kind]
        ctx = [
            hash2(k << 1 | odd, 20),
            hash2(pred << 6 | k, 21),
            hash2(ld << 6 | k, 22),
            hash2((l & 0xFF) << 1 | odd, 23),
            hash2((l & 0xFF) << 8 | pred, 24),
            hash2(half << 1 | odd, 25),
            hash2(l & 0xFFFF, 26),
        ]
        d = self.byte_value(ctx, None, lambda i: 32 + kind, 11)
        self.last_diff[kind] = d
        self.put((pred + d) & 0xFF)
        return 1

    def literal(self):
        l, p = self.last, self.p
        odd, pos, o1, o2 = p & 1, p & 3, l & 0xFF, l >> 8 & 0xFF
        expect = self.back(self.reps[0])
        if self.literals == 0:
            trust = max(1, self.ops & 3) - 1
        elif self.literals == 1:
            trust = 3 + (self.agreed & 1)
        else:
            trust = 4 + (self.agreed & 3)
        if self.how != FULL:
            if self.arch in (2, 3):
                ctx = pos << 2 | o1 >> 6, 16 + 3 * pos + min(2, o2 >> 6)
            elif odd:
                ctx = 8 + (o1 >> 5), 16 + (o2 >> 5)
            else:
                ctx = o1 >> 5, 24 + (o2 >> 6)
            value = self.fast_value if self.how == FAST else self.plain_value
            b = value(ctx, expect, 8 * pos, trust)
        else:
            ctx = [
                hash2(pos, 9),
                hash2(o1, 1 + odd),
                hash2(l & 0xFFFF, 3 + odd),
                hash2(l & 0xFFFFFF, 5),
                hash2(l >> 8 & 0xFFFF if odd else l & 0xFFFF, 6 + pos),
                hash2(l >> 8 if odd else l, 16 + 256 * odd + odd * o1),
                hash2(l >> 16, 11 + pos),
            ]
            b = self.byte_value(ctx, expect, lambda i: 8 * pos + 7 - i, 15, trust)
        self.put_seen(b)
        self.agreed = self.agreed << 1 & 2 | (expect == b)
        self.literals += 1
        self.ops, self.copy_end = self.ops << 2 & M32, self.p

    def byte_value(self, ctx, expect, weights, limit, trust=0):
        sym = 1
        x = None if expect is None else 256 | expect
        for i in range(7, -1, -1):
            idx = []
            for k, cx in enumerate(ctx):
                h = ((cx + sym * 0x9E3579B1) * 0x2545F491) & M32
                idx.append(1024 * k + ((h >> 16) * 1024 >> 16))
            probs = [self.small.p(j) for j in idx]
            ex = None
            if x is not None:
                ex = trust << 5 | (x >> (i + 1) == sym) << 4 | (x >> i & 1) << 3 | i
                probs.append(self.expect.p(ex))
            bit = coarse(self.c, probs, self.byte_w[weights(i)], 9)
            for j in idx:
                self.small.update(j, bit, limit)
            if ex is not None:
                self.expect.update(ex, bit, 15)
            sym = sym << 1 | bit
        return sym & 0xFF

    def fast_value(self, ctx, expect, row, trust):
        sym = 1
        x = None if expect is None else 256 | expect
        for i in range(7, -1, -1):
            first, second = (256 * cx + sym for cx in ctx)
            v = self.small.v
            if x is not None and x >> (i + 1) == sym:
                ex = trust << 5 | 16 | (x >> i & 1) << 3 | i
                w = self.expect_w[row + 7 - i]
                bit = coarse(self.c, [v[first], self.expect.v[ex]], w, 10)
                self.expect.follow(ex, bit, 5)
            else:
                bit = coarse(self.c, [v[first], v[second]], self.byte_w[row + 7 - i], 10)
                self.small.follow(second, bit, 4)
            self.small.follow(first, bit, 4)
            sym = sym << 1 | bit
        return sym & 0xFF

    def plain_value(self, ctx, expect, _, trust):
        sym = 1
        x = None if expect is None else 256 | expect
        for i in range(7, -1, -1):
            at = 256 * ctx[0] + sym
            p = self.small.v[at]
            if x is not None and x >> (i + 1) == sym:
                ex = trust << 5 | 16 | (x >> i & 1) << 3 | i
                bit = self.c.bit((p + self.expect.v[ex]) // 2 + 8)
                self.expect.follow(ex, bit, 5)
            else:
                bit = self.c.bit(p & 0xFFF0 | 8)
            self.small.follow(at, bit, 4)
            sym = sym << 1 | bit
        return sym & 0xFF


def apply(old, patch):
    if patch[:4] != b"\xd7ptr" or patch[4] != 3 or patch[5] & ~0x1F or patch[7]:
        raise Refused("not a ptr patch of version 3")
    coded = bool(patch[5] & 0x10)
    size = 72 if coded else 56
    word = lambda at: int.from_bytes(patch[at : at + 4], "little")
    if word(size - 4) != zlib.crc32(patch[: size - 4]):
        raise Refused("header CRC")
    lag, old_len, new_len = patch[6], word(8), word(12)
    if len(old) != old_len or hashlib.sha256(old).digest()[:16] != patch[16:32]:
        raise Refused("another old image")
    old_lines = Lines(word(52), word(56)) if coded else Lines(0, 0)
    new_lines = Lines(word(60), word(64)) if coded else Lines(0, 0)
    d = Decoder(patch[5] & 15, word(48), old_lines.strip(old), new_len)
    n = patch[size] | patch[size + 1] << 8
    at = size + 2
    d.read_map(patch[at : at + n])
    at += n
    crcs = []
    for k in range((new_len + 65535) // 65536):
        n = patch[at] | patch[at + 1] << 8 | (patch[at + 2] & 0x3F) << 16
        how = patch[at + 2] >> 6
        if how > FAST:
            raise Refused("slice header")
        crcs.append(word(at + 3))
        at += 7
        gone = 65536 * max(0, k - lag) if lag else 0
        if at + n > len(patch):
            raise Refused("truncated")
        d.slice(
            patch[at : at + n],
            new_lines.decoded(65536 * k),
            new_lines.decoded(min(65536 * (k + 1), new_len)),
            old_lines.decoded(min(gone, old_len)),
            how,
        )
        at += n
    if at != len(patch):
        raise Refused("trailing bytes")
    new = new_lines.restore(bytes(d.new))
    for k, crc in enumerate(crcs):
        if zlib.crc32(new[65536 * k : 65536 * (k + 1)]) != crc:
            raise Refused("slice CRC")
    if hashlib.sha256(new).digest()[:16] != patch[32:48]:
        raise Refused("digest of the new image")
    return new


if __name__ == "__main__":
    with open(sys.argv[1], "rb") as f:
        old_image = f.read()
    with open(sys.argv[2], "rb") as f:
        patch_bytes = f.read()
    result = apply(old_image, patch_bytes)
    with open(sys.argv[3], "wb") as f:
        f.write(result)
