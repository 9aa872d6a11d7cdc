"""Downloads the wheels of a lock file for another platform and other Pythons, through pip: it knows the user's index and
proxy, and compares every file with the lock's hashes.

    wheels.py PLATFORM PYTHONS LOCK FOLDER      e.g. linux-x64 3.11,3.12 python/requirements.lock /tmp/wheels
"""

import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

from pip._vendor.packaging.markers import Marker

# The oldest systems on which the Node of a release runs: glibc 2.28, macOS 11.
GLIBC_MINORS = range(28, 4, -1)
AT_ONCE = 6
PLATFORMS = {
    "linux-x64": ("linux", "Linux", "x86_64", [f"manylinux_2_{minor}_x86_64" for minor in GLIBC_MINORS]),
    "linux-arm64": ("linux", "Linux", "aarch64", [f"manylinux_2_{minor}_aarch64" for minor in GLIBC_MINORS]),
    "darwin-x64": ("darwin", "Darwin", "x86_64", ["macosx_11_0_x86_64"]),
    "darwin-arm64": ("darwin", "Darwin", "arm64", ["macosx_11_0_arm64"]),
}

REQUIREMENT = re.compile(r"^(\S+==\S+)(?: ; (.+?))?((?: +--hash=\S+)+)$")


def requirements(lock: str, python: str, platform: str) -> list[str]:
    """The lock's lines that hold there. pip itself would look at the Python that it runs on."""
    sys_platform, system, machine, _ = PLATFORMS[platform]
    environment = {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "sys_platform": sys_platform,
        "platform_system": system,
        "platform_machine": machine,
        "platform_python_implementation": "CPython",
        "implementation_name": "cpython",
        "os_name": "posix",
    }
    lines = []
    for line in lock.replace("\\\n", " ").splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        found = REQUIREMENT.match(line.strip())
        if found is None:
            raise SystemExit(f"cannot read this line of the lock file: {line.strip()}")
        requirement, marker, hashes = found.groups()
        if marker is None or Marker(marker).evaluate(environment):
            lines.append(f"{requirement} {hashes.strip()}\n")
    return lines


def download(wanted: list[str], options: list[str]) -> int:
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("".join(wanted))
        file.flush()
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        command += ["--require-hashes", "--only-binary", ":all:", "--implementation", "cp", *options]
        return subprocess.run([*command, "--requirement", file.name], check=False).returncode


def main() -> int:
    platform, pythons, lock_file, folder = sys.argv[1:]
    with open(lock_file, encoding="utf-8") as file:
        lock = file.read()
    tags = [option for tag in PLATFORMS[platform][3] for option in ("--platform", tag)]
    for python in pythons.split(","):
        wanted = requirements(lock, python, platform)
        options = [*tags, "--python-version", python, "--dest", folder]
        # pip mostly waits for the index, one package after the other.
        parts = [part for part in (wanted[n::AT_ONCE] for n in range(AT_ONCE)) if part]
        with ThreadPoolExecutor(AT_ONCE) as threads:
            if any(list(threads.map(lambda part: download(part, options), parts))):
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
