"""Hypothesis strategies that damage a file: its bytes, or one value of its JSON or YAML."""

import copy
from typing import Any

from hypothesis import strategies as st

_ODD_VALUES: list[Any] = [
    *(
        None,
        True,
        False,
        0,
        -1,
        1,
        3.7,
        1e308,
        -1e-300,
        10**30,
        2**63,
        "",
        "x",
        "nan",
        "학습률",
        "1e-3",
        "</script>",
        "\0",
        "../..",
    ),
    *([], [1], [[]], ["a"], [None], [1e308] * 20, {}, {"a": 1}, {"": None}),
]


@st.composite
def damaged_bytes(draw: st.DrawFn, content: bytes) -> bytes:
    """Cut, overwritten, shifted or repeated in one or two places."""
    for _ in range(draw(st.integers(1, 2))):
        start = draw(st.integers(0, len(content)))
        new = draw(st.binary(max_size=8))
        kind = draw(st.sampled_from(["cut", "overwrite", "insert", "delete", "repeat"]))
        if kind == "cut":
            content = content[:start]
        elif kind == "overwrite":
            content = content[:start] + new + content[start + len(new) :]
        elif kind == "insert":
            content = content[:start] + new + content[start:]
        else:
            end = draw(st.integers(start, len(content)))
            content = content[:start] + (content[end:] if kind == "delete" else content[start:end] * 2 + content[end:])
    return content


@st.composite
def changed_tree(draw: st.DrawFn, tree: Any) -> Any:
    """A copy with one value changed, removed or added, anywhere in nested dicts and lists."""
    tree = copy.deepcopy(tree)
    place = tree
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        if not keys:
            return tree
        key = draw(st.sampled_from(keys))
        if not (isinstance(place[key], dict | list) and draw(st.integers(0, 4))):
            break
        place = place[key]
    kind = draw(st.sampled_from(["change", "change", "change", "remove", "add"]))
    if kind == "remove":
        del place[key]
    elif kind == "add" and isinstance(place, dict):
        place[draw(st.sampled_from(["x", "lr", "seed", "name"]))] = draw(st.sampled_from(_ODD_VALUES))
    else:
        place[key] = draw(st.sampled_from(_ODD_VALUES))
    return tree
