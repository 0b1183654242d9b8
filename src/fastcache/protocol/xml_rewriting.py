"""Texts of an XML answer replaced while it streams: everything else keeps its very octets.

A parser that knows where in the document each event began says which octets to exchange, so nothing is written anew
and nothing has to be held but the token that is not complete yet. Documents of S3 name their bucket near the beginning:
once every text has been met, the rest is not looked at any more (nor what an XML parser would refuse in it: keys with
control characters, which S3 writes as references that XML 1.0 forbids).
"""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping
from typing import Final, NoReturn
from xml.parsers import expat

Path = tuple[str, ...]
"""Local names from the root on."""
Replace = Callable[[str], str]

_WHITE_SPACE: Final = b" \t\r\n"
_ENCODINGS: Final = (None, "utf-8", "us-ascii")
_MOST_HELD: Final = 64 * 1024
"""Octets of one token. S3's are names, keys and tags."""


class RewriteError(ValueError):
    """The document is not one that can be rewritten. Its text holds nothing of the document."""


class TextRewriter:
    """Rewrites one document: ``feed`` returns what can be sent on, ``finish`` the rest."""

    def __init__(self, replacements: Mapping[Path, Replace]) -> None:
        self._replacements = replacements
        self._held = bytearray()
        self._sent = 0
        """Position in the document of the first octet that is held."""
        self._settled = 0
        """Position before which nothing can change any more."""
        self._edits: list[tuple[int, int, bytes]] = []
        self._skipped = 0
        """Octets of white space in front of the document, which the parser never sees."""
        self._begun = False
        self._path: list[str] = []
        self._expected: set[Path] = set()
        self._text: list[str] | None = None
        """The text of the element that is to be replaced, while the parser is inside it."""
        self._text_start = -1
        self._parser: expat.XMLParserType | None = self._new_parser()

    def feed(self, data: bytes) -> bytes:
        """Take the next octets; RewriteError when they are no XML that is understood."""
        if self._parser is None:
            return data
        self._held += data
        if not self._begun:
            data = self._without_leading_space()
        self._parse(self._parser, data, final=False)
        if len(self._held) - (self._settled - self._sent) > _MOST_HELD:
            raise RewriteError("a token is too long")
        return self._ready()

    def finish(self) -> bytes:
        """The document has ended; RewriteError when it may not end here."""
        if self._parser is not None:
            self._parse(self._parser, b"", final=True)
            self._end()
        return self._ready()

    def _new_parser(self) -> expat.XMLParserType:
        parser = expat.ParserCreate()
        parser.buffer_text = False
        if hasattr(parser, "SetReparseDeferralEnabled"):  # else a token's end may not be noticed when it is there
            parser.SetReparseDeferralEnabled(False)
        parser.XmlDeclHandler = self._declaration
        parser.StartDoctypeDeclHandler = self._doctype
        parser.StartElementHandler = self._start_element
        parser.EndElementHandler = self._end_element
        parser.CharacterDataHandler = self._characters
        parser.StartCdataSectionHandler = self._start_cdata
        parser.DefaultHandler = self._other
        return parser

    def _parse(self, parser: expat.XMLParserType, data: bytes, *, final: bool) -> None:
        try:
            parser.Parse(data, final)
        except expat.ExpatError:
            # What comes behind the last text to be replaced is not our business.
            if self._parser is not None:
                raise RewriteError("not well-formed XML") from None

    def _without_leading_space(self) -> bytes:
        """S3 keeps a slow connection alive by white space, which a declaration must not have in front of it."""
        document = bytes(self._held).lstrip(_WHITE_SPACE)
        self._skipped += len(self._held) - len(document)
        self._settled = self._skipped
        self._begun = bool(document)
        return document

    def _ready(self) -> bytes:
        """What is settled, with its edits made."""
        out = []
        for start, end, text in self._edits:
            out += [self._take(start), text]
            self._take(end)
        self._edits.clear()
        return b"".join([*out, self._take(self._settled)])

    def _take(self, until: int) -> bytes:
        count = until - self._sent
        taken = bytes(self._held[:count])
        del self._held[:count]
        self._sent = until
        return taken

    def _end(self) -> None:
        """Nothing more is to be replaced, so nothing more of what is being parsed has to be told."""
        parser, self._parser = self._parser, None
        if parser is not None:
            parser.StartElementHandler = parser.EndElementHandler = None
            parser.CharacterDataHandler = parser.StartCdataSectionHandler = parser.DefaultHandler = None
        self._settled = self._sent + len(self._held)

    # -- what the parser tells

    def _here(self) -> int:
        assert self._parser is not None
        return self._skipped + self._parser.CurrentByteIndex

    def _declaration(self, version: str, encoding: str | None, standalone: int) -> None:
        if (encoding and encoding.lower()) not in _ENCODINGS:
            raise RewriteError("not UTF-8")

    def _doctype(self, *declared: object) -> NoReturn:
        raise RewriteError("a document type, of which S3 has none")

    def _start_element(self, name: str, attributes: Mapping[str, str]) -> None:
        if self._text is not None:
            raise RewriteError("an element inside a text")
        self._settled = self._here()
        if not self._held.startswith(b"<" + name.encode(), self._settled - self._sent):
            raise RewriteError("not UTF-8")  # positions and octets would be of another encoding
        self._path.append(name.rpartition(":")[2])
        path = tuple(self._path)
        if len(path) == 1:
            self._expected = {known for known in self._replacements if known[0] == path[0]}
            if not self._expected:
                self._end()
        elif path in self._expected:
            self._text, self._text_start = [], -1

    def _end_element(self, name: str) -> None:
        path = tuple(self._path)
        self._path.pop()
        if self._text is None:
            self._settled = self._here()
            return
        if self._text_start >= 0:
            replaced = self._replacements[path]("".join(self._text))
            self._edits.append((self._text_start, self._here(), _escaped(replaced)))
        self._settled = self._here()
        self._text = None
        self._expected.discard(path)
        if not self._expected:
            self._end()

    def _characters(self, text: str) -> None:
        if self._text is None:
            self._settled = self._here()
            return
        self._start_cdata()
        self._text.append(text)

    def _start_cdata(self) -> None:
        if self._text is not None and self._text_start < 0:
            self._text_start = self._here()

    def _other(self, markup: str) -> None:
        """The prolog, comments, instructions, white space outside: they have no part in this."""
        if self._text is None:
            self._settled = self._here() + len(markup.encode())
        elif markup != "]]>":
            raise RewriteError("markup inside a text")


def _escaped(text: str) -> bytes:
    return html.escape(text, quote=False).replace("\r", "&#13;").encode()
