"""A run that was killed goes on as if it had not been, and a finished one to more steps; what cannot be is refused in words."""

from __future__ import annotations

import pickle
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD

from model import bins, checkpoint
from model.__main__ import main
from model.errors import InputError
from model.methods import Method
from model.methods.supervised import Supervised
from model.nets.backbone import Backbone
from model.training import building, runs, session, validation
from model.training import commit as commits
from model.training import config as configs
from model.training.batches import Batch, Batches
from model.training.cache import Cache
from model.training.config import Config
from model.training.session import learn

STEPS = 3
CPU = torch.device("cpu")


def tiny(method: str, steps: int = STEPS, seed: int = 0) -> Config:
    return configs.tiny(method, "narrow").changed([f"steps={steps}", f"seed={seed}", "batch=4"])


def lite(*settings: str) -> Config:
    """With all that a photo can be shown by, and validation."""
    config = configs.tiny("colorize", "lite")
    shown = [
        "age=0.5",
        "page=0.5",
        "hinted=0.7",
        "realism.perceptual=0.5",
        "realism.smooth=0.1",
        "realism.adversary=0.3",
        "lr=1e-3",
        "ema=0.5",
        "validate_every=1",
        "keep_best=true",
    ]
    return config.changed([f"steps={STEPS}", "batch=4", "warmup=1", "small=64", *shown, *settings])


class Narrow(Backbone):
    layers = ("low", "high")
    width = 8

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.low = nn.Sequential(nn.Conv2d(channels, 4, 3, 4, 1), nn.BatchNorm2d(4), nn.ReLU())
        self.high = nn.Sequential(nn.Conv2d(4, 8, 3, 4, 1), nn.BatchNorm2d(8), nn.ReLU())


@pytest.fixture(scope="module", autouse=True)
def narrow() -> Iterator[None]:
    building.BACKBONES["narrow"] = Narrow
    yield
    del building.BACKBONES["narrow"]


class KilledError(Exception):
    """As when the power fails: nothing is saved on the way out."""


@pytest.fixture(scope="module")
def squares(cached: Callable[..., Cache]) -> Cache:
    return cached([(120, 120)] * 8)


@pytest.fixture(scope="module")
def photos(cached: Callable[..., Cache]) -> Cache:
    """Large ones, and small ones that come in steps of their own."""
    return cached([(112, 144), (144, 112), (120, 120), (72, 96), (64, 64)])


@pytest.fixture(scope="module")
def held(cached: Callable[..., Cache]) -> Cache:
    return cached([(96, 128), (80, 80)], seed=1)


@pytest.fixture
def kill_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Let the power fail where this step's batch is asked for; -1: never more."""
    whole, at = Batches.__getitem__, [-1]

    def batch(batches: Batches, step: int) -> Batch:
        if step == at[0]:
            raise KilledError
        return whole(batches, step)

    monkeypatch.setattr(Batches, "__getitem__", batch)
    return lambda step: at.__setitem__(0, step)


