"""
Compile the kernel with the C compiler of the `ziglang` package: `python -m wasm.build [folder]`, or `make kernel`.

The three builds give the same results, byte for byte:

* `kernel-relaxed.wasm`  relaxed SIMD: the server runs this build where it is the faster one;
* `kernel.wasm`          baseline SIMD: for Node 20 and browsers without relaxed SIMD;
* `kernel-reference.wasm` scalar loops, exhaustive search: defines the correct result of the other two.
"""

import hashlib
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent
COMMON = ("space.c", "vector.c", "score.c")
FAST = ("vector_simd.c", "sieve.c", "scan.c", "diversify.c")
REFERENCE = ("vector_scalar.c", "scan_reference.c", "diversify_reference.c")
SCALAR_FLAGS = ("-fno-vectorize", "-fno-slp-vectorize")
BUILDS = {
    "kernel.wasm": (COMMON + FAST, ("-msimd128",)),
    "kernel-relaxed.wasm": (COMMON + FAST, ("-msimd128", "-mrelaxed-simd")),
    "kernel-reference.wasm": (COMMON + REFERENCE, SCALAR_FLAGS),
}
# No contraction and no fast-math: a reordered addition would change the bytes.
FLAGS = (
    "--target=wasm32-freestanding",
    "-std=c11",
    "-O3",
    "-flto",
    "-nostdlib",
    "-ffreestanding",
    "-ffp-contract=off",
    "-mbulk-memory",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-Wl,--no-entry",
    "-Wl,-z,stack-size=65536",
    "-Wl,--export=__stack_pointer",  # the host resets it after a trap
    "-Wl,--strip-all",
)


def compile_build(name: str, folder: Path) -> Path:
    """Compile one of `BUILDS` into *folder* and return the file."""
    sources, flags = BUILDS[name]
    target = folder / name
    command = [sys.executable, "-m", "ziglang", "cc", *FLAGS, *flags, "-o", str(target.resolve()), *sources]
    subprocess.run(command, cwd=FOLDER / "src", check=True)
    return target


def sha256_hex(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_builds(folder: Path) -> None:
    """Compile every build into *folder* and write their SHA-256 digests to its `SHA256SUMS`."""
    lines = [f"{sha256_hex(compile_build(name, folder))}  {name}\n" for name in BUILDS]
    (folder / "SHA256SUMS").write_text("".join(lines))


if __name__ == "__main__":
    write_builds(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER / "dist")
