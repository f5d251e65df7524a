"""Galleries are numbered as people see them, and of a picture that is too large Reddit's smaller copy is taken."""

from __future__ import annotations

import pytest


@pytest.fixture
def bot(here, quick_service):
    return here(bot_service_url=quick_service.url)


@pytest.fixture
def gallery(server, gray_photo):
    """Failed, a photograph, an animation, missing, a photograph."""
    urls = [server.picture(f"{number}.jpg", gray_photo(size=(64, 40 + number))) for number in range(2)]
    moving = server.picture("moves.gif", b"GIF89a")
    items = [{"status": "failed"}, urls[0], {"gif": moving}, {}, urls[1]]
    return server.person("ann").post("OldPhotos", "An album", gallery=items), urls


def test_numbers_are_those_that_people_see(ask, gallery):
    post, urls = gallery
    first = ask("ben", post).text
    assert urls[0] in first, "without a number it is the first that there is"
    assert "It is number 2 of 5" in first
    assert urls[1] in ask("cleo", post, "u/colorizebot 5").text
    assert urls[1] in ask("dora", post, "u/colorizebot the last one, vivid").text
    for number in (1, 3, 4):
        assert (
            "That one moves or did not make it to Reddit"
            in ask(f"p{number}", post, f"u/colorizebot {number}").text
        )
    assert "I see 5 pictures here" in ask("emil", post, "u/colorizebot 6").text


def test_all_are_those_that_show_something(ask, gallery, quick_service):
    post, urls = gallery
    said = ask("ben", post, "u/colorizebot all").text
    assert [url in said for url in urls] == [True, True]
    assert "[2](" in said
    assert "[5](" in said
    assert len(quick_service.jobs) == 2


def test_in_a_crosspost_of_a_gallery_they_are_the_same(server, ask, gallery):
    post, urls = gallery
    crosspost = server.person("carl").post("pics", "Look", crosspost_of=post)
    assert urls[1] in ask("ben", crosspost, "u/colorizebot 5").text


def test_where_nothing_is_still_it_is_said(server, ask):
    items = [{"status": "failed"}, {"gif": server.picture("moves.gif", b"GIF89a")}]
    post = server.person("ann").post("OldPhotos", "An album", gallery=items)
    assert "I only know how to color still pictures" in ask("ben", post).text


@pytest.mark.parametrize("in_gallery", [False, True])
def test_of_sixty_megapixels_the_preview_is_taken_and_said(
    server, ask, gray_photo, quick_service, in_gallery
):
    large, small = gray_photo(size=(90, 60)), gray_photo(size=(45, 30))
    quick_service.too_large.add(large)
    url, smaller = server.picture("large.jpg", large), server.picture("small.jpg", small)
    shown = (
        {"gallery": [{"u": url, "smaller": smaller}]}
        if in_gallery
        else {"url": url, "preview": url, "smaller": [smaller]}
    )
    post = server.person("ann").post("OldPhotos", "A scan", **shown)
    said = ask("ben", post).text
    assert "The original is too large for me, so I took Reddit’s smaller preview." in said
    assert f"[the original]({url})" in said
    assert len(quick_service.jobs) == 1


def test_without_a_preview_it_is_said_that_it_is_too_large(server, ask, shown, gray_photo, quick_service):
    large = gray_photo(size=(90, 60))
    quick_service.too_large.add(large)
    assert "too large for me" in ask("ben", shown(data=large)).text
    assert quick_service.jobs == {}
