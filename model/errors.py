"""The base of the model's own errors: what a person can do something about, and no error of the program; and notices, which are none."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that a person should know of a photo which is colored all the same. `code` is stable; `detail` is a sentence or two."""

    code: str
    detail: str


class AutochromeError(Exception):
    """Something that was asked for cannot be done.

    `code` is stable, for programs. `sentence` says what is wrong and `advice` what to do, which may be empty; both are for people.
    """

    def __init__(self, code: str, sentence: str, advice: str = "") -> None:
        super().__init__(code, sentence, advice)
        self.code = code
        self.sentence = sentence
        self.advice = advice

    @property
    def detail(self) -> str:
        """The sentence and the advice."""
        return f"{self.sentence} {self.advice}".rstrip()

    def __str__(self) -> str:
        return f"{self.code}: {self.detail}"


class InputError(AutochromeError, ValueError):
    """A value that a person gave cannot be used: an option, a setting of a run, a file's content. Its text is the sentence alone."""

    def __init__(self, sentence: str) -> None:
        super().__init__("input_invalid", sentence)

    def __reduce__(self) -> tuple[type[InputError], tuple[str]]:
        return type(self), (self.sentence,)

    def __str__(self) -> str:
        return self.sentence


class PhotoError(AutochromeError):
    """A file that cannot be taken as a photograph.

    `code` is photo_empty, photo_unsupported, photo_damaged, photo_animated, photo_too_large or photo_too_small. Sentence and advice are for
    the person who sent the file.
    """
