"""Measure what an extra of Secateur costs on a disk, package by package.

    python benchmarks/dependency_sizes.py [--extra agent] [--quick]

Builds a clean virtual environment in a temporary folder, installs this repository with one
extra, and sums the files of each distribution as pip recorded them: byte code included,
download caches and file-system blocks not. ``--quick`` is the same: there is nothing to leave
out. The last line is one JSON object.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import Distribution, distributions
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
MB = 1e6
NOT_OURS = {"pip", "setuptools"}
"""What every virtual environment has."""


def install(environment: Path, extra: str) -> Path:
    """Make an environment with one extra and give its folder of packages.

    Raises:
        subprocess.CalledProcessError: pip failed, and said why on stderr.
    """
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    pip = [str(environment / "bin" / "pip"), "--disable-pip-version-check", "--quiet"]
    subprocess.run([*pip, "install", f"{REPOSITORY}[{extra}]"], check=True)
    (folder,) = environment.glob("lib/python*/site-packages")
    return folder


def size_bytes(distribution: Distribution) -> int:
    """Sum the sizes of a distribution's files that are there."""
    paths = (Path(str(file.locate())) for file in distribution.files or ())
    return sum(path.stat().st_size for path in paths if path.is_file())


def measure(folder: Path) -> Iterator[tuple[str, str, int]]:
    """Give name, version and size in bytes of each distribution, the largest first."""
    found = [each for each in distributions(path=[str(folder)]) if each.name not in NOT_OURS]
    sizes = [(each.name, each.version, size_bytes(each)) for each in found]
    yield from sorted(sizes, key=lambda row: -row[2])


def main() -> None:
    """Install, measure, print."""
    parser = argparse.ArgumentParser(description="Measure the disk that an extra takes.")
    parser.add_argument("--extra", default="agent")
    parser.add_argument("--quick", action="store_true", help="as without")
    extra: str = parser.parse_args().extra
    with tempfile.TemporaryDirectory() as temporary:
        rows = list(measure(install(Path(temporary) / "venv", extra)))
    print("| distribution | version | MB |\n|---|---|---|")
    for name, version, size in rows:
        print(f"| {name} | {version} | {size / MB:.1f} |")
    total = sum(size for _, _, size in rows)
    print(f"| all {len(rows)} | | {total / MB:.1f} |")
    sizes = {name: size for name, _, size in rows}
    print(json.dumps({"extra": extra, "total_bytes": total, "bytes": sizes}))


if __name__ == "__main__":
    main()
