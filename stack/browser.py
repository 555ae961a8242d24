"""The browser that tests look at the dashboard with: the machine's own, or Debian's in a directory of ours."""

import hashlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from stack.commands import output, run
from stack.debian import RELEASE, Recipe, provide, provisioned_versions
from stack.elf import adapt
from stack.errors import StackError
from stack.layout import cache_directory
from stack.progress import Report, silent
from stack.provision import machine_architecture
from stack.versions import as_numbers

MINIMUM_CHROMIUM = (120,)
BROWSER_BY_OTHER_MEANS = "Install Chromium 120 or later from packages, such as with `apt install chromium`."

# As root there is no sandbox, and ours are the only pages. Without a graphics card WebGL2 is drawn by SwiftShader.
ARGUMENTS = ("--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# Letters of every language of the dashboard. A browser without any font draws nothing.
_PACKAGES = ("chromium", "fonts-dejavu-core")
# What only maintainer scripts, desktops and graphics cards need: apt is told that it is there already.
_STAND_INS = (
    "adduser",
    "debconf",
    "dconf-gsettings-backend",
    "fontconfig",
    "init-system-helpers",
    "libgl1",
    "libgl1-mesa-dri",
    "libglx-mesa0",
    "libgtk-3-0t64",
    "libllvm19",
    "libpam0g",
    "openssl-provider-legacy",
    "readline-common",
    "ucf",
    "x11-common",
    "x11-utils",
    "xdg-desktop-portal-backend",
    "xdg-utils",
)
_UNNEEDED = (
    "etc",
    "lib",
    "usr/bin",
    "usr/lib/*/gconv",
    "usr/lib/*/libgallium-*",
    "usr/lib/*/libz3.so*",
    "usr/lib/chromium/*.TOC",
    "usr/lib/systemd",
    "usr/lib/udev",
    "usr/sbin",
    "usr/share/doc",
    "usr/share/icons",
    "usr/share/locale",
    "usr/share/man",
    "var",
)
# Measured: 0.9 GB of lists, packages and unpacked files at the peak, 0.46 GB kept.
_DISK_NEEDED = 1_500_000_000
_LAYOUT = 1
"""To be raised when the provisioning changes in a way that the constants above do not show."""

_FONTS = """\
<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "urn:fontconfig:fonts.dtd">
<fontconfig>
  <dir>{prefix}/usr/share/fonts</dir>
  <cachedir>{prefix}/fonts.cache</cachedir>
</fontconfig>
"""
# One program as the system's is one: whoever starts it need not know where its fonts are. The one library of it that
# looks for another in a place of the system is shown where that is.
_WRAPPER = """\
#!/bin/sh
export FONTCONFIG_FILE='{prefix}/fonts.conf' LD_LIBRARY_PATH='{prefix}/{sound}'
exec '{prefix}/usr/lib/chromium/chromium' "$@"
"""
_SHOW = ("--headless", "--no-sandbox", "--dump-dom")
_PAGE, _SHOWN = "data:text/html,<body><script>document.body.append(6 * 7)</script>", "42</body>"
_SAID = re.compile(r"\bChrom(?:e|ium)\D* (\d+(?:\.\d+)+)")


@dataclass(frozen=True, slots=True)
class Browser:
    """A Chromium that will do."""

    program: Path
    version: str
    origin: Literal["system", "provisioned"]


def find_browser(env: Mapping[str, str]) -> Browser | None:
    """Return a browser without provisioning one: the machine's own first."""
    for program in _installed(env):
        version = _version(program)
        if version is not None and as_numbers(version) >= MINIMUM_CHROMIUM:
            return Browser(program, version, "system")
    prefix = browser_prefix(env)
    versions = provisioned_versions(BROWSER, prefix)
    return Browser(_wrapper(prefix), versions["chromium"], "provisioned") if versions else None


def ensure_browser(env: Mapping[str, str], report: Report = silent) -> Browser:
    """Return a browser, provisioning it where the machine has none; raises StackError where that cannot be done.

    The first time this downloads some 150 MB.
    """
    if browser := find_browser(env):
        return browser
    prefix = browser_prefix(env)
    provide(BROWSER, prefix, env, report)
    browser = find_browser(env)
    if browser is None:
        raise StackError(f"The browser at {prefix} vanished while it was made.", BROWSER_BY_OTHER_MEANS)
    return browser


def _installed(env: Mapping[str, str]) -> Iterator[Path]:
    for name in _NAMES:
        if found := shutil.which(name, path=env.get("PATH", os.defpath)):
            yield Path(found)


def _version(program: Path) -> str | None:
    found = _SAID.search(output([str(program), "--version"]) or "")
    return found.group(1) if found else None


def browser_prefix(env: Mapping[str, str]) -> Path:
    """Return where this version of the recipe puts the browser."""
    # It runs as whoever runs the tests, so root's cache will do for root.
    recipe = json.dumps([RELEASE, _PACKAGES, _STAND_INS, _UNNEEDED, _LAYOUT])
    digest = hashlib.sha256(recipe.encode()).hexdigest()[:8]
    return cache_directory(env).resolve() / f"browser-{RELEASE}-{machine_architecture()}-{digest}"


def _wrapper(prefix: Path) -> Path:
    return prefix / "chromium"


def _executables(prefix: Path) -> list[Path]:
    return [prefix / "usr/lib/chromium" / name for name in ("chromium", "chrome_crashpad_handler")]


def _adapt(root: Path, final_prefix: Path) -> None:
    adapt(root, final_prefix, _executables(root), BROWSER_BY_OTHER_MEANS)
    (root / "fonts.conf").write_text(_FONTS.format(prefix=final_prefix))
    wrapper = _wrapper(root)
    sound = next(root.glob("usr/lib/*/pulseaudio")).relative_to(root)
    wrapper.write_text(_WRAPPER.format(prefix=final_prefix, sound=sound))
    wrapper.chmod(0o755)


def _verify(prefix: Path) -> dict[str, str]:
    program = _wrapper(prefix)
    version = _version(program)
    # One that tells its version may lack what it needs to show a page.
    try:
        shown = run([str(program), *_SHOW, _PAGE], timeout=60)
        said = shown.stdout + shown.stderr
    except (OSError, subprocess.TimeoutExpired) as error:
        said = str(error)
    if version is None or _SHOWN not in said:
        raise StackError(
            f"The provisioned Chromium does not run: {said.strip()[-500:]}",
            "If the disk is mounted noexec, set ALATAU_CACHE_DIR to a directory on another one. "
            + BROWSER_BY_OTHER_MEANS,
        )
    return {"chromium": version}


BROWSER = Recipe(
    what="browser",
    packages=_PACKAGES,
    stand_ins=_STAND_INS,
    unneeded=_UNNEEDED,
    disk_needed=_DISK_NEEDED,
    by_other_means=BROWSER_BY_OTHER_MEANS,
    executables=lambda prefix: [_wrapper(prefix), *_executables(prefix)],
    adapt=_adapt,
    verify=_verify,
)
