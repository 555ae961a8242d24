"""Debian packages through the machine's own apt, with state of our own: nothing of the system changes."""

import os
import re
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from stack.commands import clean_environment, run
from stack.errors import SERVERS_BY_OTHER_MEANS, StackError
from stack.layout import make_directory
from stack.progress import Report

KEYRINGS = (
    Path("/usr/share/keyrings/debian-archive-keyring.gpg"),
    Path("/usr/share/keyrings/debian-archive-keyring.pgp"),
)

_INDEX_URI = re.compile(r"^'(.+?)/+dists/", re.MULTILINE)
_PACKAGE_URI = re.compile(r"^'[^']+' (\S+\.deb) \d+", re.MULTILINE)
_PROGRESS = re.compile(r"^(?:dlstatus|pmstatus):[^:]*:([0-9.]+):")

# The machine's configuration is read before this, for its proxies and credentials; its hooks and pins
# are about the machine's own packages.
_CONFIGURATION = """\
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Post-Invoke;
Dir::Etc::sourcelist "{work}/sources.list";
Dir::Etc::sourceparts "{work}/empty";
Dir::Etc::preferences "{work}/no-preferences";
Dir::Etc::preferencesparts "{work}/empty";
Dir::State::Lists "{work}/lists";
Dir::State::status "{work}/status";
Dir::State::extended_states "{work}/extended_states";
Dir::Cache "{work}/cache";
Dir::Log "{work}/log";
APT::Sandbox::User "";
APT::Architecture "{architecture}";
APT::Get::AllowUnauthenticated "false";
APT::Keep-Downloaded-Packages "true";
APT::Update::Error-Mode "any";
Acquire::AllowInsecureRepositories "false";
Acquire::Retries "2";
Acquire::http::Timeout "30";
Acquire::https::Timeout "30";
"""

_STAND_IN = """\
Package: {name}
Status: install ok installed
Architecture: {architecture}
Multi-Arch: foreign
Version: 99:1
Maintainer: Alatau
Description: not needed by servers that run from a private directory

"""


