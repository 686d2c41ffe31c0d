"""What the documents tell a reader to type, and where they link to."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md")))

PROGRAMS = ("pytest", "gaitperf", "make", "pip")
"""What a command in running text begins with."""


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: its language and its text."""

    language: str
    text: str


def blocks(path: Path) -> list[Block]:
    return [
        Block(token.info.strip(), token.content)
        for token in MarkdownIt().parse(path.read_text())
        if token.type == "fence"
    ]


def python_blocks(path: Path) -> list[str]:
    return [block.text for block in blocks(path) if block.language == "python"]


def commands(path: Path) -> list[str]:
    """Return what stands behind a prompt, and the lines of shell blocks, in order."""
    found = []
    for block in blocks(path):
        whole = block.text.replace("\\\n", " ").splitlines()
        if block.language == "console":
            found += [line[2:] for line in whole if line.startswith("$ ")]
        elif block.language in ("bash", "sh"):
            found += [line for line in whole if line.strip()]
    return [" ".join(line.split()) for line in map(_without_comment, found)]


def _without_comment(line: str) -> str:
    return re.sub(r"\s+#\s.*$", "", line)


def inline_commands(path: Path) -> list[str]:
    """Return the code in running text that is a command with something behind it."""
    spans = [
        child.content
        for token in MarkdownIt().enable("table").parse(path.read_text())
        for child in token.children or ()
        if child.type == "code_inline"
    ]
    return [text for text in spans if text.partition(" ")[0] in PROGRAMS and " " in text]


def steps(command: str) -> list[list[str]]:
    """Split a line into the words of each program that it calls."""
    lexer = shlex.shlex(command, posix=True, punctuation_chars="&|;<>")
    lexer.whitespace_split = True
    found: list[list[str]] = [[]]
    for word in lexer:
        if set(word) <= set("&|;"):
            found.append([])
        else:
            found[-1].append(word)
    return [words for words in found if words]


def links(path: Path) -> list[str]:
    """Return where a document links to within the repository."""
    targets = [
        str(child.attrs.get("href") or child.attrs.get("src"))
        for token in MarkdownIt().enable("table").parse(path.read_text())
        for child in token.children or ()
        if child.type in ("link_open", "image")
    ]
    return [target for target in targets if not re.match(r"\w+:", target)]


def anchors(path: Path) -> set[str]:
    """Return the anchors that GitHub gives to a document's headings."""
    tokens = MarkdownIt().parse(path.read_text())
    titles = [
        tokens[index + 1].content
        for index, token in enumerate(tokens)
        if token.type == "heading_open"
    ]
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
