"""Builds the Cython modules of ``fastcache._core``; everything else is in pyproject.toml.

``FASTCACHE_BUILD`` chooses how: ``debug`` with assertions and bounds checks; ``sanitize`` the code that ships, under
AddressSanitizer and UndefinedBehaviorSanitizer (tools/sanitize builds and runs it); ``fuzz`` the same by clang, telling
a fuzzer which code was reached (tools/fuzz); ``none`` compiles nothing, for an editable installation whose modules
``build_ext --inplace`` has made already (pip would compile all of them again).
"""

import os
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

BUILD = os.environ.get("FASTCACHE_BUILD", "")
DEBUG = BUILD == "debug"
CORE = Path("src/fastcache/_core")

SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]
# What ships is what is measured: no -march=native, no per-machine flags.
HOW = {
    "": ["-O2", "-g0"],
    "none": [],
    "debug": ["-O1", "-g", "-UNDEBUG"],
    "sanitize": ["-O1", "-g", "-UNDEBUG", "-fno-omit-frame-pointer", *SANITIZERS],
    "fuzz": ["-O1", "-g", "-UNDEBUG", "-fno-omit-frame-pointer", "-fsanitize=address,fuzzer-no-link"],
}
if BUILD not in HOW:
    raise SystemExit(f"FASTCACHE_BUILD: {BUILD!r} is not one of {', '.join(repr(name) for name in HOW)}")

extensions = [
    Extension(
        f"fastcache._core.{path.stem}",
        [str(path)],
        include_dirs=[str(CORE)],
        depends=[str(header) for header in sorted(CORE.glob("*.h"))],
        extra_compile_args=["-std=gnu11", "-Wall", "-Wno-unused-function", "-Wno-unreachable-code", *HOW[BUILD]],
        # The run-time library of the fuzzer is preloaded, and holds what would be linked here.
        extra_link_args=SANITIZERS if BUILD == "sanitize" else [],
    )
    for path in sorted(CORE.glob("*.pyx"))
    if BUILD != "none"
]

setup(
    ext_modules=cythonize(
        extensions,
        include_path=["src"],
        # The C of one way must not be taken for that of another.
        build_dir=f"build/{BUILD}/c" if BUILD not in ("", "none") else None,
        compiler_directives={
            "language_level": 3,
            "boundscheck": DEBUG,
            "wraparound": False,
            "cdivision": True,
            "initializedcheck": DEBUG,
            "embedsignature": True,
        },
    )
)