@dataclass(frozen=True, slots=True)
class Apt:
    """apt-get with its lists, its cache and its idea of what is installed in `work`."""

    work: Path
    architecture: str
    by_other_means: str = SERVERS_BY_OTHER_MEANS
    keyrings: Sequence[Path] = KEYRINGS

    def prepare(self, stand_ins: Iterable[str]) -> None:
        """Write the configuration; packages named in `stand_ins` count as installed."""
        for name in ("empty", "lists/partial", "cache/archives/partial", "log"):
            make_directory(self.work / name)
        configuration = _CONFIGURATION.format(work=self.work, architecture=self.architecture)
        self._configuration.write_text(configuration)
        self._write_private("sources.list", "")
        stanzas = (_STAND_IN.format(name=name, architecture=self.architecture) for name in stand_ins)
        (self.work / "status").write_text("".join(stanzas))

    def machine_mirrors(self) -> list[str]:
        """Return the addresses the machine's own apt uses, the likely Debian mirrors first."""
        empty_lists = f"-oDir::State::Lists={self.work}/machine-lists"
        make_directory(self.work / "machine-lists/partial")
        result = run(["apt-get", empty_lists, "update", "--print-uris"])
        found = dict.fromkeys(_INDEX_URI.findall(result.stdout))
        usable = [uri for uri in found if not uri.startswith("cdrom:") and "security" not in uri]
        return sorted(usable, key=lambda uri: not uri.rstrip("/").endswith("/debian"))

    def use(self, mirror: str, release: str, report: Report) -> None:
        """Fetch and verify the package lists of `release`; raises StackError if `mirror` lacks it."""
        keyring = next((path for path in self.keyrings if path.is_file()), None)
        if keyring is None:
            raise StackError(
                "Debian's archive keys are not installed, so its packages cannot be verified.",
                f"Install them with `apt install debian-archive-keyring`. {self.by_other_means}",
            )
        options = f"arch={self.architecture} lang=none target=Packages signed-by={keyring}"
        self._write_private("sources.list", f"deb [{options}] {mirror} {release} main\n")
        self._run(["update"], f"Reading Debian {release}'s package lists", report)

    def download(self, packages: Sequence[str], report: Report) -> list[Path]:
        """Fetch `packages` and what they depend on, taking up an interrupted download; return the files."""
        install = ["install", "--yes", "--no-install-recommends", "--download-only", *packages]
        archives = self.work / "cache/archives"
        # The plan is made as if nothing were downloaded: apt leaves out what it has, and what an
        # interrupted run left behind may be of other versions.
        make_directory(self.work / "no-archives/partial")
        nothing = f"-oDir::Cache::Archives={self.work}/no-archives"
        plan = run(["apt-get", *self._options, nothing, *install, "--print-uris"])
        if plan.returncode != 0:
            raise self._failure("Planning the download", plan.stdout + plan.stderr)
        files = [archives / name for name in _PACKAGE_URI.findall(plan.stdout)]
        self._run(install, f"Downloading {len(files)} packages", report)
        missing = [file.name for file in files if not file.is_file()]
        if missing or not files:
            raise StackError(
                f"apt did not deliver {', '.join(missing) or 'any package'}.",
                f"Run the command again. {self.by_other_means}",
            )
        return files

    @property
    def _configuration(self) -> Path:
        return self.work / "apt.conf"

    @property
    def _options(self) -> list[str]:
        return ["-c", str(self._configuration)]

    def _write_private(self, name: str, text: str) -> None:
        # A mirror's address may carry credentials.
        path = self.work / name
        path.touch(mode=0o600)
        path.write_text(text)

    def _run(self, arguments: Sequence[str], step: str, report: Report) -> None:
        report(step, None)
        reading, writing = os.pipe()
        log = self.work / "apt.log"
        with log.open("w") as log_file, os.fdopen(reading, "rb") as status:
            try:
                process = subprocess.Popen(  # noqa: S603 - an argument list, never a shell
                    ["apt-get", *self._options, f"-oAPT::Status-Fd={writing}", *arguments],  # noqa: S607
                    stdin=subprocess.DEVNULL,
                    stdout=log_file,
                    stderr=subprocess.STDOUT,
                    pass_fds=[writing],
                    cwd="/",
                    env=clean_environment({"DEBIAN_FRONTEND": "noninteractive"}),
                    umask=0o022,
                )
            finally:
                os.close(writing)
            with process:
                try:
                    for fraction in _fractions(status):
                        report(step, fraction)
                    process.wait()
                except BaseException:
                    process.terminate()
                    raise
        if process.returncode != 0:
            raise self._failure(step, log.read_text(errors="replace"))

    def _failure(self, step: str, text: str) -> StackError:
        lines = [line for line in text.splitlines() if line.startswith(("E:", "Err:", "W:", "  "))]
        quoted = "\n".join(f"  {line.strip()}" for line in lines[-5:]) or f"  {text.strip()[-300:]}"
        found = (remedy for pattern, remedy in _CAUSES if re.search(pattern, text))
        return StackError(f"{step} failed:\n{quoted}", f"{next(found, '')} {self.by_other_means}".strip())


def _fractions(status: Iterable[bytes]) -> Iterator[float]:
    for line in status:
        if match := _PROGRESS.match(line.decode(errors="replace")):
            yield min(float(match.group(1)) / 100, 1.0)


_CAUSES = (
    (
        r"Could not resolve|Temporary failure|Could not connect|Unable to connect|timed out|unreachable",
        "Check the network, and the proxy if there is one, then run the command again: it continues "
        "where it stopped.",
    ),
    (
        r"NO_PUBKEY|not signed|signatures|EXPKEYSIG|Signature by key",
        "Bring Debian's keys up to date with `apt update && apt install debian-archive-keyring`.",
    ),
    (
        r"No space left|enough free space",
        "Free some space, or set ALATAU_CACHE_DIR to a directory on another disk.",
    ),
)
