"""Albums of Imgur: opened where the operator has a client id for its API; else people read what to do."""

from __future__ import annotations

import pytest

ALBUM = "https://imgur.com/a/our-wedding-in-1931-aBcDe12"
GALLERY = "https://imgur.com/gallery/our-wedding-aBcDe12"


@pytest.fixture
def bot(here, quick_service):
    return here(
        bot_service_url=quick_service.url, bot_imgur_client_id="an-id", bot_imgur_url=quick_service.url
    )


@pytest.fixture
def images(server, gray_photo):
    """Of an album as Imgur's API says it; the second moves."""
    urls = [server.picture(f"{number}.jpg", gray_photo(size=(64, 40 + number))) for number in (1, 2, 3)]
    return [{"link": url, "animated": number == 1, "type": "image/jpeg"} for number, url in enumerate(urls)]


def test_its_pictures_have_the_numbers_that_people_see(server, bot, ask, quick_service, images):
    quick_service.albums["album/aBcDe12"] = {"id": "aBcDe12", "images": images}
    post = server.person("ann").post("OldPhotos", "An album", url=ALBUM)
    assert images[0]["link"] in ask("ben", post).text
    assert images[2]["link"] in ask("cleo", post, "u/colorizebot 3").text
    assert "That one moves" in ask("dora", post, "u/colorizebot 2").text
    assert quick_service.asked_for == [("album/aBcDe12", "Client-ID an-id")], "it is asked once"


@pytest.mark.parametrize("is_album", [True, False])
def test_a_gallery_may_be_an_album_or_one_picture(server, bot, ask, quick_service, images, is_album):
    quick_service.albums["gallery/aBcDe12"] = {"images": images} if is_album else images[0]
    post = server.person("ann").post("OldPhotos", "What do you think?", text="of this")
    comment = server.person("eve").comment(post, f"Here: {GALLERY}")
    assert images[0]["link"] in ask("ben", comment).text


@pytest.mark.parametrize("answer", [None, {"images": []}, {"images": "none"}, [], {"images": [{}]}])
def test_one_that_cannot_be_read_is_said_in_a_line(server, bot, ask, quick_service, answer):
    quick_service.albums["album/aBcDe12"] = answer
    said = ask("ben", server.person("ann").post("OldPhotos", "An album", url=ALBUM)).text
    assert said.startswith("I cannot look into that album. Link to the one picture itself")
    assert "\n" not in said


def test_without_a_client_id_none_is_asked_for(server, here, ask, quick_service, images):
    quick_service.albums["album/aBcDe12"] = {"images": images}
    bot = here(bot_service_url=quick_service.url, bot_imgur_url=quick_service.url)
    said = ask("ben", server.person("ann").post("OldPhotos", "An album", url=ALBUM), at=bot)
    assert "I cannot look into that album." in said.text
    assert quick_service.asked_for == []


def test_of_a_comment_full_of_albums_few_are_asked_for(server, bot, ask, quick_service):
    links = " ".join(f"https://imgur.com/a/a{number:04}" for number in range(60))
    post = server.person("ann").post("OldPhotos", "Albums", text="below")
    assert "I cannot look into that album." in ask("ben", post, f"u/colorizebot {links}").text
    assert len(quick_service.asked_for) == 5
