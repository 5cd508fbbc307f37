"""One digest of the losses of random updates, for every kind of model, and of the bits of exp and
log, whatever the BLAS kernel, the number of threads, the size of a batch, the vector width that
torch takes and the compiler's effort.

    configurations_test.py [--long] EXACT_MATRIX EXACT_MATRIX_O0 EXACT_MATRIX_O3 EXACT_MATRIX_TORCH

20 updates of each model in a covering choice of configurations; 1,000 in all of them with --long.
"""

import itertools
import os
import subprocess
import sys

# OPENBLAS_CORETYPE, and what the processor must have for it.
KERNELS = {"Nehalem": "sse4_2", "Haswell": "avx2", "Zen": "avx2", "SkylakeX": "avx512f"}
# ATEN_CPU_CAPABILITY likewise; torch only.
WIDTHS = {"default": "sse2", "avx2": "avx2", "avx512": "avx512f"}
THREADS = ("1", "2")
LINES = 5  # a digest of exp and log, and one of each model


def flags():
    with open("/proc/cpuinfo", encoding="ascii") as info:
        return next((set(line.split()) for line in info if line.startswith("flags")), set())


def configurations(have, builds, every):
    """(program, kernel, threads, width)."""
    kernels = [name for name, needs in KERNELS.items() if needs in have]
    widths = [name for name, needs in WIDTHS.items() if needs in have]
    assert kernels and widths, "nothing to compare"
    plain, o0, o3, torch = builds
    if every:
        yield from itertools.product((plain, o0, o3), kernels, THREADS, widths[:1])
        yield from itertools.product((torch,), kernels, THREADS, widths)
        return
    yield from itertools.product((plain,), kernels, THREADS, widths[:1])
    yield from ((o0, kernels[0], "1", widths[0]), (o0, kernels[-1], "2", widths[0]))
    yield from ((o3, kernels[0], "2", widths[0]), (o3, kernels[-1], "1", widths[0]))
    yield from ((torch, kernels[i % len(kernels)], THREADS[i % 2], width)
                for i, width in enumerate(widths))


def main(arguments):
    every = arguments[0] == "--long"
    builds = arguments[1:] if every else arguments
    updates, rows = ("1000", "1000") if every else ("20", "10000")
    digests, runs = {}, 0
    for program, kernel, threads, width in configurations(flags(), builds, every):
        # The build without optimisation is slow.
        blocks = "256" if program == builds[1] else "7,10000" if runs % 2 else "256,10000"
        run = subprocess.run(
            [program, threads, updates, rows, blocks], text=True, capture_output=True,
            env={**os.environ, "OPENBLAS_CORETYPE": kernel, "OPENBLAS_VERBOSE": "2",
                 "ATEN_CPU_CAPABILITY": width})
        name = f"{os.path.basename(program)} {kernel} {threads} {width}"
        if run.returncode != 0:
            sys.exit(f"{name}: {run.stderr}")
        # OpenBLAS says which kernel it took: the test would be empty if it took no notice.
        assert kernel.lower() in run.stderr.lower() + run.stdout.lower(), run.stderr
        lines = [line for line in run.stdout.splitlines() if "{" in line]
        assert len(lines) == LINES, run.stdout
        for line in lines:
            digest, model = line.split(" ", 1)
            digests.setdefault(model, {}).setdefault(digest, []).append(name)
        runs += 1
    for model, found in digests.items():
        if len(found) != 1:
            sys.exit(f"{model}: several digests: {found}")
        print(f"{model}: {next(iter(found))}")
    print(f"{updates} updates of each model, one digest in {runs} configurations")


if __name__ == "__main__":
    main(sys.argv[1:])
