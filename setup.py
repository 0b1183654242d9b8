"""Builds the Cython modules of ``fastcache._core``; everything else is in pyproject.toml.

``FASTCACHE_BUILD=debug`` compiles with assertions and bounds checks; ``FASTCACHE_BUILD=none`` compiles nothing, for an
editable installation whose modules ``build_ext --inplace`` has made already (pip would compile all of them again).
"""

import os
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

BUILD = os.environ.get("FASTCACHE_BUILD", "")
DEBUG = BUILD == "debug"
CORE = Path("src/fastcache/_core")

# What ships is what is measured: no -march=native, no per-machine flags.
COMPILE_ARGS = ["-std=gnu11", "-Wall", "-Wno-unused-function", "-Wno-unreachable-code"] + (
    ["-O1", "-g", "-UNDEBUG"] if DEBUG else ["-O2", "-g0"]
)

extensions = [
    Extension(
        f"fastcache._core.{path.stem}",
        [str(path)],
        include_dirs=[str(CORE)],
        depends=[str(header) for header in sorted(CORE.glob("*.h"))],
        extra_compile_args=COMPILE_ARGS,
    )
    for path in sorted(CORE.glob("*.pyx"))
    if BUILD != "none"
]

setup(
    ext_modules=cythonize(
        extensions,
        include_path=["src"],
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
