"""Nets that somebody brings, made here as ONNX files of the shapes that the public ones have; their cards; and files that lie."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from skimage import color, data

from model import cards, palette
from model.__main__ import main
from model.cards import CheckpointError, OnnxCard
from model.colorizer import Colorizer, ColorOptions
from model.errors import InputError
from model.image_io import Photo
from model.runtimes import onnx_nets

GRAY = (color.rgb2gray(data.chelsea()) * 255).astype(np.uint8)
PHOTO = Photo(GRAY, None, "PNG")
DDCOLOR = {
    "size": 512,
    "square": True,
    "input": {"kind": "gray_rgb"},
    "output": {"kind": "ab"},
}
SIGGRAPH17 = {
    "size": 256,
    "square": True,
    "input": {"kind": "lightness"},
    "output": {"kind": "ab"},
}
ECCV16_LOGITS = {
    "size": 256,
    "multiple": 8,
    "input": {"kind": "lightness", "mean": [50], "std": [100]},
    "output": {"kind": "logits"},
    "temperature": 0.38,
}


def net(
    inputs: Sequence[int | str],
    outputs: Sequence[int | str],
    nodes: Sequence[onnx.NodeProto],
    weights: dict[str, np.ndarray],
    kind: int = TensorProto.FLOAT,
    more: Sequence[onnx.ValueInfoProto] = (),
) -> onnx.ModelProto:
    graph = helper.make_graph(
        [*nodes],
        "made",
        [helper.make_tensor_value_info("input", kind, inputs)],
        [helper.make_tensor_value_info("output", kind, outputs), *more],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def convolution(
    channels: int, out: int, bias: Sequence[float] | None = None, **changed: Any
) -> onnx.ModelProto:
    """A pointwise convolution whose answer is its bias, and a little of its input."""
    weights = {
        "weight": np.full((out, channels, 1, 1), 0.001, np.float32),
        "bias": np.zeros(out, np.float32) if bias is None else np.array(bias, np.float32),
    }
    node = helper.make_node("Conv", ["input", "weight", "bias"], ["output"])
    sides = changed.pop("sides", ["h", "w"])
    return net([changed.pop("batch", "n"), channels, *sides], ["n", out, *sides], [node], weights, **changed)


@pytest.fixture
def brought(tmp_path: Path) -> Callable[..., Path]:
    def write(model: onnx.ModelProto, card: dict[str, Any], **changed: Any) -> Path:
        path = tmp_path / "mine.onnx"
        path.write_bytes(model.SerializeToString())
        path.with_suffix(".json").write_text(json.dumps({"name": "mine", "terms": "test"} | card | changed))
        return path

    return write


def colored_ab(pixels: np.ndarray) -> np.ndarray:
    return color.rgb2lab(pixels)[..., 1:]


# What comes in and out


@pytest.mark.parametrize(
    ("model", "card"),
    [
        (convolution(3, 2, [20, 25], sides=(512, 512), batch=1), DDCOLOR),
        (convolution(1, 2, [20, 25], sides=(256, 256), batch=1), SIGGRAPH17),
        (
            convolution(1, 2, [20 / 110, 25 / 110]),
            {
                "size": 128,
                "input": {"kind": "lightness", "mean": [50], "std": [100]},
                "output": {"kind": "ab", "scale": 110},
            },
        ),
    ],
)
def test_nets_of_the_public_ones_shapes_color_photos(
    model: onnx.ModelProto, card: dict[str, Any], brought: Callable[..., Path]
) -> None:
    """The net answers one color everywhere: the photo has it wherever its lightness allows."""
    colorizer = Colorizer.load(str(brought(model, card)), "cpu")
    first, second = colorizer.colorize([PHOTO, Photo(GRAY[:200, :100], None, "PNG")])
    assert first.pixels.shape == (*GRAY.shape, 3)
    assert second.pixels.shape == (200, 100, 3)
    middle = (GRAY > 110) & (GRAY < 160)
    np.testing.assert_allclose(np.median(colored_ab(first.pixels)[middle], 0), (20, 25), atol=1.5)
    assert colorizer.name == "mine"
    assert len(colorizer.sha256) == 64


def test_logits_over_the_papers_bins_are_decoded_as_our_own_nets(brought: Callable[..., Path]) -> None:
    wanted = int(np.abs(palette.centers() - (30, 40)).sum(1).argmin())
    bias = np.where(np.arange(313) == wanted, 9, 0)
    colorizer = Colorizer.load(str(brought(convolution(1, 313, bias), ECCV16_LOGITS)), "cpu")
    lightness = colorizer.preprocess(PHOTO)
    assert lightness.shape == (1, 256, 384)
    [logits] = colorizer.infer([lightness])
    np.testing.assert_allclose(logits[wanted], 9 + 0.001 * (lightness[0] - 50) / 100, atol=1e-4)
    assert np.abs(colorizer.decode(logits)[:, 0, 0] - (30, 40)).max() < 1


def test_a_net_with_bins_of_its_own_has_their_colors(brought: Callable[..., Path]) -> None:
    centers = [[0, 0], [50, -20], [-40, 10], [5, 60]]
    card = {
        "size": 64,
        "input": {"kind": "lightness"},
        "output": {"kind": "logits", "centers": centers},
        "temperature": 0.5,
    }
    colorizer = Colorizer.load(str(brought(convolution(1, 4, [0, 0, 3, 0]), card)), "cpu")
    [logits] = colorizer.infer([colorizer.preprocess(PHOTO)])
    weights = np.exp(np.array([0, 0, 6, 0]))
    expected = (weights[:, None] * centers).sum(0) / weights.sum()
    np.testing.assert_allclose(colorizer.decode(logits)[:, 3, 3], expected, atol=1e-3)
    likeliest = colorizer.decode(logits, ColorOptions(temperature=0))
    assert likeliest[:, 3, 3].tolist() == [-40, 10]


def test_gray_rgb_is_the_gray_of_that_lightness_less_its_mean_and_over_its_deviation() -> None:
    card = OnnxCard.from_json(
        json.dumps(
            {
                "name": "x",
                "terms": "",
                "size": 32,
                "input": {"kind": "gray_rgb", "mean": [0.4, 0.5, 0.6], "std": [0.1, 0.2, 0.5]},
                "output": {"kind": "ab"},
            }
        )
    )
    lightness = np.linspace(0, 100, 64, dtype=np.float32).reshape(1, 1, 8, 8)
    lab = np.zeros((8, 8, 3))
    lab[..., 0] = lightness[0, 0]
    gray = np.moveaxis(color.lab2rgb(lab), -1, 0)
    expected = (gray - np.array([0.4, 0.5, 0.6])[:, None, None]) / np.array([0.1, 0.2, 0.5])[:, None, None]
    np.testing.assert_allclose(onnx_nets.net_input(lightness, card)[0], expected, atol=2e-3)


def test_channels_may_be_last(brought: Callable[..., Path]) -> None:
    weights = {"shift": np.array([7, -9], np.float32)}
    twice = helper.make_node("Concat", ["input", "input"], ["two"], axis=3)
    add = helper.make_node("Add", ["two", "shift"], ["output"])
    model = net(["n", "h", "w", 1], ["n", "h", "w", 2], [twice, add], weights)
    card = {
        "size": 32,
        "input": {"kind": "lightness", "layout": "NHWC"},
        "output": {"kind": "ab", "layout": "NHWC"},
    }
    colorizer = Colorizer.load(str(brought(model, card)), "cpu")
    seen = [colorizer.preprocess(PHOTO), colorizer.preprocess(Photo(GRAY.T.copy(), None, "PNG"))]
    for lightness, ab in zip(seen, colorizer.infer(seen), strict=True):
        np.testing.assert_allclose(ab, np.concatenate([lightness + 7, lightness - 9]), atol=1e-4)


def test_a_net_in_half_precision_is_fed_with_it(brought: Callable[..., Path]) -> None:
    weights = {"weight": np.full((2, 1, 1, 1), 0.5, np.float16)}
    node = helper.make_node("Conv", ["input", "weight"], ["output"])
    model = net(["n", 1, "h", "w"], ["n", 2, "h", "w"], [node], weights, TensorProto.FLOAT16)
    card = {"size": 32, "input": {"kind": "lightness"}, "output": {"kind": "ab"}}
    colorizer = Colorizer.load(str(brought(model, card)), "cpu")
    lightness = colorizer.preprocess(PHOTO)
    [ab] = colorizer.infer([lightness])
    assert ab.dtype == np.float32
    np.testing.assert_allclose(ab[0], lightness[0] / 2, rtol=5e-3)


def test_of_several_outputs_the_card_names_one(brought: Callable[..., Path]) -> None:
    more = [helper.make_tensor_value_info("other", TensorProto.FLOAT, ["n", 2, "h", "w"])]
    model = convolution(1, 2, [1, 2], more=more)
    model.graph.node.append(helper.make_node("Neg", ["output"], ["other"]))
    card = {"size": 32, "input": {"kind": "lightness", "std": [1000]}}
    colorizer = Colorizer.load(str(brought(model, card, output={"kind": "ab", "name": "other"})), "cpu")
    [ab] = colorizer.infer([colorizer.preprocess(PHOTO)])
    np.testing.assert_allclose(ab[:, 0, 0], (-1, -2), atol=1e-2)
    for name in ("", "third"):
        with pytest.raises(
            CheckpointError, match=r'has the outputs "output", "other"; name one as output\.name'
        ):
            Colorizer.load(str(brought(model, card, output={"kind": "ab", "name": name})), "cpu")


# On every door


def test_the_command_line_colors_with_it_and_shows_its_card(
    brought: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from PIL import Image

    path = brought(convolution(1, 2, [30, 40], sides=(256, 256), batch=1), SIGGRAPH17)
    Image.fromarray(GRAY).save(tmp_path / "cat.png")
    assert (
        main(
            [
                "colorize",
                str(tmp_path / "cat.png"),
                "-o",
                str(tmp_path / "out"),
                "--net",
                str(path),
                "--device",
                "cpu",
            ]
        )
        == 0
    )
    [result] = [file for file in (tmp_path / "out").iterdir() if file.suffix in (".png", ".jpg")]
    assert colored_ab(np.asarray(Image.open(result).convert("RGB"))).mean((0, 1))[1] > 15
    capsys.readouterr()
    assert main(["weights", "show", str(path)]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["input"]["kind"] == "lightness"
    assert shown["size"] == 256


def test_comparing_decodings_is_for_weights_of_our_own(brought: Callable[..., Path]) -> None:
    from model.evaluate import decoding

    colorizer = Colorizer.load(str(brought(convolution(1, 2), SIGGRAPH17 | {"square": False})), "cpu")
    with pytest.raises(InputError, match="comes from an ONNX file"):
        decoding.own(colorizer)
    with pytest.raises(InputError, match="no rebalancing to take back"):
        Colorizer.load(str(brought(convolution(1, 2), SIGGRAPH17)), "cpu", taken_back=0.5)
    with pytest.raises(TypeError, match=r"checkpoint\.load has it"):
        _ = colorizer.net


# Cards and files that are wrong


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"size": None}, "size: Input should be a valid integer"),
        ({"size": 100}, "size is 100, and must be a multiple of 32"),
        ({"input": {"kind": "rgb"}}, "input.kind"),
        ({"input": {"kind": "lightness", "mean": [1, 2, 3]}}, "input.mean must be a list of one number"),
        ({"input": {"kind": "gray_rgb", "std": [1, 0, 1]}}, "input.std is what is divided by"),
        ({"input": {"kind": "gray_rgb", "mean": [1, 2]}}, "one number, or three"),
        ({"output": {"kind": "ab", "scale": 0}}, "output.scale"),
        ({"output": {"kind": "ab", "centers": [[0, 0]]}}, "centers are for logits"),
        ({"output": {"kind": "logits", "centers": [[0, 0], [1, 1]]}}, "three colors or more"),
        ({"output": {"kind": "logits", "scale": 2}}, "scale is for ab"),
        ({"sha256": "abc"}, "sha256"),
        ({"temprature": 1}, "temprature: Unexpected keyword argument"),
    ],
)
def test_a_wrong_card_is_refused_by_its_field(
    change: dict[str, Any], said: str, brought: Callable[..., Path]
) -> None:
    path = brought(convolution(1, 2), SIGGRAPH17 | {"square": False} | change)
    with pytest.raises(CheckpointError, match=said) as refused:
        Colorizer.load(str(path), "cpu")
    assert refused.value.code == "card_invalid"


@pytest.mark.parametrize(
    ("model", "card", "said"),
    [
        (convolution(3, 2), SIGGRAPH17 | {"square": False}, "takes 3 channels; its card says 1"),
        (convolution(1, 313), SIGGRAPH17 | {"square": False}, "answers 313 channels; its card says 2"),
        (convolution(1, 2, sides=(224, 224)), SIGGRAPH17, "takes 224 × 224 pixels"),
        (convolution(1, 2, sides=(256, 256)), SIGGRAPH17 | {"square": False}, '"square": true'),
        (convolution(1, 2, kind=TensorProto.DOUBLE), SIGGRAPH17, "OpenVINO cannot|takes float64"),
    ],
)
def test_a_net_that_is_not_what_its_card_says_is_refused(
    model: onnx.ModelProto, card: dict[str, Any], said: str, brought: Callable[..., Path]
) -> None:
    with pytest.raises(CheckpointError, match=said) as refused:
        Colorizer.load(str(brought(model, card)), "cpu")
    assert refused.value.code == "net_unsupported"


@pytest.mark.parametrize("shape", [(1, 313, 8, 8), (1, 8, 8, 2), (1, 2, 64)])
def test_an_answer_of_another_shape_than_the_card_says_is_refused(shape: tuple[int, ...]) -> None:
    """Where the file leaves it open, it shows only then."""
    card = OnnxCard.from_json(json.dumps({"name": "x", "terms": ""} | SIGGRAPH17))
    with pytest.raises(CheckpointError, match="The net x answers"):
        onnx_nets.net_answer(np.zeros(shape, np.float32), card)


def test_sides_that_the_net_cannot_join_are_refused(brought: Callable[..., Path]) -> None:
    """Reduced by half and doubled again, beside the input: only even sides meet."""
    nodes = [
        helper.make_node("AveragePool", ["input"], ["half"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Resize", ["half", "", "scales"], ["whole"], mode="nearest"),
        helper.make_node("Concat", ["input", "whole"], ["output"], axis=1),
    ]
    weights = {"scales": np.array([1, 1, 2, 2], np.float32)}
    model = net(["n", 1, "h", "w"], ["n", 2, "h", "w"], nodes, weights)
    card = {"size": 33, "multiple": 1, "input": {"kind": "lightness"}, "output": {"kind": "ab"}}
    loaded = Colorizer.load(str(brought(model, card)), "cpu")
    with pytest.raises(CheckpointError, match="does not run: the net cannot take arrays of 1 × 1 × 33 × "):
        loaded.infer([loaded.preprocess(PHOTO)])
    loaded = Colorizer.load(str(brought(model, card, size=32, multiple=2)), "cpu")
    assert len(loaded.infer([loaded.preprocess(PHOTO)])) == 1


def test_a_hash_of_another_file_is_refused_and_the_right_one_taken(brought: Callable[..., Path]) -> None:
    model, card = convolution(1, 2), SIGGRAPH17 | {"square": False}
    right = hashlib.sha256(model.SerializeToString()).hexdigest()
    assert Colorizer.load(str(brought(model, card, sha256=right)), "cpu").sha256 == right
    with pytest.raises(CheckpointError, match="does not have the hash"):
        Colorizer.load(str(brought(model, card, sha256="0" * 64)), "cpu")


def test_files_that_are_not_there_are_named(brought: Callable[..., Path], tmp_path: Path) -> None:
    path = brought(convolution(1, 2), SIGGRAPH17)
    path.with_suffix(".json").unlink()
    with pytest.raises(CheckpointError, match=r"There is no card .*mine\.json"):
        Colorizer.load(str(path), "cpu")
    path = brought(convolution(1, 2), SIGGRAPH17)
    path.unlink()
    with pytest.raises(CheckpointError, match=r"mine\.onnx cannot be read"):
        Colorizer.load(str(path), "cpu")


def test_an_operator_that_nobody_knows_is_said(brought: Callable[..., Path]) -> None:
    model = convolution(1, 2)
    model.graph.node[0].op_type = "Konv"
    with pytest.raises(CheckpointError, match=r"OpenVINO cannot r.*Konv") as refused:
        Colorizer.load(str(brought(model, SIGGRAPH17 | {"square": False})), "cpu")
    assert refused.value.code == "net_unsupported"


@pytest.mark.parametrize("content", [b"", b"not an ONNX file at all", bytes(1000), b"\x3a\xff\xff\xff\x7fxx"])
def test_a_file_that_is_no_net_is_refused(content: bytes, brought: Callable[..., Path]) -> None:
    path = brought(convolution(1, 2), SIGGRAPH17)
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="is no ONNX file") as refused:
        Colorizer.load(str(path), "cpu")
    assert refused.value.code == "weights_damaged"


def test_a_file_that_was_cut_off_is_refused_wherever_it_ends(brought: Callable[..., Path]) -> None:
    whole = convolution(1, 313).SerializeToString()
    path = brought(convolution(1, 2), ECCV16_LOGITS)
    for length in range(1, len(whole), len(whole) // 40):
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match="is no ONNX file") as refused:
            Colorizer.load(str(path), "cpu")
        assert refused.value.code == "weights_damaged"


# Weights in other files


def outside(model: onnx.ModelProto, location: str, entry: bool = True) -> onnx.ModelProto:
    """The model with its first weight in another file."""
    tensor = model.graph.initializer[0]
    tensor.data_location = TensorProto.EXTERNAL
    tensor.ClearField("raw_data")
    if entry:
        tensor.external_data.add(key="location", value=location)
        tensor.external_data.add(key="length", value="8")
    return model


def test_weights_in_a_file_beside_it_are_read(brought: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "mine.data").write_bytes(np.array([0.5, -0.5], np.float32).tobytes())
    path = brought(outside(convolution(1, 2), "mine.data"), SIGGRAPH17 | {"square": False})
    colorizer = Colorizer.load(str(path), "cpu")
    lightness = colorizer.preprocess(PHOTO)
    [ab] = colorizer.infer([lightness])
    np.testing.assert_allclose(ab, np.concatenate([lightness / 2, -lightness / 2]), atol=1e-3)
    (tmp_path / "mine.data").unlink()
    with pytest.raises(CheckpointError, match=r"There is no .*mine\.data"):
        Colorizer.load(str(path), "cpu")


@pytest.mark.parametrize(
    "location", ["../secret", "/etc/hostname", "inside/../../secret", "..\\secret", "link", "folder/secret"]
)
def test_weights_outside_of_its_folder_are_refused(
    location: str, brought: Callable[..., Path], tmp_path: Path
) -> None:
    other = tmp_path.parent / "secret"
    other.write_bytes(bytes(8))
    (tmp_path / "link").symlink_to(other)
    (tmp_path / "folder").symlink_to(tmp_path.parent)
    path = brought(outside(convolution(1, 2), location), SIGGRAPH17 | {"square": False})
    with pytest.raises(CheckpointError, match=r"outside of its folder|link to another folder") as refused:
        Colorizer.load(str(path), "cpu")
    assert refused.value.code == "net_unsupported"
    other.unlink()


def test_such_weights_are_found_wherever_in_the_file_they_are(brought: Callable[..., Path]) -> None:
    """In a constant, in a branch of an If, in a function, and with its fields in another order."""
    bad = outside(convolution(1, 2), "../secret").graph.initializer[0]
    in_constant, in_branch, in_function, by_hand = (convolution(1, 2) for _ in range(4))
    in_constant.graph.node.append(helper.make_node("Constant", [], ["c"], value=bad))
    branch = helper.make_graph([], "branch", [], [], [bad])
    in_branch.graph.node.append(helper.make_node("If", ["b"], ["d"], then_branch=branch, else_branch=branch))
    constant = helper.make_node("Constant", [], ["c"], value=bad)
    in_function.functions.append(
        helper.make_function("own", "F", [], ["c"], [constant], [helper.make_opsetid("", 17)])
    )
    models = [model.SerializeToString() for model in (in_constant, in_branch, in_function)]
    turned = b"\x12\x09../secret\x0a\x08location"  # the value before its key
    tensor = by_hand.graph.initializer[0].SerializeToString() + b"\x6a" + bytes([len(turned)]) + turned
    graph = b"\x2a" + bytes([len(tensor)]) + tensor
    models.append(by_hand.SerializeToString() + b"\x3a" + bytes([len(graph)]) + graph)
    for content in models:
        path = brought(convolution(1, 2), SIGGRAPH17)
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match="outside of its folder"):
            Colorizer.load(str(path), "cpu")


# Devices


def test_on_a_gpu_without_onnx_runtime_auto_is_the_cpu_and_says_so(
    brought: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(onnx_nets, "choose_device", lambda name: "cpu" if name == "cpu" else "cuda")
    monkeypatch.setattr(onnx_nets, "_has_cuda", lambda: False)
    path = str(brought(convolution(1, 2), SIGGRAPH17 | {"square": False}))
    assert Colorizer.load(path, "auto").device == "cpu"
    assert "needs onnxruntime-gpu to run on a GPU" in caplog.text
    with pytest.raises(InputError, match=r"\[gpu\]"):
        Colorizer.load(path, "cuda")


def test_onnx_runtime_answers_as_openvino_does(brought: Callable[..., Path]) -> None:
    pytest.importorskip("onnxruntime")
    path = brought(convolution(3, 2, [20, 25], sides=(512, 512), batch=1), DDCOLOR)
    colorizer = Colorizer.load(str(path), "cpu")
    card = cards.read_any_card(path)
    assert isinstance(card, OnnxCard)
    other = Colorizer(onnx_nets.with_onnxruntime(path, card, "cpu", ["CPUExecutionProvider"]), card)
    seen = [colorizer.preprocess(PHOTO)] * 2
    for one, two in zip(colorizer.infer(seen), other.infer(seen), strict=True):
        np.testing.assert_allclose(one, two, atol=1e-3)


def test_threads_at_once_share_a_brought_net(brought: Callable[..., Path]) -> None:
    from concurrent.futures import ThreadPoolExecutor

    path = str(brought(convolution(1, 313), ECCV16_LOGITS | {"size": 64}))
    colorizer = Colorizer.load(path, "cpu", threads=2)
    expected = colorizer.colorize([PHOTO])[0].pixels
    with ThreadPoolExecutor(3) as pool:
        for found in pool.map(lambda _: colorizer.colorize([PHOTO])[0].pixels, range(6)):
            assert np.abs(found.astype(int) - expected).max() <= 1
