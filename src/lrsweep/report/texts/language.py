"""The language of the report that is being written. The code holds the English sentences, korean.py their Korean counterparts.

    with language("ko"):
        say("{num} rates", num=3)  # "학습률 3개"

A sentence that korean.py lacks stays English; a test finds those.
"""

import contextlib
import re
import string
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any, Literal

from lrsweep.analysis.phrases import Phrase
from lrsweep.report.texts.figure_words import glossary
from lrsweep.report.texts.korean import KOREAN

Language = Literal["en", "ko"]
LANGUAGES: tuple[Language, ...] = ("en", "ko")
NAMES: dict[Language, str] = {"en": "English", "ko": "한국어"}
_CURRENT: ContextVar[Language] = ContextVar("language", default="en")
_PARTICLE = re.compile("[가-힣]+/[가-힣]+")
_VOWEL, _RIEUL, _CONSONANT = range(3)
# 영 일 이 삼 사 오 육 칠 팔 구; 엘 엠 엔 알. Most other English letters end in a vowel, and so does %.
_ENDS = dict(zip("0123456789lmnr", (2, 1, 0, 2, 0, 0, 2, 1, 1, 0, 1, 2, 2, 1), strict=True))


@contextlib.contextmanager
def language(chosen: Language) -> Iterator[None]:
    """All texts that are made inside are in this language."""
    token = _CURRENT.set(chosen)
    try:
        yield
    finally:
        _CURRENT.reset(token)


def is_korean() -> bool:
    return _CURRENT.get() == "ko"


def say(template: str, **fields: Any) -> str:
    """The sentence in the current language. In the Korean ones, {lr:은/는} adds the particle that fits the end of `lr`."""
    if not is_korean():
        return _FORMATTER.vformat(template, (), fields)
    return all_of_them(_FORMATTER.vformat(KOREAN.get(template, template), (), fields))


def all_of_them(korean: str) -> str:
    """Nobody says “30회 중 30회가”: it becomes “30회 모두”."""
    return re.sub(r"(?<![\d,])([\d,]+[개회]) 중 \1가?", r"\1 모두", korean)


def word(text: str) -> str:
    """A word of the records, such as a status, in the current language. Unlike a template, it may hold any characters."""
    return KOREAN.get(text, text) if is_korean() else text


def translated(text: str) -> str:
    """A text of the analysis in the current language; other texts stay as they are."""
    return say(text.template, **text.fields) if isinstance(text, Phrase) else text


def own(thing: object, name: str) -> str:
    """A text of a claims file in the current language: the field `name`, or its Korean sibling `name`_ko if there is one."""
    return str((is_korean() and getattr(thing, f"{name}_ko")) or getattr(thing, name))


def file_name(name: str, of: Language | None = None) -> str:
    """Where a text in this language is stored: report.md is English, report.ko.md Korean."""
    stem, dot, ending = name.partition(".")
    return name if (of or _CURRENT.get()) == "en" else f"{stem}.ko{dot}{ending}"


def other() -> Language:
    return "en" if is_korean() else "ko"


def markdown_file(markdown: str, name: str) -> str:
    """The text of file `name`: the Markdown and a link to the other language.

    If a Korean text has figures with English words, a list at its end explains these words.
    """
    linked = markdown.replace("\n", f"\n\n[{NAMES[other()]}]({file_name(name, other())})\n", 1)
    has_english_figures = is_korean() and ".png)" in markdown.replace(".ko.png)", "")
    return "\n\n".join([linked.rstrip(), *([glossary(name)] if has_english_figures else [])]) + "\n"


class _Formatter(string.Formatter):
    def format_field(self, value: Any, format_spec: str) -> Any:
        if isinstance(value, Phrase):
            value = translated(value)
        if _PARTICLE.fullmatch(format_spec):
            return f"{value}{_particle(str(value), *format_spec.split('/'))}"
        return super().format_field(value, format_spec)


_FORMATTER = _Formatter()


def _particle(text: str, after_consonant: str, after_vowel: str) -> str:
    """The particle that fits how the text ends when it is read aloud."""
    ending = _ending(text)
    return after_vowel if ending == _VOWEL or (ending == _RIEUL and after_vowel == "로") else after_consonant


def _ending(text: str) -> int:
    """How the last word ends when read aloud. What stands in brackets at the end is not read, and a power of ten ends in 승."""
    word = re.sub(r"(\s*\([^()]*\)|[*.])+$", "", text)
    if re.search(r"10[⁻⁰¹²³⁴⁵⁶⁷⁸⁹·]+$", word):
        return _CONSONANT
    last = word[-1:]
    if "가" <= last <= "힣":
        final = (ord(last) - ord("가")) % 28
        return _VOWEL if final == 0 else _RIEUL if final == 8 else _CONSONANT
    return _CONSONANT if word.lower().endswith("ng") else _ENDS.get(last.lower(), _VOWEL)
