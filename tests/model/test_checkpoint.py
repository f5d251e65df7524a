"""Weights go to disk and come back the same, and nothing that is not right is loaded."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from model import bins, checkpoint
from model.checkpoint import Card, CheckpointError
from model.nets.eccv16 import AB_SCALE, Eccv16
from model.nets.lite import Lite, LiteL2

CARD = Card(
    name="lite",
    net="lite",
    temperature=0.38,
    size=256,
    terms="Apache-2.0",
    data="made pictures",
    recipe={"steps": 3, "methods": ["colorize"]},
    commit="0123abc",
    numbers={"imagenette": {"auc": 66.5}},
    created="2026-11-22T18:00:00+00:00",
)
LIGHTNESS = torch.linspace(0, 100, 64 * 64).reshape(1, 1, 64, 64)


def logits(net: nn.Module) -> Tensor:
    with torch.inference_mode():
        return net(LIGHTNESS)


def refusal(path: Path) -> CheckpointError:
    with pytest.raises(CheckpointError) as caught:
        checkpoint.load(path)
    assert str(path.with_suffix("")) in caught.value.detail or caught.value.code == "weights_not_finite"
    return caught.value


def rewrite(path: Path, tensors: dict[str, Tensor] | bytes) -> None:
    """Other weights under the same card, with their right hash."""
    data = tensors if isinstance(tensors, bytes) else safetensors.torch.save(tensors)
    path.write_bytes(data)
    card = dataclasses.replace(checkpoint.read_card(path), sha256=hashlib.sha256(data).hexdigest())
    path.with_suffix(".json").write_text(card.to_json())


@pytest.fixture(scope="module")
def net() -> Lite:
    torch.manual_seed(0)
    return Lite().eval()


@pytest.fixture
def saved(net: Lite, tmp_path: Path) -> Path:
    checkpoint.save(net, CARD, tmp_path / "lite.safetensors")
    return tmp_path / "lite.safetensors"


def test_weights_come_back_with_their_card(net: Lite, saved: Path) -> None:
    loaded, card = checkpoint.load(saved)
    assert dataclasses.replace(card, sha256="") == CARD
    assert card.sha256 == hashlib.sha256(saved.read_bytes()).hexdigest()
    assert not loaded.training
    assert {value.dtype for value in loaded.parameters()} == {torch.float32}
    torch.testing.assert_close(logits(loaded), logits(net), atol=0.02, rtol=0.02)
    assert {file.name for file in saved.parent.iterdir()} == {"lite.safetensors", "lite.json"}


def test_half_precision_halves_the_file_and_full_precision_is_exact(
    net: Lite, saved: Path, tmp_path: Path
) -> None:
    exact = tmp_path / "exact.safetensors"
    checkpoint.save(net, CARD, exact, torch.float32)
    assert saved.stat().st_size < 0.52 * exact.stat().st_size
    for name, value in checkpoint.load(exact)[0].state_dict().items():
        assert torch.equal(value, net.state_dict()[name]), name


def test_norms_survive_half_precision_beyond_its_range(tmp_path: Path) -> None:
    net = Lite()
    with torch.no_grad():
        net.backbone.stem[1].running_var.fill_(1e6)
    checkpoint.save(net, CARD, tmp_path / "lite.safetensors")
    loaded, _ = checkpoint.load(tmp_path / "lite.safetensors")
    assert loaded.state_dict()["backbone.stem.1.running_var"].tolist() == [1e6] * 32


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e6])
def test_weights_that_are_not_finite_in_the_file_are_not_written(tmp_path: Path, value: float) -> None:
    net = Lite()
    with torch.no_grad():
        net.head.weight[0, 0] = value
    with pytest.raises(CheckpointError, match=r"weights_not_finite.*head\.weight"):
        checkpoint.save(net, CARD, tmp_path / "lite.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_weights_that_are_not_finite_are_not_loaded(saved: Path) -> None:
    tensors = safetensors.torch.load(saved.read_bytes())
    tensors["head.bias"][7] = float("nan")
    rewrite(saved, tensors)
    error = refusal(saved)
    assert error.code == "weights_not_finite"
    assert "head.bias" in error.detail


def test_a_card_of_another_network_is_not_saved(net: Lite, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="for eccv16, the network is Lite"):
        checkpoint.save(net, dataclasses.replace(CARD, net="eccv16"), tmp_path / "x.safetensors")


def test_a_flipped_bit_is_found_by_the_hash(saved: Path) -> None:
    data = bytearray(saved.read_bytes())
    data[-100] ^= 1
    saved.write_bytes(data)
    assert refusal(saved).code == "weights_damaged"


def test_a_file_of_another_kind_is_refused(saved: Path) -> None:
    rewrite(saved, b"PK\x03\x04 not safetensors")
    assert refusal(saved).code == "weights_damaged"


def test_missing_foreign_and_misshapen_tensors_are_named(saved: Path) -> None:
    tensors = safetensors.torch.load(saved.read_bytes())
    del tensors["head.bias"]
    tensors["tail.weight"] = torch.zeros(3)
    tensors["head.weight"] = tensors["head.weight"][:300].clone()
    rewrite(saved, tensors)
    error = refusal(saved)
    assert error.code == "weights_mismatch"
    assert "head.bias is missing" in error.detail
    assert "tail.weight is not of this network" in error.detail
    assert "head.weight has the shape (300, 64, 1, 1), not (313, 64, 1, 1)" in error.detail


def test_weights_of_another_network_are_refused_in_a_short_message(saved: Path) -> None:
    card = dataclasses.replace(checkpoint.read_card(saved), net="eccv16")
    saved.with_suffix(".json").write_text(card.to_json())
    error = refusal(saved)
    assert error.code == "weights_mismatch"
    assert "more" in error.detail
    assert len(error.detail) < 1000


def test_a_missing_file_or_card_is_named(saved: Path, tmp_path: Path) -> None:
    assert refusal(tmp_path / "none.safetensors").code == "weights_missing"
    saved.with_suffix(".json").unlink()
    error = refusal(saved)
    assert error.code == "weights_missing"
    assert "lite.json" in error.detail


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        ({"temperature": 0}, "temperature"),
        ({"temperature": 1.5}, "temperature"),
        ({"size": "large"}, "size"),
        ({"terms": None}, "terms"),
    ],
)
def test_a_card_with_a_wrong_field_is_refused_by_its_name(change: dict[str, object], wanted: str) -> None:
    with pytest.raises(CheckpointError, match=rf"card_invalid.*{wanted}"):
        Card.from_json(json.dumps(json.loads(CARD.to_json()) | change))


def test_a_card_that_lacks_a_field_or_is_no_json_is_refused() -> None:
    short = json.loads(CARD.to_json())
    del short["temperature"]
    with pytest.raises(CheckpointError, match=r"card_invalid.*temperature"):
        Card.from_json(json.dumps(short))
    with pytest.raises(CheckpointError, match="card_invalid"):
        Card.from_json("{")
    with pytest.raises(CheckpointError, match=r"net_unknown.*resnet.*lite, eccv16"):
        Card.from_json(json.dumps(json.loads(CARD.to_json()) | {"net": "resnet"}))


# The rebalancing taken back is a number in the card.

PRIOR = tuple(float(f"{p:.6g}") for p in torch.exp(-bins.centers().norm(dim=1) / 15).tolist())
SHARED = dataclasses.replace(CARD, prior=PRIOR, lam=0.7, taken_back=0.4)


def test_the_cards_share_is_taken_back_when_the_weights_are_loaded_and_another_one_on_request(
    net: Lite, tmp_path: Path
) -> None:
    path = tmp_path / "lite.safetensors"
    checkpoint.save(net, SHARED, path, torch.float32)
    assert torch.equal(safetensors.torch.load_file(path)["head.bias"], net.state_dict()["head.bias"])
    weights = bins.class_weights(torch.tensor(PRIOR), 0.7)
    for wanted, share in ((None, 0.4), (0.0, 0.0), (1.0, 1.0)):
        loaded, card = checkpoint.load(path, taken_back=wanted)
        assert (card.taken_back, card.share, card.prior) == (share, share, PRIOR)
        expected = logits(net) - (share * weights.log())[:, None, None]
        torch.testing.assert_close(logits(loaded), expected, atol=1e-4, rtol=1e-4)
    with pytest.raises(ValueError, match=r"1\.5"):
        checkpoint.load(path, taken_back=1.5)


def test_the_class_weights_of_a_card_are_those_of_its_prior() -> None:
    assert CARD.class_weights is None
    weights = SHARED.class_weights
    assert weights is not None
    assert weights.min() > 0
    assert float((weights * np.array(PRIOR)).sum() / sum(PRIOR)) == pytest.approx(1, abs=1e-5)


def test_a_file_without_a_prior_is_as_it_is_and_no_share_can_be_asked_of_it(net: Lite, saved: Path) -> None:
    loaded, card = checkpoint.load(saved, taken_back=0)
    assert card.share == 0
    torch.testing.assert_close(logits(loaded), logits(net), atol=0.02, rtol=0.02)
    with pytest.raises(CheckpointError, match=r"card_invalid.*no prior"):
        checkpoint.load(saved, taken_back=0.5)


def test_the_share_of_an_older_file_is_what_its_recipe_says() -> None:
    old = dataclasses.replace(CARD, recipe={"taken_back": 0.3})
    assert old.share == 0.3
    assert dataclasses.replace(SHARED, recipe={"taken_back": 0.3}).share == 0.4


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        ({"prior": [1.0] * 312}, "313"),
        ({"prior": [0.0] * 313}, "313"),
        ({"prior": [-1.0] + [1.0] * 312}, "313"),
        ({"prior": [float("nan")] + [1.0] * 312}, "313"),
        ({"prior": [float("inf")] + [1.0] * 312}, "313"),
        ({"prior": [0.0] + [1.0] * 312, "lam": 0}, "infinitely"),
        ({"prior": []}, "prior"),
        ({"taken_back": 1.5}, "taken_back"),
        ({"lam": -0.5}, "lam"),
    ],
)
def test_a_card_whose_share_cannot_be_worked_out_is_refused(change: dict[str, object], wanted: str) -> None:
    with pytest.raises(CheckpointError, match=rf"card_invalid.*{wanted}"):
        Card.from_json(json.dumps(json.loads(SHARED.to_json()) | change))


def test_a_card_survives_json_with_its_prior_in_one_line() -> None:
    assert Card.from_json(SHARED.to_json()) == SHARED
    assert len(SHARED.to_json().splitlines()) < 40


def test_a_net_that_answers_ab_itself_has_nothing_to_take_back(tmp_path: Path) -> None:
    path = tmp_path / "l2.safetensors"
    checkpoint.save(LiteL2(), dataclasses.replace(SHARED, net="lite-l2"), path)
    with pytest.raises(CheckpointError, match=r"card_invalid.*answers ab itself"):
        checkpoint.load(path)


def test_a_name_that_is_not_there_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOCHROME_CACHE_DIR", str(tmp_path))
    assert checkpoint.known() == ("lite", "eccv16")
    with pytest.raises(CheckpointError, match="python -m model weights fetch eccv16"):
        checkpoint.locate("eccv16")
    with pytest.raises(CheckpointError, match=r"net_unknown.*'vgg'.*lite, eccv16"):
        checkpoint.locate("vgg")


# The published release: its bytes are not ours to ship, so a made one with its names, shapes and habits.


@pytest.fixture(scope="module")
def paper() -> Eccv16:
    torch.manual_seed(1)
    net = Eccv16().eval()
    nn.init.normal_(net.model8[-1].bias)
    return net


def publish(state: object, path: Path) -> str:
    """Write `state` as a .pth of that time; its hash's first eight digits."""
    torch.save(state, path, _use_new_zipfile_serialization=False)
    return hashlib.sha256(path.read_bytes()).hexdigest()[:8]


