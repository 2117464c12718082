"""Read the elements of an HTML page."""

import re
from html.parser import HTMLParser


class Elements(HTMLParser):
    """Every element of a page in order, with its attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def named(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]

    def assert_loads_nothing(self) -> None:
        for tag, attributes in self.tags:
            if tag == "a" and re.fullmatch(r"(report|audit)(\.ko)?\.(html|md)", attributes.get("href", "")):
                continue  # the page in the other language
            for name in ("src", "href", "srcset", "data", "poster", "action"):
                target = attributes.get(name, "")
                assert not target or target.startswith(("data:", "#")), (tag, name, target)
