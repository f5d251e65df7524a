"""What people write, and what the bot takes it for."""

from __future__ import annotations

import pytest

from bot.commands import MUTED, VIVID, Command, parse_command

PLAIN = Command("color")

SUMMONS = [
    "colorizebot",
    "Colorizebot?",
    "u/colorizebot!!",
    "Hey /u/colorizebot, please!",
    "please u/colorizebot",
    "u/colorizebot pretty please 🙏",
    "u/colorizebot ❤️",
    "u/colorizebot thank you so much",
    "u/colorizebot, thanks in advance!",
    "hi u/colorizebot, could you please color this picture for me? Thanks!",
    "u/colorizebot can you colorize this one",
    "u/colorizebot do it",
    "u/colorizebot again please",
    "u/colorizebot in color please",
    "u/colorizebot &#x200B;",
    "u/colorizebot color it please",
    "What a face he has.\n\nu/colorizebot please",
    "Thanks for posting this!\n\nu/colorizebot",
    "I hate colorizebot, but let us see:\n\nu/colorizebot",
    "> I hate u/colorizebot\n\nu/colorizebot",
    "u/colorizebot https://i.redd.it/abc123.jpg",
    "u/colorizebot [my grandfather in 1944](https://i.imgur.com/abcde12.jpg) please",
    "https://i.redd.it/abc123.jpg u/colorizebot",
    "u/colorizebot bitte",
    "Bitte, u/colorizebot. Danke!",
    "u/colorizebot s’il vous plaît",
    "u/colorizebot svp, merci beaucoup",
    "hola u/colorizebot, por favor",
    "u/colorizebot por favor, muchas gracias",
    "u/colorizebot per favore, grazie mille",
    "u/colorizebot por favor, obrigada",
    "u/colorizebot alsjeblieft, dank je wel",
    "u/colorizebot tack",
    "u/colorizebot proszę",
    "u/colorizebot пожалуйста",
    "u/colorizebot お願いします",
    "u/colorizebot lütfen",
]

TALK = [
    "Please don't call colorizebot on this one",
    "Please don’t call u/colorizebot.",
    "no colorizebot please",
    "not u/colorizebot again",
    "I hate colorizebot",
    "I love u/colorizebot",
    "I love u/colorizebot, please color it",
    "Why did nobody ask colorizebot?",
    "Somebody call colorizebot, I want to see grandma's dress",
    "colorizebot would make a mess of this",
    "u/colorizebot got the uniform wrong",
    "u/colorizebot it was green, my mother says",
    "colorizebot is down, u/colorizebot please come back",
    "colorizebot vivid, my father would have loved it",
    "colorizebot 2 people are in it",
    "colorizebot 1944 was the year",
    "colorizebot 0",
    "colorizebot 9-2",
    "colorizebot or palette.fm?",
    "u/colorizebot u/savevideo",
    "good bot u/colorizebot",
    "bad bot, colorizebot",
    "colorizebot 👎",
    "thanks u/colorizebot",
    "Thank you so much, u/colorizebot!!",
    "Danke u/colorizebot",
    "merci u/colorizebot!",
    "Thank you, ben, for voting on colorizebot.",
    "Thank you, ben, for voting on colorizebot.\n\nThis bot wants to find the best and worst bots. You can view results here.",
    "| rank | bot |\n|:--|:--|\n| 1 | colorizebot |",
    "The best bots of this month:\n\n1. savevideo\n2. colorizebot\n3. remindme",
    "- u/colorizebot",
    "> u/colorizebot please\n\nIt will not come, I think.",
    "    u/colorizebot please",
    "```\nu/colorizebot please\n```",
    "`u/colorizebot please`",
    "write `u/colorizebot` below a picture",
    "u/colorizebot `git log`",
    "~~u/colorizebot please~~ never mind",
    "[Why colorizebot failed](https://example.org/colorizebot)",
    "https://www.reddit.com/user/colorizebot/",
    "see https://example.org/a about u/colorizebot",
    "did they delete the old one? colorizebot",
    "colorizebot delete the scratches in the sky",
    "all of us want to see this, colorizebot",
    "I was going to opt out of colorizebot",
    "How do I opt out, colorizebot?",
]


@pytest.mark.parametrize("body", SUMMONS)
def test_a_summons_is_the_name_with_options_and_courtesy(body: str) -> None:
    assert parse_command(body, "colorizebot") == PLAIN


@pytest.mark.parametrize("body", TALK)
@pytest.mark.parametrize("in_reply", [False, True])
def test_talk_is_no_summons(body: str, in_reply: bool) -> None:
    assert parse_command(body, "colorizebot", in_reply=in_reply) is None


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
        "(colorizebot)",
        "hey u/auto\\_chrome\\_bot",
        "u/auto_chrome_bot could you color this photo please?",
        "> said before\n\ncolorizebot",
        ">!colorizebot!<",
        "# colorizebot",
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
        ("colorizebot color this one vivid, thanks", Command("color", VIVID)),
        ("colorizebot with vivid colors please", Command("color", VIVID)),
        ("colorizebot pictures 2 and 3", Command("color", which=(2, 3))),
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
        ("colorizebot recolor", Command("recolor")),
        ("colorizebot anyway", Command("recolor")),
        ("colorizebot recolour muted", Command("recolor", MUTED)),
        ("colorizebot delete", Command("delete")),
        ("please delete this, colorizebot", Command("delete")),
        ("u/colorizebot please delete this, it is my mother", Command("delete")),
        ("colorizebot opt out", Command("opt_out")),
        ("u/colorizebot !optout", Command("opt_out")),
        ("colorizebot opt-out please", Command("opt_out")),
        ("colorizebot opt in", Command("opt_in")),
    ],
)
def test_options_and_commands_stand_beside_the_name(body: str, command: Command) -> None:
    assert parse_command(body, "auto_chrome_bot") == command


@pytest.mark.parametrize(
    ("body", "command"),
    [
        ("delete", Command("delete")),
        ("Delete, please.", Command("delete")),
        ("Please delete this, I did not want it on the web", Command("delete")),
        ("please delete this photo of my mother", Command("delete")),
        ("Hi! Can you delete this? Thanks", Command("delete")),
        ("please take this down, she is a private person", Command("delete")),
        ("bitte delete", Command("delete")),
        ("opt me out", Command("opt_out")),
        ("1", Command("color", which=(1,))),
        ("please\n\nvivid", Command("recolor", VIVID)),
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
        ("thanks all!", None),
        ("thank you both", None),
        ("u/colorizebot thank you!", None),
        ("danke!", None),
        ("why did you delete it?", None),
        ("please do not delete this", None),
        ("delete the scratches", None),
        ("remove this if it is wrong? no, leave it", None),
        ("don't delete", None),
        ("> delete", None),
        ("2 of them are my aunts", None),
        ("all wrong", None),
        ("10/10", None),
    ],
)
def test_what_answers_the_bot_needs_no_name(body: str, command: Command | None) -> None:
    assert parse_command(body, "auto_chrome_bot", in_reply=True) == command