def test_the_release_loads_by_its_names_though_old_norms_lack_a_counter(
    paper: Eccv16, tmp_path: Path
) -> None:
    old = {key: value for key, value in paper.state_dict().items() if "num_batches_tracked" not in key}
    loaded = checkpoint.load_release(tmp_path / "x.pth", publish(old, tmp_path / "x.pth"))
    assert torch.equal(logits(loaded), logits(paper))


def test_a_release_with_its_bins_in_another_order_gives_the_same_colors(
    paper: Eccv16, tmp_path: Path
) -> None:
    order = torch.randperm(bins.COUNT)
    state = dict(paper.state_dict())
    for key in ("model8.6.weight", "model8.6.bias"):
        state[key] = state[key][order]
    state["model_out.weight"] = state["model_out.weight"][:, order]
    loaded = checkpoint.load_release(tmp_path / "x.pth", publish(state, tmp_path / "x.pth"))
    torch.testing.assert_close(logits(loaded), logits(paper))
    torch.testing.assert_close(loaded.model_out.weight, paper.model_out.weight)


def test_a_release_with_other_bins_is_refused(paper: Eccv16, tmp_path: Path) -> None:
    state = dict(paper.state_dict())
    state["model_out.weight"] = state["model_out.weight"] * 110
    sha256 = publish(state, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match=r"weights_mismatch.*color bins"):
        checkpoint.load_release(tmp_path / "x.pth", sha256)


