"""Texts that the analysis makes: English, with what a report in another language needs to say the same."""

from collections.abc import Iterable, Mapping


class Phrase(str):
    """An English text made from a template and fields, which it keeps. A field may be a phrase itself."""

    template: str
    fields: Mapping[str, object]

    def __new__(cls, template: str, **fields: object) -> "Phrase":
        phrase = super().__new__(cls, template.format(**fields))
        phrase.template, phrase.fields = template, fields
        return phrase


def joined(parts: Iterable[str], by: str = "; ") -> Phrase:
    """The parts as one phrase, so that each can be translated."""
    fields: dict[str, object] = {f"part{i}": part for i, part in enumerate(parts)}
    return Phrase(by.join(f"{{{name}}}" for name in fields), **fields)
