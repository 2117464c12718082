"""Files that somebody else may have written. Each is read, or refused in one line; none crashes a command or runs code."""

import functools
import hashlib
import json
import warnings
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
import yaml
from hypothesis import strategies as st
from odd_files import changed_tree, damaged_bytes
from small_sweep import Explore, RecordLoss

from lrsweep.analysis.claims import read_claims
from lrsweep.analysis.findings import analyse
from lrsweep.analysis.suggestions import suggest
from lrsweep.config import CONF_DIR, ConfigError, ModelConfig, RunConfig, run_id
from lrsweep.data import download
from lrsweep.data.download import CACHE_NAME, DataError, load_mnist
from lrsweep.records import RunRecord
from lrsweep.storage import checkpoints, range_tests, store
from lrsweep.storage.checkpoints import CheckpointError
from lrsweep.storage.files import StoreError
from lrsweep.training.models import initial_model
from lrsweep.training.weights import weights_file

ROOT = Path(__file__).parents[2]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.fault(
        "a randomly damaged or forged file: record, packed records, range test, MNIST, weights, checkpoint, claims (hypothesis)",
        "it is read, or it is refused or set aside with a one-line message",
    ),
]


def is_refused(read: Callable[[], object], *kinds: type[Exception]) -> bool:
    """Did `read` raise one of these errors? Its message must be one line."""
    messages: list[str] = []
    try:
        read()
    except kinds as error:
        messages.append(str(error))
    assert all(len(message.splitlines()) == 1 for message in messages)
    return bool(messages)


def in_envelope(tree: object) -> str:
    """A record with a valid checksum, which anyone can compute."""
    canonical = json.dumps(tree, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return json.dumps({"checksum": hashlib.sha256(canonical.encode()).hexdigest(), "record": tree}, ensure_ascii=False)


@pytest.fixture
def study(tmp_path: Path, make_record: Callable[..., RunRecord]) -> Path:
    for lr in (1e-4, 1e-3, 1e-2):
        for seed in (0, 1):
            record = make_record(lr=lr, seed=seed)
            run = replace(RunConfig(seed=seed), optimizer=replace(RunConfig().optimizer, lr=lr))
            store.save(tmp_path / "lr", replace(record, config=asdict(run), run_id=run_id(run)))
    return tmp_path / "lr"


def test_a_damaged_or_forged_record(explore: Explore, study: Path, record_loss: RecordLoss) -> None:
    path = sorted((study / "runs").glob("*.json"))[0]
    content = path.read_bytes()
    tree = json.loads(content)["record"]
    # Forged records keep the id, because the store compares it with the file's name.
    forged = changed_tree({name: value for name, value in tree.items() if name != "run_id"})
    texts = forged.map(
        lambda changed: in_envelope(changed | {"run_id": tree["run_id"]} if isinstance(changed, dict) else changed)
    )

    def reads_or_sets_aside(content: bytes) -> None:
        path.write_bytes(content)
        records, damaged = store.scan(study)
        assert len(records) + len(damaged) == 6
        assert all(len(reason.splitlines()) == 1 for _, reason in damaged)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "left out")
            assert len(analyse(study).runs) == len(records)

    tried = explore(damaged_bytes(content) | texts.map(lambda text: text.encode("utf-8", "replace")), reads_or_sets_aside, 60)
    record_loss(None, num_tries=tried)


def test_a_damaged_packed_file(explore: Explore, study: Path, record_loss: RecordLoss) -> None:
    packed = store.pack(study)
    content = packed.read_bytes()
    for path in (study / "runs").iterdir():
        path.unlink()

    def reads_or_refuses(content: bytes) -> None:
        packed.write_bytes(content)
        records, damaged = store.scan(study)
        assert len(records) == 6 or damaged

    record_loss(None, num_tries=explore(damaged_bytes(content), reads_or_refuses, 60))


