"""What people write, and what the bot takes it for."""

from __future__ import annotations

import pytest

from bot.orders import MUTED, VIVID, Order, parse

PLAIN = Order("color")


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
def test_the_name_as_a_word_of_its_own_is_a_summons(body: str) -> None:
    assert parse(body, "auto_chrome_bot") == PLAIN


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
    assert parse(body, "auto_chrome_bot") is None


@pytest.mark.parametrize(
    ("body", "order"),
    [
        ("colorizebot vivid", Order("color", VIVID)),
        ("colorizebot, muted please", Order("color", MUTED)),
        ("vivid colors please, colorizebot", Order("color", VIVID)),
        ("colorizebot 2", Order("color", which=(2,))),
        ("colorizebot #3", Order("color", which=(3,))),
        ("colorizebot the second one", Order("color", which=(2,))),
        ("colorizebot 2nd picture", Order("color", which=(2,))),
        ("colorizebot the last one", Order("color", which=(-1,))),
        ("colorizebot 1,3 and 4", Order("color", which=(1, 3, 4))),
        ("colorizebot 2-4", Order("color", which=(2, 3, 4))),
        ("colorizebot 2 2 2", Order("color", which=(2,))),
        ("colorizebot all of them, vivid", Order("color", VIVID, "all")),
        ("colorizebot both", Order("color", which="all")),
        ("colorizebot vivid, my father would have loved it", Order("color", VIVID)),
        ("colorizebot 2 people are in it", PLAIN),
        ("colorizebot 1944 was the year", PLAIN),
        ("colorizebot 0", PLAIN),
        ("colorizebot 9-2", PLAIN),
        ("colorizebot recolor", Order("recolor")),
        ("colorizebot anyway", Order("recolor")),
        ("colorizebot recolour muted", Order("recolor", MUTED)),
        ("colorizebot delete", Order("delete")),
        ("please delete this, colorizebot", Order("delete")),
        ("colorizebot opt out", Order("opt_out")),
        ("u/colorizebot !optout", Order("opt_out")),
        ("colorizebot opt-out please", Order("opt_out")),
        ("colorizebot opt in", Order("opt_in")),
        ("colorizebot delete the scratches in the sky", PLAIN),
        ("did they delete the old one? colorizebot", PLAIN),
        ("all of us want to see this, colorizebot", PLAIN),
    ],
)
def test_options_and_orders_stand_beside_the_name(body: str, order: Order) -> None:
    assert parse(body, "auto_chrome_bot") == order


@pytest.mark.parametrize(
    ("body", "order"),
    [
        ("delete", Order("delete")),
        ("Delete, please.", Order("delete")),
        ("remove this comment", Order("delete")),
        ("!optout", Order("opt_out")),
        ("opt out", Order("opt_out")),
        ("optin", Order("opt_in")),
        ("vivid", Order("recolor", VIVID)),
        ("muted please", Order("recolor", MUTED)),
        ("2", Order("color", which=(2,))),
        ("all", Order("color", which="all")),
        ("recolor", Order("recolor")),
        ("Nice!\n\nrecolor it, vivid", Order("recolor", VIVID)),
        ("colorizebot 2", Order("color", which=(2,))),
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
def test_what_answers_the_bot_needs_no_name(body: str, order: Order | None) -> None:
    assert parse(body, "auto_chrome_bot", to_bot=True) == order
