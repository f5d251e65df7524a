"""Each kind of picture that a mention can be about is found, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bot.images import (
    AllowedHosts,
    ImageLink,
    album_of,
    find_images,
    image_url,
    is_video,
    linked_post,
    post_of,
)
from bot.models import Comment, Post

TEXT = Post(
    fullname="t3_p1",
    subreddit="OldPhotos",
    author="ann",
    title="My grandmother in 1931",
    url="https://www.reddit.com/r/OldPhotos/comments/p1/my_grandmother_in_1931/",
    over_18=False,
    quarantined=False,
    removed=False,
    locked=False,
    archived=False,
    is_self=True,
    body="",
    gallery=(),
    crosspost_of=None,
    preview=None,
)
LINK = replace(TEXT, is_self=False, url="https://i.redd.it/abc123.jpg")
GALLERY = replace(
    LINK,
    url="https://www.reddit.com/gallery/p1",
    gallery=("https://preview.redd.it/b.jpg?width=1&s=2", "https://preview.redd.it/a.png?width=1&s=2"),
)
ARTICLE = replace(
    LINK,
    url="https://example.org/an-article",
    preview="https://external-preview.redd.it/x.jpg?auto=webp&s=1",
)
VIDEO = replace(LINK, url="https://v.redd.it/abc", preview=ARTICLE.preview)
PARENT = Comment(
    fullname="t1_c1",
    subreddit="OldPhotos",
    author="bob",
    body="And my [grandfather](https://i.imgur.com/grandpa.jpg)!",
    permalink="/r/OldPhotos/comments/p1/x/c1/",
    parent="t3_p1",
    post="t3_p1",
    score=1,
    created=0,
    removed=False,
)


@pytest.mark.parametrize(
    ("body", "parent", "post", "found_in", "urls"),
    [
        ("colorizebot", None, LINK, "link", ["https://i.redd.it/abc123.jpg"]),
        ("colorizebot", None, GALLERY, "gallery", list(GALLERY.gallery)),
        (
            "colorizebot",
            None,
            replace(LINK, url="https://imgur.com/aBcDe12"),
            "link",
            ["https://i.imgur.com/aBcDe12.jpg"],
        ),
        (
            "colorizebot",
            None,
            replace(TEXT, body="Look: https://i.redd.it/1.png and ![x](https://i.redd.it/2.png)"),
            "text",
            ["https://i.redd.it/1.png", "https://i.redd.it/2.png"],
        ),
        (
            "colorizebot",
            None,
            replace(LINK, url="/r/x", crosspost_of=LINK),
            "crosspost",
            ["https://i.redd.it/abc123.jpg"],
        ),
        (
            "colorizebot",
            None,
            replace(LINK, url="/r/x", crosspost_of=GALLERY),
            "crosspost",
            list(GALLERY.gallery),
        ),
        ("colorizebot", None, ARTICLE, "preview", [ARTICLE.preview]),
        ("colorizebot", PARENT, LINK, "parent", ["https://i.imgur.com/grandpa.jpg"]),
        ("colorizebot", replace(PARENT, body="nice"), LINK, "link", ["https://i.redd.it/abc123.jpg"]),
        ("colorizebot", replace(PARENT, removed=True), LINK, "link", ["https://i.redd.it/abc123.jpg"]),
        (
            "colorizebot https://i.imgur.com/mine.png",
            PARENT,
            GALLERY,
            "comment",
            ["https://i.imgur.com/mine.png"],
        ),
        (
            "> https://i.imgur.com/theirs.png\n\ncolorizebot",
            None,
            LINK,
            "link",
            ["https://i.redd.it/abc123.jpg"],
        ),
        (
            "colorizebot [this](https://example.org/page)",
            None,
            LINK,
            "link",
            ["https://i.redd.it/abc123.jpg"],
        ),
    ],
)
def test_the_first_place_that_shows_any_is_what_is_meant(
    body: str, parent: Comment | None, post: Post, found_in: str, urls: list[str]
) -> None:
    found = find_images(body, parent, post)
    assert [picture.url for picture in found] == urls
    assert [(picture.found_in, picture.index) for picture in found] == [
        (found_in, n + 1) for n in range(len(urls))
    ]


@pytest.mark.parametrize(
    "post",
    [
        TEXT,
        VIDEO,
        replace(VIDEO, url="https://www.youtube.com/watch?v=1"),
        replace(VIDEO, url="https://i.imgur.com/aBcDe12.gifv"),
        replace(LINK, url="https://imgur.com/a/aBcDe"),
        replace(LINK, url="https://example.org/an-article"),
    ],
    ids=["text", "video", "youtube", "gifv", "album", "article without preview"],
)
def test_where_there_is_none_none_is_found(post: Post) -> None:
    assert find_images("colorizebot", None, post) == ()


def test_videos_are_told_from_pictures() -> None:
    assert is_video(VIDEO)
    assert is_video(replace(VIDEO, url="https://m.youtube.com/watch?v=1"))
    assert is_video(replace(VIDEO, url="https://i.imgur.com/aBcDe12.GIFV"))
    assert not is_video(LINK)


def test_addresses_that_may_not_be_called_upon_are_passed_over() -> None:
    hosts = AllowedHosts()
    flickr = replace(ARTICLE, url="https://live.staticflickr.com/1/2_b.jpg")
    assert find_images("colorizebot", None, flickr)[0].found_in == "link"
    assert find_images("colorizebot", None, flickr, hosts.allows) == (
        ImageLink("https://external-preview.redd.it/x.jpg?auto=webp&s=1", "preview", 1),
    )
    assert find_images("https://evil.example/a.jpg", None, replace(flickr, preview=None), hosts.allows) == ()


@pytest.mark.parametrize(
    ("link", "picture"),
    [
        ("https://i.redd.it/abc.jpg", "https://i.redd.it/abc.jpg"),
        ("http://i.redd.it/abc.jpg", "https://i.redd.it/abc.jpg"),
        ("https://preview.redd.it/abc?width=640&s=1", "https://preview.redd.it/abc?width=640&s=1"),
        ("https://i.redd.it/", None),
        (
            "https://www.reddit.com/media?url=https%3A%2F%2Fi.redd.it%2Fabc.jpg",
            "https://i.redd.it/abc.jpg",
        ),
        ("https://www.reddit.com/media?url=https%3A%2F%2Fevil.example%2Fabc.jpg", None),
        ("https://www.reddit.com/media?url=https%3A%2F%2F%5B", None),
        ("https://www.reddit.com/media", None),
        ("http://imgur.com/aBcDe12", "https://i.imgur.com/aBcDe12.jpg"),
        ("https://m.imgur.com/aBcDe", "https://i.imgur.com/aBcDe.jpg"),
        ("https://imgur.com/aBcDe12.PNG?1", "https://i.imgur.com/aBcDe12.PNG"),
        ("https://i.imgur.com/aBcDe12", "https://i.imgur.com/aBcDe12.jpg"),
        ("https://imgur.com/our-wedding-in-1931-aBcDe12", "https://i.imgur.com/aBcDe12.jpg"),
        ("https://imgur.com/gallery/our-wedding-in-1931-aBcDe12", None),
        ("https://imgur.com/a/our-wedding-in-1931-aBcDe12", None),
        ("https://imgur.com/t/history/aBcDe12", None),
        ("https://imgur.com/gallery/aBcDe", None),
        ("https://imgur.com/gallery", None),
        ("https://imgur.com/a/aBcDe", None),
        ("https://i.imgur.com/aBcDe12.mp4", None),
        ("https://example.org/Old.JPEG?size=large#top", "https://example.org/Old.JPEG?size=large"),
        ("https://example.org/page", None),
        ("ftp://example.org/a.jpg", None),
        ("javascript:alert(1)//a.jpg", None),
        ("https://[::1/a.jpg", None),
        ("", None),
    ],
)
def test_a_link_leads_to_its_picture(link: str, picture: str | None) -> None:
    assert image_url(link) == picture


@pytest.mark.parametrize(
    ("link", "album"),
    [
        ("https://imgur.com/a/aBcDe", ("album", "aBcDe")),
        ("https://imgur.com/a/our-wedding-in-1931-aBcDe12#3", ("album", "aBcDe12")),
        ("https://m.imgur.com/gallery/our-wedding-aBcDe12/", ("gallery", "aBcDe12")),
        ("https://imgur.com/t/history/aBcDe12", ("gallery", "aBcDe12")),
        ("https://imgur.com/topic/Old_Photos/our-wedding-aBcDe12", ("gallery", "aBcDe12")),
        ("https://imgur.com/our-wedding-in-1931-aBcDe12", None),
        ("https://imgur.com/aBcDe12", None),
        ("https://example.org/a/aBcDe", None),
        ("https://[::1/a/b", None),
    ],
)
def test_albums_of_imgur_are_known_with_words_in_their_addresses(
    link: str, album: tuple[str, str] | None
) -> None:
    assert album_of(link) == album


@pytest.mark.parametrize(
    ("link", "post"),
    [
        ("https://redd.it/1abc2d", "t3_1abc2d"),
        ("https://www.reddit.com/r/OldPhotos/comments/1abc2d/my_grandmother/", "t3_1abc2d"),
        ("https://old.reddit.com/r/OldPhotos/comments/1abc2d?utm_source=share", "t3_1abc2d"),
        ("https://www.reddit.com/comments/1abc2d", "t3_1abc2d"),
        ("https://www.reddit.com/gallery/1abc2d", "t3_1abc2d"),
        ("https://www.reddit.com/user/ann/comments/1abc2d/x", "t3_1abc2d"),
        ("https://www.reddit.com/r/OldPhotos/s/AbCdEf123", "https://www.reddit.com/r/OldPhotos/s/AbCdEf123"),
        ("https://www.reddit.com/r/OldPhotos/comments/1abc2d/x/kk1/", ""),
        ("https://www.reddit.com/r/OldPhotos/", ""),
        ("https://i.redd.it/abc.jpg", ""),
        ("https://evil.example/r/OldPhotos/comments/1abc2d/", ""),
        ("https://[::1/", ""),
    ],
)
def test_links_to_posts_are_known(link: str, post: str) -> None:
    assert post_of(link) == post


def test_a_post_is_linked_to_by_the_comment_before_all_else_and_never_by_itself() -> None:
    leads = replace(LINK, url="https://redd.it/third")
    assert linked_post("colorizebot https://redd.it/first", PARENT, leads) == "t3_first"
    assert linked_post("colorizebot https://i.redd.it/a.jpg https://redd.it/first", None, leads) == ""
    assert linked_post("colorizebot", PARENT, leads) == "", "the comment above shows a picture"
    assert linked_post("colorizebot", replace(PARENT, body="https://redd.it/second"), leads) == "t3_second"
    assert linked_post("colorizebot", None, leads) == "t3_third"
    assert linked_post("colorizebot", None, GALLERY) == ""
    assert linked_post("colorizebot", None, TEXT) == ""


def test_the_same_picture_twice_is_one() -> None:
    body = "https://i.redd.it/a.jpg [again](https://i.redd.it/a.jpg), (https://i.redd.it/b.jpg)."
    assert [picture.url for picture in find_images(body, None, TEXT)] == [
        "https://i.redd.it/a.jpg",
        "https://i.redd.it/b.jpg",
    ]
