"""The model's own errors, as programs and as people meet them."""

from __future__ import annotations

import pickle

import pytest

from model.errors import AutochromeError, InputError, PhotoError


def test_an_error_has_a_code_a_sentence_and_an_advice() -> None:
    error = PhotoError("photo_empty", "The file is empty.", "Choose it again.")
    assert (error.code, error.sentence, error.advice) == (
        "photo_empty",
        "The file is empty.",
        "Choose it again.",
    )
    assert error.detail == "The file is empty. Choose it again."
    assert str(error) == "photo_empty: The file is empty. Choose it again."


def test_an_input_error_is_its_sentence_and_a_value_error() -> None:
    assert str(InputError("quality is 0")) == "quality is 0"
    assert InputError("quality is 0").code == "input_invalid"
    with pytest.raises(ValueError, match="quality is 0"):
        raise InputError("quality is 0")


@pytest.mark.parametrize("error", [PhotoError("photo_empty", "Nothing."), InputError("no")], ids=repr)
def test_an_error_survives_the_way_between_processes(error: AutochromeError) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert (again.code, again.detail) == (error.code, error.detail)