def test_a_damaged_or_forged_range_test(explore: Explore, tmp_path: Path, record_loss: RecordLoss) -> None:
    tree = json.loads((ROOT / "results" / "reference" / "find" / "100" / "finder.json").read_text(encoding="utf-8"))
    tree["tests"] = [{name: v[:5] if isinstance(v, list) else v for name, v in test.items()} for test in tree["tests"][:2]]
    content = json.dumps(tree).encode()

    def reads_or_refuses(content: bytes) -> None:
        (tmp_path / "finder.json").write_bytes(content)
        if not is_refused(lambda: range_tests.read_range_tests(tmp_path), StoreError):
            suggest(range_tests.read_range_tests(tmp_path).tests)

    forged = changed_tree(tree).map(lambda changed: json.dumps(changed).encode())
    record_loss(None, num_tries=explore(damaged_bytes(content) | forged, reads_or_refuses, 60))


def test_a_damaged_mnist_file(explore: Explore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record_loss: RecordLoss) -> None:
    good = (ROOT / "data" / CACHE_NAME).read_bytes()

    @functools.cache
    def expected() -> bytes:
        return load_mnist(ROOT / "data", offline=True).test_labels.tobytes()

    monkeypatch.setattr(download, "_write_cache", lambda *_: None)

    def reads_or_refuses(content: bytes) -> None:
        for path in tmp_path.iterdir():
            path.unlink()
        (tmp_path / CACHE_NAME).write_bytes(content)
        if not is_refused(lambda: load_mnist(tmp_path, offline=True), DataError):
            assert load_mnist(tmp_path, offline=True).test_labels.tobytes() == expected()

    small = st.binary(max_size=100) | damaged_bytes(good[:2000]) | damaged_bytes(good[-600:])
    record_loss(None, num_tries=explore(damaged_bytes(good) | small, reads_or_refuses, 15))


def test_a_damaged_or_forged_weights_file(explore: Explore, tmp_path: Path, record_loss: RecordLoss) -> None:
    path = tmp_path / "weights.pt"
    config = ModelConfig(init_from=str(path))
    state = initial_model(ModelConfig(), 0, torch.device("cpu")).state_dict()
    content = weights_file(state, "abc")
    odd: list[dict[str, object]] = [
        {},
        {"x": torch.zeros(1)},
        *({**state, name: value} for name in state for value in (torch.zeros(0), torch.tensor(1), "x", None)),
        *({**state, name: state[name].to(kind)} for name in state for kind in (torch.float64, torch.int8, torch.complex64)),
        *({**state, name: torch.full_like(state[name], float("nan"))} for name in state),
        *({other: value for other, value in state.items() if other != name} for name in state),
    ]

    def reads_or_refuses(content: bytes) -> None:
        path.write_bytes(content)
        if not is_refused(lambda: initial_model(config, 0, torch.device("cpu")), ConfigError):
            for name, weight in initial_model(config, 0, torch.device("cpu")).state_dict().items():
                assert (weight.shape, weight.dtype) == (state[name].shape, state[name].dtype)

    forged = st.sampled_from(odd).map(lambda weights: weights_file(weights, "abc"))  # type: ignore[arg-type]
    tried = explore(damaged_bytes(content) | damaged_bytes(content[-2000:]) | forged, reads_or_refuses, 60)
    record_loss(None, num_tries=tried)


def test_a_damaged_checkpoint(explore: Explore, record_loss: RecordLoss) -> None:
    content = checkpoints.encode({"curve": [1.0], "weights": torch.zeros(3)}, {"run_id": "a"})

    def reads_or_refuses(content: bytes) -> None:
        is_refused(lambda: checkpoints.decode(content, {"run_id": "a"}), CheckpointError)

    resealed = damaged_bytes(content[32:]).map(lambda body: hashlib.sha256(body).digest() + body)  # anyone can compute the digest
    record_loss(None, num_tries=explore(damaged_bytes(content) | resealed, reads_or_refuses, 60))


def test_a_damaged_claims_file(explore: Explore, tmp_path: Path, record_loss: RecordLoss) -> None:
    text = (CONF_DIR / "claims.yaml").read_text(encoding="utf-8")
    tree = {"claims": yaml.safe_load(text)["claims"][:4]}
    path = tmp_path / "claims.yaml"

    def reads_or_refuses(content: bytes) -> None:
        path.write_bytes(content)
        is_refused(lambda: read_claims(path), ConfigError)

    short = yaml.safe_dump(tree, allow_unicode=True).encode()
    forged = changed_tree(tree).map(lambda changed: yaml.safe_dump(changed, allow_unicode=True).encode())
    record_loss(None, num_tries=explore(damaged_bytes(short) | forged, reads_or_refuses, 40))
