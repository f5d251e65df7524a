"""What people write, and what the bot takes it for."""

from __future__ import annotations

import pytest

from bot.commands import MUTED, VIVID, Command, parse_command

PLAIN = Command("color")


@pytest.mark.parametrize(
    "body",
    [
        "colorizebot",
        "ColorizeBot!",
        "colourizebot",
        "!colorizebot",
        "u/colorizebot",
        "/u/colorizebot please",
        "@colorizebot",
        "**colorizebot**",
        "[u/colorizebot](https://www.reddit.com/user/colorizebot)",
        "What a lovely picture.\n\ncolorizebot",
        "Somebody call colorizebot, I want to see grandma's dress",
        "(colorizebot)",
        "hey u/auto\\_chrome\\_bot",
        "u/auto_chrome_bot could you color this photo please?",
        "> said before\n\ncolorizebot",
        ">!colorizebot!<",
        "# colorizebot",
        "- colorizebot",
        "colorizebot thanks!",
        "colorizebot can you do this",
    ],
)
def test_the_name_as_a_word_of_its_own_is_a_select(body: str) -> None:
    assert parse_command(body, "auto_chrome_bot") == PLAIN


@pytest.mark.parametrize(
    "body",
    [
        "",
        "a lovely picture",
        "colorizebots",
        "mycolorizebot",
        "colorizebot2",
        "colorizebot's colors are odd",
        "colorizebot.com is down",
        "colorizebot-like things",
        "r/colorizebot",
        "see https://example.com/colorizebot",
        "https://example.com/?q=colorizebot",
        "> colorizebot",
        ">colorizebot",
        "> > colorizebot\n\nno, thanks",
        "`colorizebot`",
        "```\ncolorizebot\n```",
        "    colorizebot",
        "~~colorizebot~~",
        "thanks colorizebot!",
        "Good bot, colorizebot",
        "u/auto_chrome_bot_fan",
        "auto_chrome_bot_",
        "delete",
        "opt out",
        "vivid 2",
        "\x00",
        "[" * 30_000,
    ],
)
def test_else_nothing_is_asked(body: str) -> None:
    assert parse_command(body, "auto_chrome_bot") is None


@pytest.mark.parametrize(
    ("body", "command"),
    [
        ("colorizebot vivid", Command("color", VIVID)),
        ("colorizebot, muted please", Command("color", MUTED)),
        ("vivid colors please, colorizebot", Command("color", VIVID)),
        ("colorizebot 2", Command("color", which=(2,))),
        ("colorizebot #3", Command("color", which=(3,))),
        ("colorizebot the second one", Command("color", which=(2,))),
        ("colorizebot 2nd picture", Command("color", which=(2,))),
        ("colorizebot the last one", Command("color", which=(-1,))),
        ("colorizebot 1,3 and 4", Command("color", which=(1, 3, 4))),
        ("colorizebot 2-4", Command("color", which=(2, 3, 4))),
        ("colorizebot 2 2 2", Command("color", which=(2,))),
        ("colorizebot all of them, vivid", Command("color", VIVID, "all")),
        ("colorizebot both", Command("color", which="all")),
        ("colorizebot vivid, my father would have loved it", Command("color", VIVID)),
        ("colorizebot 2 people are in it", PLAIN),
        ("colorizebot 1944 was the year", PLAIN),
        ("colorizebot 0", PLAIN),
        ("colorizebot 9-2", PLAIN),
        ("colorizebot recolor", Command("recolor")),
        ("colorizebot anyway", Command("recolor")),
        ("colorizebot recolour muted", Command("recolor", MUTED)),
        ("colorizebot delete", Command("delete")),
        ("please delete this, colorizebot", Command("delete")),
        ("colorizebot opt out", Command("opt_out")),
        ("u/colorizebot !optout", Command("opt_out")),
        ("colorizebot opt-out please", Command("opt_out")),
        ("colorizebot opt in", Command("opt_in")),
        ("colorizebot delete the scratches in the sky", PLAIN),
        ("did they delete the old one? colorizebot", PLAIN),
        ("all of us want to see this, colorizebot", PLAIN),
    ],
)
def test_options_and_commands_stand_beside_the_name(body: str, command: Command) -> None:
    assert parse_command(body, "auto_chrome_bot") == command


@pytest.mark.parametrize(
    ("body", "command"),
    [
        ("delete", Command("delete")),
        ("Delete, please.", Command("delete")),
        ("remove this comment", Command("delete")),
        ("!optout", Command("opt_out")),
        ("opt out", Command("opt_out")),
        ("optin", Command("opt_in")),
        ("vivid", Command("recolor", VIVID)),
        ("muted please", Command("recolor", MUTED)),
        ("2", Command("color", which=(2,))),
        ("all", Command("color", which="all")),
        ("recolor", Command("recolor")),
        ("Nice!\n\nrecolor it, vivid", Command("recolor", VIVID)),
        ("colorizebot 2", Command("color", which=(2,))),
        ("good bot", None),
        ("thank you!", None),
        ("good color", None),
        ("why did you delete it?", None),
        ("don't delete", None),
        ("> delete", None),
        ("2 of them are my aunts", None),
        ("all wrong", None),
        ("10/10", None),
    ],
)
def test_what_answers_the_bot_needs_no_name(body: str, command: Command | None) -> None:
    assert parse_command(body, "auto_chrome_bot", in_reply=True) == command