def saved(folder: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = torch.load(folder / runs.CHECKPOINT, weights_only=True)
    return loaded


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return all(
        torch.equal(value, other[part][name])
        for part in ("net", "averaged")
        for name, value in one[part].items()
    )


@pytest.mark.parametrize(
    "method",
    [
        "colorize",
        "lite",
        *(pytest.param(each, marks=pytest.mark.slow) for each in ("context", "simclr", "supervised")),
    ],
)
def test_a_run_that_was_killed_ends_in_the_same_weights_bit_for_bit(
    method: str, squares: Cache, photos: Cache, held: Cache, tmp_path: Path, kill_at: Callable[[int], None]
) -> None:
    """Lite's photos are cropped, aged, laid on pages and hinted, judged by what is shown of them, and validated beside."""
    config = lite() if method == "lite" else tiny(method)
    sources, beside = ([photos], [held]) if method == "lite" else ([squares], [])

    def run(name: str) -> dict[str, Any]:
        learn(config, sources, tmp_path / name, CPU, beside, save_every_s=-1)
        return saved(tmp_path / name)

    whole = run("whole")
    kill_at(2)
    with pytest.raises(KilledError):
        run("killed")
    killed = saved(tmp_path / "killed")
    kill_at(-1)
    torch.manual_seed(9)  # where a run goes on, the process's own chance is another
    resumed = run("killed")
    assert [of["progress"]["step"] for of in (whole, resumed)] == [STEPS, STEPS]
    assert killed["progress"]["step"] < STEPS
    assert same(whole, resumed)
    assert not same(whole, killed)
    momenta = (of["optimizer"]["state"][0]["exp_avg"] for of in (whole, resumed))
    assert torch.equal(*momenta)
    used = [runs.averaged(tmp_path / name) for name in ("whole", "killed")]
    assert all(torch.equal(value, used[1].state[name]) for name, value in used[0].state.items())
    if method == "lite":
        logs = [(tmp_path / name / "validation.csv").read_text() for name in ("whole", "killed")]
        assert logs[0] == logs[1]
        assert logs[0].count("\n") == 2 + STEPS, "a head, the start and each step"


def test_a_run_knows_its_classes_and_its_prior(squares: Cache, tmp_path: Path) -> None:
    learn(tiny("supervised", 1), [squares], tmp_path / "supervised", CPU)
    found = building.load(tmp_path / "supervised")
    assert found.metadata["data"]["classes"] == ["a", "b"]
    assert found.metadata["data"]["photos"] == 8
    learn(tiny("colorize", 1), [squares], tmp_path / "colorize", CPU)
    found = building.load(tmp_path / "colorize")
    assert sum(found.metadata["data"]["prior"]) == pytest.approx(1, abs=1e-4)
    assert found.weights is not None
    assert found.weights.shape == (bins.COUNT,)


def test_classes_keep_their_numbers_where_one_has_no_photo_held_out(
    squares: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = []
    loss = Supervised.loss

    def seen(method: Supervised, batch: Batch, generator: torch.Generator) -> torch.Tensor:
        labels.append(batch.labels.tolist())
        return loss(method, batch, generator)

    monkeypatch.setattr(Supervised, "loss", seen)
    learn(tiny("supervised", 1), [squares.only(range(7))], tmp_path, CPU, [squares.only([7])])
    assert squares.photos[7].parent.name == "b"
    assert labels[-1] == [1]


# Starts


@pytest.fixture(scope="module")
def colored(photos: Cache, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of Lite."""
    run = tmp_path_factory.mktemp("colored") / "first"
    learn(lite("steps=1", "keep_best=false", "validate_every=0"), [photos], run, CPU)
    return run


def test_a_run_begins_from_another_runs_averaged_weights(
    colored: Path, photos: Cache, tmp_path: Path
) -> None:
    config = lite("steps=1", f"start={colored}", "lr=1e-9", "keep_best=false")
    method, _ = building.build(config, 1, torch.ones(bins.COUNT))
    before = runs.averaged(colored).state
    assert all(torch.equal(value, before[name]) for name, value in method.net.state_dict().items())
    learn(config, [photos], tmp_path, CPU)
    assert runs.metadata(tmp_path)["config"]["start"] == "first at step 1"
    after = runs.averaged(tmp_path).state
    torch.testing.assert_close(after["head.weight"], before["head.weight"], rtol=0, atol=1e-6)


def test_a_start_is_remembered_by_its_hash_and_lends_its_prior(
    colored: Path, photos: Cache, held: Cache, tmp_path: Path
) -> None:
    """Before the first step it is measured as its card has it decoded, not by the prior that is learned with."""
    start, shipped = tmp_path / "start.safetensors", torch.arange(1.0, bins.COUNT + 1).double()
    card = replace(
        checkpoint.read_card(checkpoint.locate("lite")), prior=tuple(shipped.tolist()), taken_back=0.0
    )
    card = checkpoint.save(building.load(colored).net, card, start)
    for share in (0.25, 1.0):
        config = lite("steps=1", f"start={start}", f"prior_share={share}")
        learn(config, [photos], tmp_path / str(share), CPU, [held])
    first = [
        float((tmp_path / str(share) / "validation.csv").read_text().splitlines()[1].rpartition(",")[2])
        for share in (0.25, 1.0)
    ]
    assert first[0] == first[1]
    found = [runs.metadata(tmp_path / str(share)) for share in (0.25, 1.0)]
    assert found[0]["config"]["start"] == card.sha256
    blended, own = (torch.tensor(metadata["data"]["prior"], dtype=torch.float64) for metadata in found)
    torch.testing.assert_close(blended, 0.25 * own + 0.75 * shipped / shipped.sum(), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    ("method", "net", "words"),
    [
        ("regress", "lite-l2", "is weights of lite, and the configuration trains lite-l2"),
        ("context", "narrow", "start= is for"),
    ],
)
def test_a_start_of_another_net_is_refused(method: str, net: str, words: str, colored: Path) -> None:
    config = configs.tiny(method, net).changed([f"start={colored}"])
    with pytest.raises(ValueError, match=words):
        building.build(config, 1, torch.ones(bins.COUNT))


# More steps


def words_of(run: Path, *more: str) -> list[str]:
    words = [
        "train",
        "colorize",
        "--photos",
        "scikit-image",
        "--hold-out",
        "0",
        "--run",
        str(run),
        "--device",
        "cpu",
    ]
    return [*words, "--cache", str(run.parent / "cache"), "--workers", "1", "--save-every", "-1", *more]


BEGUN = ["--recipe", "tiny", "--steps", "2", "--set", "prior_share=0.5", "warmup=1", "ema=0.5"]


@pytest.mark.slow  # test_trainer kills an extended run, of a small net
def test_a_run_that_began_from_weights_is_extended_as_if_it_had_not_been_killed(
    tmp_path: Path, kill_at: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    start = checkpoint.locate("lite")
    (tmp_path / "start.safetensors").write_bytes(start.read_bytes())
    (tmp_path / "start.json").write_bytes(start.with_suffix(".json").read_bytes())
    folders = tmp_path / "whole", tmp_path / "killed"
    for run in folders:
        assert main(words_of(run, *BEGUN, "start=start.safetensors")) == 0
    (tmp_path / "start.safetensors").unlink()  # it is not needed any more
    decodings: list[dict[str, Any]] = []
    build = building.build
    monkeypatch.setattr(building, "build", lambda *given: decodings.append(given[3]) or build(*given))
    extend = ["--extend", "--steps", "5"]
    assert main(words_of(folders[0], *extend)) == 0
    kill_at(4)
    with pytest.raises(KilledError):
        main(words_of(folders[1], *extend))
    kill_at(-1)
    assert 2 <= runs.averaged(folders[1]).progress.step < 5
    assert main(words_of(folders[1], *extend)) == 0
    whole, resumed = map(saved, folders)
    assert same(whole, resumed)
    assert whole["progress"]["step"] == 5
    assert (whole["metadata"]["config"]["earlier"], whole["metadata"]["config"]["steps"]) == ((2,), 5)
    assert whole["metadata"]["config"]["start"] == checkpoint.read_card(start).sha256
    assert whole["metadata"]["start"]["size"] == checkpoint.read_card(start).size
    assert [decoding["size"] for decoding in decodings] == [checkpoint.read_card(start).size] * 3


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ([], "say to how many it is to be extended, --steps N"),
        (["--steps", "5", "--set", "lr=1"], "--extend takes --steps alone"),
        (["--steps", "5", "--recipe", "tiny"], "--extend takes --steps alone"),
        (["--steps", "5", "--net", "lite"], "--extend takes --steps alone"),
        (["--steps", "5", "--seed", "3"], "--extend takes --steps alone"),
        (["--steps", "1"], "has 2 steps already"),
    ],
)
def test_an_extension_says_how_long_and_nothing_else(
    more: Sequence[str], words: str, photos: Cache, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    metadata = {"config": asdict(lite("steps=2"))}
    torch.save({"metadata": metadata, "progress": {"step": 2}}, run / runs.CHECKPOINT)
    before = (run / runs.CHECKPOINT).read_bytes()
    assert main(words_of(run, "--extend", *more)) == 1
    assert words in capsys.readouterr().err
    assert (run / runs.CHECKPOINT).read_bytes() == before


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--net", "alexnt"], "no backbone is called 'alexnt'"),
        (
            ["--set", "start=runs/fist"],
            "no start is called runs/fist: name a net, a .safetensors file or a run's folder",
        ),
        (["--net", "alexnet", "--set", "frozen_blocks=1"], "alexnet has no blocks to freeze"),
        (["--steps", "5", "--seconds", "9"], "--steps and --seconds both say how long"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_photographs_are_decoded(
    more: Sequence[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known = tmp_path / "run" / "left_out.txt"
    known.parent.mkdir()
    known.write_text("gray\ta.jpg\n")
    assert main(words_of(known.parent, *more)) == 1
    assert words in capsys.readouterr().err
    assert known.read_text() == "gray\ta.jpg\n"
    assert not (tmp_path / "cache").exists()


def test_a_run_that_is_under_way_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    run.mkdir()
    with runs.locked(run):
        assert main(words_of(run, "--recipe", "tiny")) == 1
    assert "another process trains in" in capsys.readouterr().err
    assert [path.name for path in run.iterdir()] == ["trainer"]
    assert not (tmp_path / "cache").exists()


def test_a_run_that_goes_on_keeps_the_list_of_what_it_left_out(tmp_path: Path) -> None:
    torch.save({"metadata": {"config": asdict(lite("steps=2"))}}, tmp_path / runs.CHECKPOINT)
    (tmp_path / "left_out.txt").write_text("gray\ta.jpg\n")
    assert main(words_of(tmp_path, "--net", "alexnet", "--recipe", "tiny")) == 1
    assert (tmp_path / "left_out.txt").read_text() == "gray\ta.jpg\n"


def test_a_run_that_early_stopping_ended_is_extended_from_there_also_to_the_steps_that_it_was_to_have(
    tmp_path: Path,
) -> None:
    config = lite("steps=600", "patience=8", "blend=1", "keep_best=true")
    progress = {"step": 300, "since_best": 8}
    torch.save({"metadata": {"config": asdict(config)}, "progress": progress}, tmp_path / runs.CHECKPOINT)
    assert session.extended(tmp_path, 600).ends == (300, 600)
    with pytest.raises(InputError, match="has 300 steps"):
        session.extended(tmp_path, None)


def test_a_run_is_extended_by_its_own_method(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"metadata": {"config": asdict(lite("steps=2"))}, "progress": {}}, tmp_path / runs.CHECKPOINT)
    words = words_of(tmp_path, "--extend", "--steps", "5")
    assert main(["train", "simclr", *words[2:]]) == 1
    assert "trains colorize, not simclr" in capsys.readouterr().err


def test_what_is_no_run_is_not_extended(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words_of(tmp_path / "none", "--extend", "--steps", "5")) == 1
    assert "holds no training run" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


OLDER = asdict(configs.tiny("colorize", "lite"))
OLDER["options"]["sharpened"] = 0.25  # which there is not any more


@pytest.mark.parametrize("metadata", [{"recipe": {"steps": 2}}, {"config": OLDER}])
def test_a_run_of_an_older_code_is_refused_in_words(
    metadata: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = {"averaged": {}, "progress": {}, "metadata": metadata}
    torch.save(saved, tmp_path / runs.CHECKPOINT)
    assert main(words_of(tmp_path, "--extend", "--steps", "5")) == 1
    assert "older version of this code" in capsys.readouterr().err
    with pytest.raises(runs.RunError, match="older version of this code"):
        building.load(tmp_path)


def test_a_run_of_so_many_seconds_is_continued_by_the_same_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(session, "_TIMED", 1)
    seconds = count()
    monkeypatch.setattr(session, "time", SimpleNamespace(monotonic=lambda: next(seconds)))  # a step takes one
    command = words_of(tmp_path / "run", "--recipe", "tiny", "--seconds", "0", "--set", "warmup=40")
    assert main(command) == 1
    assert "no step fits into the time that is left" in capsys.readouterr().err
    assert not (tmp_path / "run" / runs.CHECKPOINT).exists()
    command[command.index("0", command.index("--seconds"))] = "20"
    assert main(command) == 0
    steps = runs.averaged(tmp_path / "run").progress.step
    assert f"{steps} steps of 4 photographs fit into" in capsys.readouterr().out
    assert main(command) == 0
    assert f"goes on to the {steps} steps that it was begun with" in capsys.readouterr().out
    assert runs.averaged(tmp_path / "run").progress.step == steps


class Ticking(Method):
    """Whose step takes a thousandth of a second for each pixel of a crop's side squared, by a clock of its own."""

    def __init__(self) -> None:
        self.net, self.now = nn.Linear(1, 1), 0.0

    def loss(self, batch: Batch, generator: torch.Generator) -> torch.Tensor:
        self.now += 1e-3 * batch.side**2
        return self.net.weight.sum()


@pytest.mark.parametrize(("small", "last_share"), [(3, 0.5), (0, 0.12)])
def test_the_last_steps_at_a_larger_size_fit_into_the_seconds_too(
    small: int, last_share: float, cached: Callable[..., Cache], monkeypatch: pytest.MonkeyPatch
) -> None:
    toy, sources = Ticking(), [cached([(128, 128)] * 5 + [(64, 64)] * small)]
    monkeypatch.setattr(building, "build", lambda *given: (toy, SGD(toy.net.parameters(), 1e-3)))
    monkeypatch.setattr(session.time, "monotonic", lambda: toy.now)
    crops = replace(lite().crops, sides=(64, 96), last=224, last_share=last_share)
    config = session.fitting(replace(lite("steps=5000"), crops=crops), sources, [], CPU, 10_000)
    timed, toy.now = toy.now, 0.0
    batches = Batches(sources, 4, config.steps, 0, crops)
    for step in range(config.steps):
        toy.loss(batches[step], torch.Generator())
    assert toy.now == pytest.approx(0.9 * (10_000 - timed), rel=0.02)


def test_validations_fit_into_the_seconds_too(
    cached: Callable[..., Cache], monkeypatch: pytest.MonkeyPatch
) -> None:
    toy, sources = Ticking(), [cached([(64, 64)] * 8)]

    def validate(net: nn.Module, step: int) -> dict[str, float]:
        toy.now += 100
        return {"score": 0.0}

    monkeypatch.setattr(building, "build", lambda *given: (toy, SGD(toy.net.parameters(), 1e-3)))
    monkeypatch.setattr(session.time, "monotonic", lambda: toy.now)
    monkeypatch.setattr(validation, "of_method", lambda *given: validate)
    crops = replace(lite().crops, sides=(64,), last=64, last_share=0)
    config = replace(lite("steps=5000", "validate_every=25", "blend=1", "keep_best=true"), crops=crops)
    planned = session.fitting(config, sources, sources, CPU, 10_000)
    a_step, timed = 1e-3 * 64**2, toy.now
    validations = 2 + planned.steps // 25  # of the start, and at the end
    assert planned.steps * a_step + validations * 100 == pytest.approx(0.9 * (10_000 - timed), rel=0.02)


def test_seconds_are_planned_with_as_many_classes_as_there_are(
    squares: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "_TIMED", 1)
    assert session.fitting(tiny("supervised"), [squares], [squares], CPU, 60).steps > 1


# What is refused


@pytest.mark.parametrize(
    ("method", "more", "words"),
    [
        ("simclr", ["--apart-from", "scikit-image"], "--apart-from is for colorize and regress"),
        ("colorize", ["--hold-out", "20"], "--hold-out is 20, and counts tenths"),
    ],
)
def test_what_would_be_ignored_or_leave_nothing_is_refused_before_photographs_are_decoded(
    method: str, more: Sequence[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = words_of(tmp_path / "run", *more)
    assert main(["train", method, *command[2:]]) == 1
    assert words in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_checkout_is_named_by_the_files_that_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = commits.commit()
    root = Path(commits.__file__).parents[2]
    if (root / ".git").exists():
        head = subprocess.run(
            ["git", "-C", root, "rev-parse", "HEAD"], capture_output=True, text=True, check=True
        )
        assert head.stdout.startswith(known)
        assert len(known) >= 7
    monkeypatch.setattr(commits, "__file__", str(Path(commits.__file__).with_name("installed.py")))
    assert commits.commit() == "", "another project's checkout around a virtual environment"
    monkeypatch.undo()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert commits.commit() == "", "no git"
    monkeypatch.undo()
    assert commits.commit() == known


def test_the_best_weights_are_not_kept_where_nothing_tells_which_they_are(
    photos: Cache, tmp_path: Path
) -> None:
    with pytest.raises(
        InputError, match=r"none is held out: .*, --hold-out 3, or .*, --set blend=1 keep_best=false"
    ):
        learn(lite(), [photos], tmp_path, CPU)
    configs.finetune("colorize", "lite").changed(["blend=1", "keep_best=false"])


@pytest.mark.parametrize("settings", [["sides=96,112"], ["last=200"], ["small=72"]])
def test_crops_that_the_net_cannot_take_are_refused_before_the_run(settings: Sequence[str]) -> None:
    with pytest.raises(InputError, match="multiples of 32"):
        lite(*settings)


@pytest.fixture(scope="module")
def context(squares: Cache, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder."""
    learn(tiny("context", 1), [squares], folder := tmp_path_factory.mktemp("context"), CPU)
    return folder


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


class Code:
    """What a pickle could run when it is opened."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return exec, ("raise SystemExit('it was run')",)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "cut off": cut_off,
    "empty": lambda path: path.write_bytes(b""),
    "a letter": lambda path: path.write_text("Dear Sir or Madam"),
    "code": lambda path: path.write_bytes(pickle.dumps(Code())),
    "a pickle": lambda path: path.write_bytes(pickle.dumps([1, 2])),
    "code, by torch": lambda path: torch.save({"net": Code()}, path),
    "weights alone": lambda path: torch.save({"conv1.weight": torch.zeros(3)}, path),
    "a tensor": lambda path: torch.save(torch.zeros(3), path),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_checkpoint_that_is_none_is_refused_and_not_run(
    damage: str, context: Path, squares: Cache, tmp_path: Path
) -> None:
    checkpoint = tmp_path / runs.CHECKPOINT
    checkpoint.write_bytes((context / runs.CHECKPOINT).read_bytes())
    DAMAGES[damage](checkpoint)
    before = checkpoint.read_bytes()
    for use in (
        lambda: runs.averaged(tmp_path),
        lambda: learn(tiny("context", 1), [squares], tmp_path, CPU),
    ):
        with pytest.raises(runs.RunError, match=r"checkpoint\.pt is cut off, or no .* delete it") as refused:
            use()
        assert refused.value.code == "run_damaged"
    assert checkpoint.read_bytes() == before, "whatever it is, it is somebody's"


def test_a_run_is_not_continued_by_another_method_net_or_seed(context: Path, squares: Cache) -> None:
    for other in (tiny("simclr", 1), tiny("context", 1, seed=1), tiny("context", 2)):
        with pytest.raises(
            runs.RunError, match=r"was begun with another .*; continue it as it was"
        ) as refused:
            learn(other, [squares], context, CPU)
        assert refused.value.code == "run_mismatch"


def test_what_differs_is_said_and_what_else_there_is_to_do(context: Path, squares: Cache) -> None:
    steps = runs.averaged(context).progress.step
    for config, source, words in (
        (tiny("context", steps), squares.only(range(7)), r"photographs \(8, now 7\).*--hold-out say which"),
        (
            tiny("context", steps + 3),
            squares,
            rf"\(steps was {steps}\).*--extend --steps {steps + 3} goes on",
        ),
    ):
        with pytest.raises(runs.RunError, match=words):
            learn(config, [source], context, CPU)


def test_weights_that_are_gone_are_not_taken_for_others(tmp_path: Path) -> None:
    """Those of the checkpoint are not the best ones, and a start cannot be made again."""
    saved = {
        "averaged": {},
        "progress": {"step": 3, "best_step": 2},
        "metadata": {"config": {"keep_best": True}},
    }
    torch.save(saved, tmp_path / runs.CHECKPOINT)
    for use, name in (
        (lambda: runs.averaged(tmp_path), runs.BEST),
        (lambda: runs.start(tmp_path, nn.Linear(1, 1)), runs.START),
    ):
        with pytest.raises(
            runs.RunError, match=rf"{name} is missing.*train anew in another folder"
        ) as refused:
            use()
        assert refused.value.code == "run_damaged"


def test_how_weights_are_decoded_is_not_what_suited_others_that_were_here(
    squares: Cache, tmp_path: Path
) -> None:
    config = tiny("context", 1)
    (tmp_path / building.EXPORT).write_text("{}")
    method = learn(config, [squares], tmp_path, CPU)
    assert [*session.conclude(method, config, [], tmp_path, CPU)] == [f"1 steps done in {tmp_path}"]
    assert building.load(tmp_path).decoding is None


def test_a_run_of_code_that_had_fewer_options_goes_on(squares: Cache, tmp_path: Path) -> None:
    """What it had no field for, it did as the default says."""
    learn(tiny("context", 1), [squares], tmp_path, CPU)
    saved = torch.load(tmp_path / runs.CHECKPOINT, weights_only=True)
    del saved["metadata"]["config"]["adversary_lr"]
    torch.save(saved, tmp_path / runs.CHECKPOINT)
    learn(tiny("context", 1), [squares], tmp_path, CPU)
    other = tiny("context", 1).changed(["clip=1", "pixelated=0.5"])
    with pytest.raises(
        runs.RunError, match=r"was begun with another config \(pixelated was [0-9.]+, clip was 0.0\)"
    ):
        learn(other, [squares], tmp_path, CPU)


def test_another_recipe_is_said_to_be_one_where_it_has_an_adversary_too(
    photos: Cache, tmp_path: Path
) -> None:
    """And the checkpoint, which has none, is not called damaged."""
    begun = lite("steps=1", "keep_best=false", "realism.adversary=0")
    learn(begun, [photos], tmp_path, CPU)
    with pytest.raises(runs.RunError, match="was begun with another config"):
        learn(begun.changed(["realism.adversary=0.1"]), [photos], tmp_path, CPU)


def test_weights_of_another_net_are_refused(context: Path) -> None:
    state = runs.averaged(context).state
    wide, narrow = nn.Linear(3, 2), nn.Linear(3, 1)
    for net, its in ((wide, state), (wide, narrow.state_dict())):
        with pytest.raises(runs.RunError, match="holds another Linear than this code makes") as refused:
            runs.fill(net, its, context)
        assert refused.value.code == "weights_mismatch"
    momenta = SGD(wide.parameters(), 1).state_dict()
    runs.fill(SGD(wide.parameters(), 2), momenta, context)
    with pytest.raises(runs.RunError, match="another SGD"):
        runs.fill(SGD([*wide.parameters()][:1], 1), momenta, context)


def test_the_command_line_says_it_in_a_line(
    context: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / runs.CHECKPOINT).write_bytes((context / runs.CHECKPOINT).read_bytes()[:5000])
    words = [
        "weights",
        "export",
        str(tmp_path),
        "--terms",
        "t",
        "--data",
        "d",
        "-o",
        str(tmp_path / "a.safetensors"),
    ]
    assert main(words) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"python -m model: run_damaged: {tmp_path}/checkpoint.pt is cut off")
    assert said.count("\n") == 1
