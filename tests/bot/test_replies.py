"""The words that people read: each refusal has its own, and nobody's title can speak for the bot."""

from __future__ import annotations

import re

import pytest
from fake_reddit.rich_text import read_rich_text

from bot import replies
from bot.commands import read_markdown
from bot.replies import IN_PRIVATE, About, ColoredImage, Details, Reason, refusal, signed
from bot.richtext import MAX_CAPTION, document

PAGE = "https://colors.example/photos/" + "ab" * 16
SOURCE = "https://i.redd.it/abc123.jpg"
ONE = [ColoredImage(PAGE, SOURCE)]
MONTH = 30 * 86400.0
LINKS = ("https://mail.example", "https://code.example")
ABOUT = About(*LINKS)

REFUSALS = [
    (Reason.ALBUM, Details(), "I cannot look into that album."),
    (Reason.ARCHIVED, Details(), "That thread is archived, so I cannot answer there."),
    (Reason.BANNED, Details(), "I am not welcome in that community"),
    (Reason.BUSY, Details(), "Please call me again later."),
    (Reason.DAMAGED, Details(), "its file is cut off or broken"),
    (Reason.DENIED, Details(), "I stay out of this community, as bots are asked to."),
    (Reason.FAILED, Details(), "that was not your fault"),
    (Reason.GONE, Details(), "The picture is not there any more"),
    (Reason.HOST, Details(host="photos.example"), "I do not take pictures from photos.example."),
    (
        Reason.LIMIT_SUBREDDIT,
        Details(wait=3600),
        "I am taking a break, so as not to be a nuisance. Try again in 1 hour.",
    ),
    (Reason.LIMIT_THREAD, Details(), "I have answered often enough in this thread"),
    (Reason.LIMIT_USER, Details(wait=90), "others must have their turn first. Try again in 2 minutes."),
    (Reason.LIMIT_USER, Details(), "others must have their turn first. *I am"),
    (Reason.LOCKED, Details(), "That thread is locked, so I cannot answer there."),
    (Reason.VIDEO, Details(), "That is a video or an animation"),
    (Reason.NO_IMAGE, Details(), "I see no picture here"),
    (Reason.NO_STILL, Details(), "That one moves or did not make it to Reddit"),
    (Reason.NO_SUCH_NUMBER, Details(count=3), "I see 3 pictures here, and not the one that you ask for."),
    (Reason.NO_SUCH_NUMBER, Details(count=1), "I see only one picture here"),
    (Reason.NOT_AN_IMAGE, Details(), "not a picture that I can read"),
    (Reason.NOT_DELETED, Details(), "I could not take that back"),
    (
        Reason.NOT_YOURS,
        Details(),
        "Only who called me, who posted the photograph, or a moderator can ask for that.",
    ),
    (Reason.OPTED_OUT, Details(), "asked me to leave their pictures alone"),
    (Reason.OVER_18, Details(), "I do not color what is marked as NSFW."),
    (Reason.PRIVATE, Details(), "I cannot see that community"),
    (Reason.QUARANTINED, Details(), "That community is quarantined"),
    (Reason.REMOVED, Details(), "That post has been removed"),
    (Reason.TOO_LARGE, Details(megabytes=20), "too large for me (20 MB is the most). Post a smaller copy"),
    (Reason.TOO_LARGE, Details(), "too large for me. Post a smaller copy"),
    (Reason.TOO_SMALL, Details(), "Is there a larger one?"),
]


@pytest.mark.parametrize(("reason", "details", "words"), REFUSALS)
def test_each_refusal_says_why_and_how_to_be_left_alone(reason: Reason, details: Details, words: str) -> None:
    text = signed(refusal(reason, details), ABOUT, "message" if reason in IN_PRIVATE else "comment")
    assert words in text
    assert "I am a bot." in text
    assert "`opt out`" in text
    assert ("`delete` to remove this" in text) == (reason not in IN_PRIVATE)
    assert "[Contact](https://mail.example) · [Code](https://code.example)" in text
    assert "\n" not in text
    assert "{" not in text


def test_no_refusal_is_without_words() -> None:
    assert {reason for reason, _, _ in REFUSALS} == set(Reason)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("photo_too_large", Reason.TOO_LARGE),
        ("body_too_large", Reason.TOO_LARGE),
        ("photo_too_small", Reason.TOO_SMALL),
        ("photo_damaged", Reason.DAMAGED),
        ("photo_animated", Reason.VIDEO),
        ("photo_unsupported", Reason.NOT_AN_IMAGE),
        ("worker_died", Reason.FAILED),
        ("a code of next year", Reason.FAILED),
    ],
)
def test_what_the_service_refuses_is_said_in_the_same_words(code: str, reason: Reason) -> None:
    assert replies.reason_of(code) is reason


def test_an_answer_says_in_two_lines_what_was_guessed_whence_and_how_to_be_rid_of_it() -> None:
    text = signed(replies.colored(ONE, keep_for=MONTH), ABOUT, "picture")
    for words in (
        f"[Here it is in color]({PAGE})**, kept for 30 days",
        "The colors are a machine’s guess; made from",
        f"[the original]({SOURCE}).",
        "Reply `delete` to remove this, `vivid` or `muted` for other colors, `opt out` to be left alone.",
        "I am a bot.",
        "[Contact](https://mail.example) · [Code](https://code.example)",
    ):
        assert words in text
    assert read_markdown(text).links == (PAGE, SOURCE, *LINKS)
    assert len([line for line in text.split("\n") if line]) == 2
    assert len(text) < 450
    assert "number" not in text
    assert "posted here" not in text
    assert "Code" not in signed("Hello.", About("https://mail.example"))