def test_a_release_with_a_missing_layer_or_another_hash_is_refused(paper: Eccv16, tmp_path: Path) -> None:
    state = dict(paper.state_dict())
    del state["model5.2.bias"]
    sha256 = publish(state, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match=r"weights_mismatch.*model5\.2\.bias is missing"):
        checkpoint.load_release(tmp_path / "x.pth", sha256)
    with pytest.raises(CheckpointError, match=r"weights_damaged.*9b330a0b"):
        checkpoint.load_release(tmp_path / "x.pth")


class Trap:
    """Pickled code, which must not run."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, ("raise SystemExit('the pickle ran')",)


@pytest.mark.parametrize("content", [b"<html>403</html>", Trap(), [1, 2, 3]])
def test_a_release_that_is_no_set_of_weights_is_refused(tmp_path: Path, content: object) -> None:
    path = tmp_path / "x.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
        sha256 = hashlib.sha256(content).hexdigest()
    else:
        sha256 = publish(content, path)
    with pytest.raises(CheckpointError, match="weights_damaged"):
        checkpoint.load_release(path, sha256)


class Mirror:
    """A server that answers /good with a file and all else with 403, and counts."""

    def __init__(self, file: Path) -> None:
        requested: list[str] = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                requested.append(self.path)
                if self.path != "/good":
                    self.send_error(403)
                    return
                self.send_response(200)
                self.end_headers()
                self.wfile.write(file.read_bytes())

            def log_message(self, *_: object) -> None:
                pass

        self.requested = requested
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    def urls(self, *paths: str) -> Sequence[str]:
        return [f"http://127.0.0.1:{self.server.server_port}{path}" for path in paths]


@pytest.fixture
def mirror(paper: Eccv16, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    """The release at a mirror, and an empty cache; nobody is asked beyond this machine."""
    sha256 = publish(paper.state_dict(), tmp_path / "release.pth")
    monkeypatch.setattr(checkpoint, "RELEASE_SHA256", sha256)
    monkeypatch.setattr(checkpoint, "RELEASE_URLS", ())
    monkeypatch.setenv("AUTOCHROME_CACHE_DIR", str(tmp_path / "cache"))
    mirror = Mirror(tmp_path / "release.pth")
    thread = threading.Thread(target=mirror.server.serve_forever)
    thread.start()
    yield mirror
    mirror.server.shutdown()
    thread.join()
    mirror.server.server_close()


def test_fetched_weights_are_found_loaded_and_not_fetched_again(
    paper: Eccv16, mirror: Mirror, tmp_path: Path
) -> None:
    path = checkpoint.fetch_known("eccv16", mirror.urls("/gone", "/good"))
    assert checkpoint.locate("eccv16") == path
    assert {file.name for file in path.parent.iterdir()} == {"eccv16.safetensors", "eccv16.json"}
    loaded, card = checkpoint.load(path)
    assert torch.equal(logits(loaded), logits(paper))
    release = hashlib.sha256((tmp_path / "release.pth").read_bytes()).hexdigest()
    assert card.recipe["release_sha256"] == release
    answer = loaded(LIGHTNESS)
    forward = torch.nn.functional.conv2d(answer.softmax(1), loaded.model_out.weight) * AB_SCALE
    torch.testing.assert_close(bins.annealed_mean(answer, card.temperature), forward, atol=1e-3, rtol=1e-3)

    checkpoint.fetch_known("eccv16", mirror.urls("/good"))
    assert mirror.requested == ["/gone", "/good"]
    path.write_bytes(path.read_bytes()[:-1])
    checkpoint.fetch_known("eccv16", mirror.urls("/good"))
    assert mirror.requested == ["/gone", "/good", "/good"]
    checkpoint.load(path)


def test_a_failed_download_names_each_mirror(mirror: Mirror, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError) as caught:
        checkpoint.fetch_known("eccv16", mirror.urls("/gone", "/lost"))
    assert caught.value.code == "download_failed"
    for url in mirror.urls("/gone", "/lost"):
        assert f"{url}: answered 403 Forbidden" in caught.value.detail
    assert list((tmp_path / "cache").iterdir()) == []
