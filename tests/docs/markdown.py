"""Reading the documentation: its fenced blocks, tables, headings and links."""

from __future__ import annotations

import dataclasses
import pathlib
import re
import shlex

PROJECT = pathlib.Path(__file__).parents[2]
_FENCE = re.compile(r"^```(?P<info>[^\n`]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"!?\[(?P<text>[^\]]*)\]\((?P<target>[^)\s]+)\)")
_ANCHOR = re.compile(r'<a id="([^"]+)"></a>')
_HEADING = re.compile(r"^#+ +(.+)$", re.MULTILINE)


@dataclasses.dataclass(frozen=True, slots=True)
class Block:
    """A fenced block; ``info`` are the words after the fence: the language, then what tests do with it."""

    document: str
    number: int
    info: tuple[str, ...]
    text: str

    def __str__(self) -> str:
        return f"{self.document}-{self.number}"


@dataclasses.dataclass(frozen=True, slots=True)
class Link:
    """A link to another file, or to a heading."""

    document: pathlib.Path
    text: str
    target: str

    def __str__(self) -> str:
        return f"{self.document.name}: {self.target}"


def documents() -> list[pathlib.Path]:
    """Return every document of the project, without what is installed or generated in it."""
    folders = [path for path in PROJECT.iterdir() if path.is_dir() and not path.name.startswith(".")]
    return sorted([*PROJECT.glob("*.md"), *(path for folder in folders for path in folder.rglob("*.md"))])


def read(name: str) -> str:
    """Return a document's text by its path from the project's root."""
    return (PROJECT / name).read_text()


def blocks(language: str, *words: str) -> list[Block]:
    """Return the blocks of a language, of all documents, that have these words in their info string."""
    found = []
    for path in documents():
        for number, match in enumerate(_FENCE.finditer(path.read_text())):
            info = tuple(match["info"].split())
            if info[:1] == (language,) and set(words) <= set(info):
                found.append(Block(str(path.relative_to(PROJECT)), number, info, match["text"]))
    return found


def commands(block: Block) -> list[str]:
    """Return the commands of a shell block, continued lines joined."""
    lines = block.text.replace("\\\n", " ").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]


def words(command: str) -> list[str]:
    """Return a command's words without the settings before it, as far as ``&&``, ``>`` and the like."""
    split = shlex.split(command)
    end = next((n for n, word in enumerate(split) if word in {"&&", ">", "|", ";"}), len(split))
    split = split[:end]
    while split and re.match(r"[A-Z_]+=", split[0]):
        split.pop(0)
    return split


def prose(text: str) -> str:
    """Return a document without its fenced blocks."""
    return _FENCE.sub("", text)


def first_column(text: str, heading: str) -> list[str]:
    """Return what stands in backticks in the first column of the tables below a heading."""
    level = next(line for line in text.splitlines() if line.lstrip("#").strip() == heading and line[0] == "#")
    section = text.partition(f"\n{level}\n")[2]
    depth = len(level) - len(level.lstrip("#"))
    section = re.split(rf"^#{{1,{depth}}} ", section, maxsplit=1, flags=re.MULTILINE)[0]
    return re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE)


def links() -> list[Link]:
    """Return every link that stays within the project."""
    return [
        Link(path, match["text"], match["target"])
        for path in documents()
        for match in _LINK.finditer(prose(path.read_text()))
        if "://" not in match["target"]
    ]


def anchors(path: pathlib.Path) -> set[str]:
    """Return the anchors of a document's headings, as GitHub makes them, and those that are written."""
    text = prose(path.read_text())
    titles = _HEADING.findall(text)
    return {*_ANCHOR.findall(text)} | {
        re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles
    }
