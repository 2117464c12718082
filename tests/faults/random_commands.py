"""Hypothesis strategies for the words that a person might type after `lrsweep`, right and wrong."""

import re
from dataclasses import asdict

from hypothesis import strategies as st

from lrsweep.config import CONF_DIR, AppConfig, flatten

_DEFAULTS = flatten(asdict(AppConfig()))
_OPTIONS = {
    path.name: [file.stem for file in path.glob("*.yaml")]
    for path in CONF_DIR.iterdir()
    if path.is_dir() and path.name != "hydra"
}
_OPTIONS["hydra/launcher"] = ["pool", "fused", "basic", "ray", "submitit_local", "submitit_slurm"]
_LAUNCHER = ("workers", "refresh_seconds", "run_seconds", "runs", "nope")

# fmt: off
_NUMBERS = [
    "0", "-0", "-0.0", "1", "2", "-1", "3.7", "1e-3", "1e308", "1e309", "1e-400", "inf", "-inf", "nan", "1_000", "0x10",
    str(2**31), str(2**63), str(2**64), "9" * 400, "9" * 5000,
]
_WORDS = [
    "", "''", "null", "true", "no", "abc", "???", "_self_", "한국", "'한국'", "'\udc80'", "\udc80", "a b", "'a b'",
    "'\n'", '"', "'", "\\", "${seed}", "'${seed}'", "${oc.env:HOME}", "${oc.env:NOPE}", "${nope}", "${seed",
    "${pick:1,2}", "${ten_to:a}", "${ten_to:400}", "${log_grid:0,1,1}", "${log_grid:a,1,1}", "${offsets:0,inf,1}",
    "${inside:..}", "..", "'../there'", "/", "a/b", "a@b", "a:b", "[]", "[1,2]", "[[1]]", "[1,2", "[" * 200 + "]" * 200,
    "{}", "{a: 1}", "{a: {b: 1}}", "{1: 2}", "{a", "(", "a=b", "~", "+",
]
_SWEEPS = [
    "0,1", "0,1,x", "nan,inf", "1,", "a,[1],{a: 1}", "range(3)", "range(0,1,0)", "range(0,nan)", "range(0,inf)",
    "range(0.0,1,0)", f"range({10**9})", "range(3,0)", "choice(0,1)", "choice()", "interval(0,1)", "glob(*)",
    "sort(2,1)", "shuffle(1,2)", "tag(a,1)", "int(x)",
]
# fmt: on

# A command line cannot contain NUL. Bytes that are not UTF-8 arrive as surrogates.
_TEXTS = st.text(st.characters(exclude_characters="\0", categories=None), max_size=8)
_ANY_VALUE = st.one_of(st.sampled_from(_NUMBERS), st.sampled_from(_WORDS), st.sampled_from(_SWEEPS), _TEXTS, _TEXTS.map(repr))
_PREFIXES = st.sampled_from(["", "", "", "", "", "", "+", "++", "~"])


def _as_typed(default: object) -> str:
    return "null" if default is None else f"'{default}'" if default == "" else str(default)


_NAMES = st.sampled_from(sorted(_DEFAULTS))
_DEFAULT = _NAMES.map(lambda name: f"{name}={_as_typed(_DEFAULTS[name])}")
_OTHER_SETTINGS_VALUE = st.builds("{}={}".format, _NAMES, st.sampled_from(sorted(set(map(_as_typed, _DEFAULTS.values())))))
_CHOICE = st.sampled_from([f"{group}={option}" for group, options in sorted(_OPTIONS.items()) for option in sorted(options)])
_PLAUSIBLE = st.one_of(_DEFAULT, _DEFAULT, _CHOICE, _OTHER_SETTINGS_VALUE)


@st.composite
def _misspelled(draw: st.DrawFn) -> str:
    name = draw(_NAMES)
    at = draw(st.integers(0, len(name)))
    return draw(st.sampled_from([name[:at] + name[at + 1 :], f"{name[:at]}x{name[at:]}", name.rpartition(".")[0], f"{name}.x"]))


_ANY_NAME = st.one_of(*[_NAMES] * 6, st.sampled_from(sorted(_OPTIONS)), _misspelled())
_CHANGED_SETTING = st.builds("{}{}={}".format, _PREFIXES, _ANY_NAME, _ANY_VALUE)
_LAUNCHER_SETTING = st.builds("{}hydra.launcher.{}={}".format, _PREFIXES, st.sampled_from(_LAUNCHER), _ANY_VALUE)
_ODD = st.one_of(*[_CHANGED_SETTING] * 4, _LAUNCHER_SETTING, _TEXTS)

# One odd word is enough for the whole command to be refused, so odd words are rare.
OVERRIDES = st.builds(lambda plausible, odd: plausible + odd, st.lists(_PLAUSIBLE, max_size=3), st.lists(_ODD, max_size=2))


def _is_within(word: str) -> bool:
    """False for words that may name a folder outside the working directory, and for options such as --help."""
    return not re.match(r"[-+~]*(-|machine\.results_dir|machine\.save_weights|machine$|machine=)", word)


COMMANDS = st.builds(
    lambda kind, words: [*kind, *filter(_is_within, words)],
    st.sampled_from(
        [[], ["hydra.mode=MULTIRUN"], ["study=lr", "grid.step=4"], ["study=lr", "grid.step=4", "hydra/launcher=fused"]]
    ),
    OVERRIDES,
)