def test_who_posted_it_elsewhere_is_linked() -> None:
    shown = ColoredImage(PAGE, SOURCE, posted="https://redd.it/abc")
    assert "[the original](https://i.redd.it/abc123.jpg) ([posted here](https://redd.it/abc))." in (
        replies.colored([shown], keep_for=MONTH)
    )


def test_one_of_several_says_so() -> None:
    text = replies.colored([ColoredImage(PAGE, SOURCE, 2)], keep_for=MONTH, total=4)
    assert "It is number 2 of 4: reply with another number or `all` for more." in text


def test_several_have_a_link_each() -> None:
    many = [ColoredImage(f"{PAGE}{n}", f"{SOURCE}?{n}", n) for n in (1, 3)]
    text = replies.colored(many, keep_for=MONTH, total=3, vividness=1.4)
    assert f"[1]({PAGE}1), [3]({PAGE}3)" in text
    assert f"[original 1]({SOURCE}?1), [original 3]({SOURCE}?3)" in text
    assert "More vivid than I would." in text
    assert "Calmer" in replies.colored(many, keep_for=MONTH, vividness=0.7)


def test_that_a_smaller_copy_was_taken_is_said() -> None:
    text = replies.colored([ColoredImage(PAGE, SOURCE, from_preview=True)], keep_for=MONTH)
    assert "The original is too large for me, so I took Reddit’s smaller preview." in text
    some = [ColoredImage(PAGE, SOURCE, 1), ColoredImage(PAGE, SOURCE, 2, from_preview=True)]
    assert "Some originals are too large for me" in replies.colored(some, keep_for=MONTH)
    assert "smaller" not in replies.colored(ONE, keep_for=MONTH)


def test_a_link_ends_where_it_should() -> None:
    text = replies.colored([ColoredImage(PAGE, "https://i.redd.it/a(1).jpg")], keep_for=MONTH)
    assert "https://i.redd.it/a%281%29.jpg" in read_markdown(text).links


def test_a_later_mention_gets_the_link_and_color_is_seen() -> None:
    assert "I have colored this one already, [here in this thread](/r/x/1)." in replies.already_colored(
        "/r/x/1"
    )
    assert "This picture seems to be in color already." in replies.already_in_color()
    assert "Picture 2 of 3 seems to be in color already." in replies.already_in_color(2, 3)
    assert "`recolor`" in replies.already_in_color()
    assert "`recolor 2`" in replies.already_in_color(2, 3)


def test_commands_are_answered() -> None:
    assert "I will neither answer you nor color what you post." in replies.opted_out()
    assert "`opt in` brings me back" in replies.opted_out()
    assert "Welcome back" in replies.opted_in()
    assert "I will not answer in OldPhotos any more." in replies.subreddit_opted_out("OldPhotos")
    assert "I will answer in OldPhotos again" in replies.subreddit_opted_in("OldPhotos")
    assert replies.message_subject() == "About the photograph that you wanted in color"


@pytest.mark.parametrize(
    ("title", "words"),
    [
        (
            "My grandmother in 1931",
            "“My grandmother in 1931”: the photograph in colors that a machine guessed",
        ),
        ("", "the photograph in colors that a machine guessed"),
        ("see https://evil.example/x now", "“see … now”: "),
        ("by u/victim", "“by victim”: "),
        ("\n\n# head\u202e\u0000", "“# head”: "),
        ("grandmother " * 40, "grandmother…”: "),
    ],
)
def test_an_alternative_text_is_plain_short_and_calls_nobody(title: str, words: str) -> None:
    assert words in replies.alt_text(title)
    assert len(replies.alt_text(title)) <= MAX_CAPTION


@pytest.mark.parametrize(
    "text", ["**[a](https://b.example/c_d)**, *e `f` g* h  \ni", "R&D “x” 1 < 2 · *[y](https://z.example)*"]
)
def test_rich_text_says_what_the_markdown_says(text: str) -> None:
    assert read_rich_text(document(f"{text}\n\nmore", "an-id", "shown")) == (
        f"{text}\n\nmore",
        "an-id",
        "shown",
    )


def test_rich_text_for_what_is_no_reply_is_refused() -> None:
    with pytest.raises(ValueError, match="no rich text for"):
        document("- a list", "an-id", "")


def test_nobody_is_called_by_a_title() -> None:
    assert not re.search(r"\b[ur]/\w", replies.escape("by u/victim in r/pics and /u/other"))


def test_long_titles_are_cut_between_words() -> None:
    cut = replies.escape("grandmother " * 40)
    assert cut.endswith("grandmother…")
    assert len(cut) <= replies.MAX_TITLE


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "1 second"), (60, "1 minute"), (61, "2 minutes"), (3600, "1 hour"), (86400 * 30, "30 days")],
)
def test_times_are_said_as_people_say_them(seconds: float, words: str) -> None:
    assert replies.duration(seconds) == words
