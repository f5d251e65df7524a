"""Names of strangers' files: safe, alike, and never the same."""

from __future__ import annotations

from service import filenames


def test_a_name_is_safe_wherever_it_is_unpacked():
    cases = {
        "a.jpg": "a.jpg",
        "/etc/a.jpg": "etc/a.jpg",
        "C:\\Users\\me\\a.jpg": "Users/me/a.jpg",
        "..\\..\\a.jpg": "a.jpg",
        "a\x00\n\x1b[31m.jpg": "a[31m.jpg",
        "a<b>:c|d?.jpg": "a_b__c_d_.jpg",
        "nul": "_nul",
        "Com1.tar.jpg": "_Com1.tar.jpg",
        "console.jpg": "console.jpg",
        "a. /b. ": "a/b",
        "..": "photo",
        "": "photo",
        "Großmutter 1912.jpg": "Großmutter 1912.jpg",
        "e\u0301.jpg": "é.jpg",
    }
    assert {sent: filenames.safe(sent) for sent in cases} == cases
    long = filenames.safe("ä" * 400 + ".jpeg")
    assert len(long.encode()) <= 255
    assert long.endswith("ä.jpeg")


def test_names_are_as_sent_but_for_the_extension_and_never_twice():
    names = filenames.Names()
    sent = ["a.jpg", "a.jpeg", "A.JPG", "a.png", "a.jpg", "b", "b.v2", "b.jpg/c.jpg", "A.jpg/d.gif"]
    assert [names.take(name, ".jpg") for name in sent] == [
        *("a.jpg", "a.jpeg", "A (2).JPG", "a (3).jpg", "a (4).jpg", "b.jpg", "b.v2.jpg"),
        *("b.jpg_/c.jpg", "A.jpg_/d.jpg"),
    ]
