"""Find English on a Korean page and Korean on an English one, and compare the numbers of both."""

import re

_MAY_BE_ENGLISH = re.compile(
    r"```.*?```|`[^`\n]*`|“[^”]*”|!\[[^]]*\]\([^)]*\)|\]\([^)]*\)|<[^>]*>|\(Wortsman et al\. [^)]*\)", re.S
)
_SENTENCE = re.compile(r"\b[a-z]{2,}(?:[ ,]+[a-z]{2,}){3,}")


def english_in(korean: str) -> list[str]:
    """Four or more small English words in a row in a Korean Markdown text, except in code, quotes, names, glossary and errors."""
    korean = korean.split("<summary>그림 속의 영어")[0]
    # Errors of failed runs, and the names of engines, are not translated.
    lines = [line for line in korean.splitlines() if not re.match(r"\* .*, 시드 \d+: |\| 엔진", line)]
    return _SENTENCE.findall(_MAY_BE_ENGLISH.sub(" ", "\n".join(lines)))


def korean_in(english: str) -> list[str]:
    """Hangul in an English Markdown text, except in the documents' own words and in the link to the other language."""
    lines = [line for line in english.splitlines() if not line.startswith("> ")]
    return re.findall("[가-힣]+", "\n".join(lines).replace("[한국어](", ""))


def numbers_in_tables(report: str) -> list[list[str]]:
    """The different numbers of each row of each table, whatever the order of the words around them."""
    rows = [line for line in report.splitlines() if line.startswith("| ")]
    return [sorted(set(re.findall(r"\d[\d.,]*", row))) for row in rows]  # 3 of 3 is 모두 in Korean
