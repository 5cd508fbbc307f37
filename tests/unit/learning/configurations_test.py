"""One hash of losses whatever the BLAS kernel, the number of threads and the size of a batch.

    configurations_test.py EXACT_DUMP
"""

import os
import subprocess
import sys

GAME = "784,64,32,10 3 700 5"
KERNELS = {"Nehalem": "sse4_2", "Haswell": "avx2", "Zen": "avx2", "SkylakeX": "avx512f"}


def flags():
    with open("/proc/cpuinfo", encoding="ascii") as info:
        return next((set(line.split()) for line in info if line.startswith("flags")), set())


def main(dump):
    have = flags()
    kernels = [name for name, needs in KERNELS.items() if needs in have]
    assert kernels, "no kernel of OpenBLAS to compare"
    hashes = {}
    for kernel in kernels:
        for threads in ("1", "2"):
            for block in ("7", "256", "10000"):
                run = subprocess.run(
                    [dump, "hash", *GAME.split(), block, threads], check=True, text=True,
                    capture_output=True,
                    env={**os.environ, "OPENBLAS_CORETYPE": kernel, "OPENBLAS_VERBOSE": "2"})
                # OpenBLAS says which kernel it took: the test would be empty if it took no notice.
                assert kernel.lower() in run.stderr.lower() + run.stdout.lower(), run.stderr
                digest = run.stdout.strip().splitlines()[-1]
                hashes.setdefault(digest, []).append((kernel, threads, block))
    if len(hashes) != 1:
        sys.exit(f"several hashes: {hashes}")
    print(f"one hash in {sum(map(len, hashes.values()))} configurations: {next(iter(hashes))}")


if __name__ == "__main__":
    main(sys.argv[1])
