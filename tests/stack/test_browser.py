from pathlib import Path

import pytest

from stack.browser import BROWSER, Browser, browser_prefix, ensure_browser, find_browser
from stack.debian import VERSIONS_FILE
from stack.errors import StackError
from tests.stack.programs import write_program


@pytest.fixture
def env(directory: Path) -> dict[str, str]:
    """A machine without a browser, and without a mirror to get one from."""
    (directory / "bin").mkdir()
    return {
        "PATH": str(directory / "bin"),
        "ALATAU_CACHE_DIR": str(directory / "cache"),
        "ALATAU_DEBIAN_MIRROR": f"file:{directory}/no-mirror",
    }


def pretend_provisioned(prefix: Path) -> Path:
    wrapper, *others = BROWSER.executables(prefix)
    for program in (wrapper, *others):
        write_program(program, "exit 0")
    (prefix / VERSIONS_FILE).write_text('{"chromium": "150.0.7871.100"}')
    return wrapper


@pytest.mark.parametrize("name", ["chromium", "chromium-browser", "google-chrome"])
def test_the_machines_own_browser_comes_first(directory: Path, env: dict[str, str], name: str) -> None:
    pretend_provisioned(browser_prefix(env))
    program = write_program(directory / "bin" / name, "echo Chromium 151.0.1 built on Debian")
    assert find_browser(env) == Browser(program, "151.0.1", "system")


@pytest.mark.parametrize("said", ["Chromium 90.0.4430.212", "requires the chromium snap to be installed"])
def test_a_browser_that_will_not_do_is_passed_over(directory: Path, env: dict[str, str], said: str) -> None:
    write_program(directory / "bin/chromium", f"echo {said}")
    assert find_browser(env) is None
    wrapper = pretend_provisioned(browser_prefix(env))
    assert find_browser(env) == Browser(wrapper, "150.0.7871.100", "provisioned")


def test_a_browser_that_was_cleaned_out_by_half_is_none(env: dict[str, str]) -> None:
    pretend_provisioned(browser_prefix(env)).unlink()
    assert find_browser(env) is None


def test_without_a_browser_and_a_mirror_it_says_what_to_install(env: dict[str, str]) -> None:
    with pytest.raises(StackError) as caught:
        ensure_browser(env)
    assert "apt install chromium" in caught.value.remedy
    assert "PostgreSQL" not in caught.value.remedy
