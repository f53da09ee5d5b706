"""One public delta tool on one pair of images: `public.py NAME OLD NEW`.

Prints a line of JSON, {"bytes", "make", "apply"}; times are in seconds and without
the interpreter's start. Ends with status 3 if the tool is not installed, with 1 if
what it makes does not give the new image.
"""

import io
import json
import os
import sys
import tempfile
import time


def detools(old, new, **options):
    import detools as tool

    patch = io.BytesIO()

    def make():
        tool.create_patch(io.BytesIO(old), io.BytesIO(new), patch, use_mmap=False, **options)
        return patch.getvalue()

    def apply(made):
        out = io.BytesIO()
        tool.apply_patch(io.BytesIO(old), io.BytesIO(made), out)
        return out.getvalue()

    return make, apply


def detools_in_place(old, new):
    segment = 0x10000
    # Room for both images: the old one is first moved to the end.
    size = (len(old) + len(new)) // segment * segment + 4 * segment
    make, _ = detools(
        old, new, patch_type="in-place", memory_size=size, segment_size=segment
    )

    def apply(made):
        import detools as tool

        memory = io.BytesIO(old + bytes(size - len(old)))
        tool.apply_patch_in_place(memory, io.BytesIO(made))
        return memory.getvalue()[: len(new)]

    return make, apply


def bsdiff(old, new):
    import bsdiff4

    return lambda: bsdiff4.diff(old, new), lambda made: bsdiff4.patch(old, made)


def hdiffpatch(old, new, window):
    import hdiffpatch as tool

    config = tool.Lzma2Config(level=9, window=window)
    return (
        lambda: tool.diff(old, new, compression=config, validate=False),
        lambda made: tool.apply(old, made),
    )


def hpatchlite(old, new, kind, size):
    import hdiffpatch as tool

    if kind == "tuz":
        config = tool.TuzConfig(dict_size=size, literal_line=True)
    else:
        config = tool.LzmaConfig(level=9, window=size.bit_length() - 1)
    return (
        lambda: tool.diff_lite(old, new, compression=config, validate=False),
        lambda made: tool.apply_lite(old, made),
    )


TOOLS = {
    "bsdiff4": bsdiff,
    "detools": detools,
    "detools-hdiffpatch": lambda o, n: detools(
        o, n, patch_type="hdiffpatch", algorithm="hdiffpatch"
    ),
    "detools-heatshrink": lambda o, n: detools(
        o, n, compression="heatshrink", heatshrink_window_sz2=11, heatshrink_lookahead_sz2=7
    ),
    "detools-in-place": detools_in_place,
    "hdiffpatch": lambda o, n: hdiffpatch(o, n, 20),
    "hpatchlite-tuz-8k": lambda o, n: hpatchlite(o, n, "tuz", 8192),
    "hpatchlite-tuz-32k": lambda o, n: hpatchlite(o, n, "tuz", 32768),
    "hpatchlite-lzma-16k": lambda o, n: hpatchlite(o, n, "lzma", 16384),
    "hpatchlite-lzma-32k": lambda o, n: hpatchlite(o, n, "lzma", 32768),
}
# In place, detools makes patches with a data format that it cannot apply.
for data in ("arm-cortex-m4", "aarch64", "xtensa-lx106"):
    TOOLS["detools-" + data] = lambda o, n, d=data: detools(o, n, data_format=d)


def main():
    name, old, new = sys.argv[1:]
    with open(old, "rb") as file:
        old = file.read()
    with open(new, "rb") as file:
        new = file.read()
    try:
        make, apply = TOOLS[name](old, new)
        start = time.perf_counter()
        made = make()
        middle = time.perf_counter()
        back = apply(made)
        end = time.perf_counter()
    except ImportError as error:
        print(error, file=sys.stderr)
        sys.exit(3)
    if back != new:
        sys.exit(name + ": its own patch gives another image")
    print(json.dumps({"bytes": len(made), "make": middle - start, "apply": end - middle}))


main()
