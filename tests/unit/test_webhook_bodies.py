"""What is read in a webhook's body: bodies of real senders, and every slip of a hand-written template."""

from decimal import Decimal
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from connector.pisano import read_body
from connector.pisano._mending import mended

FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data"
MARKS = ["other_quotation_marks"]


def read(
    body: bytes | str, content_type: str = "application/json", charset: str | None = None
) -> tuple[Any, list[str]]:
    """The only value in the body, and what was done to read it."""
    found = read_body(body if isinstance(body, bytes) else body.encode(), content_type, charset)
    [value] = found.values
    return value, list(found.not_strict)


@pytest.mark.parametrize(
    "body",
    [
        b'{"nps_score": "9", "comment": ""}',
        b'\xef\xbb\xbf{"nps_score": "9", "comment": ""}',  # some editors put a byte order mark before a template
        b'\r\n {"nps_score":"9","comment":""}\n',
    ],
)
def test_a_strict_body_is_read_as_it_came(body: bytes) -> None:
    assert read(body) == ({"nps_score": "9", "comment": ""}, [])
    assert read(body, "text/plain", "utf-8") == ({"nps_score": "9", "comment": ""}, [])
    assert read(body, FORM) == ({"nps_score": "9", "comment": ""}, [])  # what curl names when nobody says otherwise


@pytest.mark.parametrize(
    ("body", "comment", "done"),
    [
        ('{"comment": "one\ntwo"}', "one\ntwo", "line_break"),
        ('{"comment": "one\r\n\r\ntwo\tthree"}', "one\r\n\r\ntwo\tthree", "line_break"),
        ('{"comment": "\x00\x0b"}', "\x00\x0b", "line_break"),
        ('{"comment": "she said "never""}', 'she said "never"', "quotation_mark"),
        ('{"comment": ""great"", "n": 1}', '"great"', "quotation_mark"),
        ('{"comment": "a 5" screen", "n": 1}', 'a 5" screen', "quotation_mark"),
        ('{"n": 1, "comment": "he said "no", then left"}', 'he said "no", then left', "quotation_mark"),
        ('{"comment": "he said "no", "never" and left", "n": 1}', 'he said "no", "never" and left', "quotation_mark"),
        ('{"comment": "a": b", "n": 1}', 'a": b', "quotation_mark"),
        ('{"comment": "x",}', "x", "trailing_comma"),
        ('{"comment": "x", "score": , "n": 1}', "x", "no_value"),
        ('{"n": NaN, "comment": "NaN, Infinity"}', "NaN, Infinity", "not_a_number"),
        ('{"n": -Infinity, "comment": "x"}', "x", "not_a_number"),
        ('{"comment": "C:\\docs \\d"}', "C:\\docs \\d", "backslash"),
        ('{"comment": "half \\ud83d"}', "half \ufffd", "half_character"),
        ('{"comment": "\\ud83d\\ude00 and half \\ude00"}', "\U0001f600 and half \ufffd", "half_character"),
        ('{"comment": "he wrote {"x": "y"} to us", "n": 1}', 'he wrote {"x": "y"} to us', "quotation_mark"),
        ('{"comment": "x", "n": N/A }', "x", "no_quotation_marks"),
        ('{"n": 007, "comment": "x"}', "x", "no_quotation_marks"),
        ('{"n": None, "ok": True, "comment": "None, True"}', "None, True", "word"),
        ('{"n": nil, "comment": "x"}', "x", "word"),
        ("{'comment': 'fine', 'n': 9}", "fine", "other_quotation_marks"),
        ("{'comment': 'she said \"never\"'}", 'she said "never"', "other_quotation_marks"),
        (r"{'comment': 'it\'s'}", "it's", "other_quotation_marks"),
    ],
)
def test_the_slips_of_a_template_are_mended_and_told(body: str, comment: str, done: str) -> None:
    value, not_strict = read(body)
    assert (value["comment"], not_strict) == (comment, [done])


@pytest.mark.parametrize(
    "body",
    [
        '{"comment": "x", "n": "1" y", "n": "9"}',  # a customer's text looks like the next field
        '{"path": "C:\\", "n": "9"}',  # the text may end at the backslash, or after it
        '{"comment": "she said "never"',
        '{"n": 9',
        '{"n": 9,5}',
        "{'n': 'it's', 'm': 'y'}, 'n': 'z'}",
        "{'n': 'x' 'y': 'z'}",
        '{"comment": "x" "n": 2}',
        '{"comment": "x"\n "n": "y"}',
        '{"n": "1"}{"n": "2"}',
        "{n: 1, m: a, b: c}",
        "nine",
        " \n",
        "{'a': 'b\"}",
        '{"a": O\'Neil, "b": "x"}',
        "<html>",
    ],
)
def test_what_has_more_than_one_reading_is_refused_with_the_line_to_write(body: str) -> None:
    with pytest.raises(ValueError, match=r"not JSON.*write free text like this.*url_encode"):
        read(body)


@pytest.mark.parametrize(
    ("body", "value", "done"),
    [
        ("{'n': 'it's'}", {"n": "it's"}, ["other_quotation_marks", "quotation_mark"]),
        ("{'a': \"it's\", 'b': ['x', \"y's\"], 'c': 'z'}", {"a": "it's", "b": ["x", "y's"], "c": "z"}, []),
        ("{'a': 'C:\\\\x \\n \\'q\\' \\\"w\\\"', 'b': 1}", {"a": "C:\\x \n 'q' \"w\"", "b": 1}, []),
        ('{“a”: “he said "no"”, “b”: 9}', {"a": 'he said "no"', "b": 9}, []),
        ("{'n': None, 'ok': True, 'list': [False, nil],}", {"n": None, "ok": True, "list": [False, None]}, None),
        ("{'a': {'b': ['\"']}}", {"a": {"b": ['"']}}, ["other_quotation_marks"]),
        ("{'n': 1, 'n': 2}", {"n": 2}, ["other_quotation_marks", "repeated_key:n"]),
        ("{'price': 9.50, 'phone': 905321234567123456789012}", None, ["other_quotation_marks"]),
        ('{"n": [1, None, 2.50]}', {"n": [1, None, Decimal("2.50")]}, ["word"]),
    ],
)
def test_single_quotation_marks_and_the_words_of_other_languages(body: str, value: object, done: Any) -> None:
    found, not_strict = read(body)
    assert found == (value or {"price": Decimal("9.50"), "phone": 905321234567123456789012})
    assert not_strict == (done or (["other_quotation_marks", "trailing_comma", "word"] if done is None else MARKS))


def test_objects_on_lines_of_their_own_are_one_answer_each() -> None:
    body = b'\xef\xbb\xbf{"n": 9.50, "c": "\\u2028"}\r\n\n{"n": 1, "n": 2}\n'
    found = read_body(body, "application/x-ndjson")
    assert found.values == [{"n": Decimal("9.50"), "c": "\u2028"}, {"n": 2}]
    assert found.not_strict == ("lines", "repeated_key:n")
    with pytest.raises(ValueError, match="not JSON"):
        read_body(b'{"n": 1}\n{"n": 2\n')
    with pytest.raises(ValueError, match="1 to 500"):
        read_body(b'{"n": 1}\n' * 501)


def test_every_digit_stays_also_in_a_mended_body() -> None:
    body = '{"phone": 905321234567123456789012, "price": 9.50, "big": 1e400, "comment": "one\ntwo",}'
    value, _ = read(body)
    assert value["phone"] == 905321234567123456789012
    assert (value["price"], value["big"]) == (Decimal("9.50"), Decimal("1E+400"))


def test_a_key_that_is_there_twice_is_told_and_the_last_one_counts() -> None:
    body = b'{"nps_score":"9","comment":"first","comment":"second","nps_score":"1"}'
    assert read(body) == (
        {"nps_score": "1", "comment": "second"},
        ["repeated_key:nps_score", "repeated_key:comment"],
    )
    assert read(b"comment=first&comment=second&a=", FORM) == (
        {"comment": "second", "a": ""},
        ["form", "repeated_key:comment"],
    )


@pytest.mark.parametrize(
    ("body", "charset", "value"),
    [
        (
            b"nps_score=9&comment=l%C3%A2f+%26+more&empty=",
            None,
            {"nps_score": "9", "comment": "lâf & more", "empty": ""},
        ),
        (b"comment=%DE%FD", "windows-1254", {"comment": "Şı"}),
        (b"payload=%7B%22nps_score%22%3A%22a%0Ab%22%7D", None, {"nps_score": "a\nb"}),
        (b"payload=%7B%22nps_score%22%3A9%7D&sent=1", None, {"nps_score": 9}),
        (b"body=%7B%22nps_score%22%3A9%7D", None, {"nps_score": 9}),
        (b"%7b%22nps_score%22%3A+%22a%26b%3D%C3%A2%22%7D", None, {"nps_score": "a&b=â"}),
    ],
)
def test_a_form_is_read(body: bytes, charset: str | None, value: object) -> None:
    found, not_strict = read(body, FORM, charset)
    assert found == value
    assert "form" in not_strict


def parts(*fields: tuple[str, bytes], line: bytes = b"\r\n") -> bytes:
    """A multipart form; a field's name may be followed by more of its head."""
    head = 'Content-Disposition: form-data; name="%s'
    lines = [line.join([b"--x", (head % name).encode(), b"", content]) for name, content in fields]
    return line.join([*lines, b"--x--", b""])


@pytest.mark.parametrize("line", [b"\r\n", b"\n"])
def test_a_multipart_form_is_read(line: bytes) -> None:
    comment = "lâf\r\n--x is no boundary\n\n--".encode()
    body = parts(('nps_score"', b"9"), ('comment"', comment), ('empty"', b""), line=line)
    value = {"nps_score": "9", "comment": comment.decode(), "empty": ""}
    assert read(body, MULTIPART) == (value, ["form"])
    assert read(b"\r\n" + body, MULTIPART) == (value, ["form"])
    assert read(b'{"nps_score": "9"}', MULTIPART) == ({"nps_score": "9"}, [])


def test_what_the_fields_of_a_multipart_form_hold() -> None:
    json_in_it = parts(('payload"', b'{"nps_score": 9.50}'), ('sent"', b"1"))
    assert read(json_in_it, MULTIPART) == ({"nps_score": Decimal("9.50")}, ["form"])
    turkish = parts(('comment"\r\nContent-Type: text/plain; charset=windows-1254', b"\xde\xfd"), ('n"', b"9"))
    assert read(turkish, MULTIPART) == ({"comment": "Şı", "n": "9"}, ["form"])
    assert read(parts(('comment"', b"\xde"), ('n"', b"9")), MULTIPART, "cp1254")[0] == {"comment": "Ş", "n": "9"}
    photo = parts(('photo"; filename="a.jpg"', b"\xff\xd8\xff"), ('n"', b"9"))
    assert read(photo, MULTIPART) == ({"photo": None, "n": "9"}, ["form", "no_text:photo"])
    assert read(parts(('ş \\"q\\""', b"1"), ('n"', b"2"), ('n"', b"3")), MULTIPART) == (
        {'ş "q"': "1", "n": "3"},
        ["form", "repeated_key:n"],
    )


@pytest.mark.parametrize(
    "body",
    [
        parts(('n"', b"9"))[:-5],  # cut off
        b"--x\r\n\r\n9\r\n--x--",  # without a name
        b"--x\r\nno head\r\n--x--",
        b"--x--",
        b"--",
        b"----",
        parts(*[('n"', b"9")] * 1001),
    ],
)
def test_a_multipart_form_that_is_none_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"not a form|1 to 500|no fields"):
        read(body, MULTIPART)


@given(st.dictionaries(st.from_regex(r"[a-zş ]{1,9}", fullmatch=True), st.text(), min_size=2, max_size=5))
def test_no_letter_of_a_multipart_form_changes(fields: dict[str, str]) -> None:
    """Other than a text that would end its field."""
    try:
        given = {name: text.encode() for name, text in fields.items() if "--x" not in text}
    except UnicodeEncodeError:
        return
    if len(given) > 1 and "payload" not in given:
        found = read(parts(*[(f'{name}"', text) for name, text in given.items()]), MULTIPART)
        assert found == ({name: text.decode() for name, text in given.items()}, ["form"])


@pytest.mark.parametrize("charset", ["windows-1254", "iso-8859-9", "utf-16", "utf-16-le", "utf-32", "CP1254"])
def test_the_charset_of_the_header_is_used(charset: str) -> None:
    value, not_strict = read('{"comment": "İğneş"}'.encode(charset), charset=charset)
    assert value == {"comment": "İğneş"}
    assert not_strict[0].startswith("charset:")


@pytest.mark.parametrize("charset", [None, "klingon", "base64", "unicode_escape", "utf-8\x00", ""])
def test_without_a_known_charset_the_first_bytes_show_which_unicode_it_is(charset: str | None) -> None:
    for encoding in ("utf-8", "utf-16", "utf-16-be"):
        assert read('{"comment": "ş"}'.encode(encoding), charset=charset)[0] == {"comment": "ş"}


@pytest.mark.parametrize(
    ("body", "charset"), [(b'{"c": "\xff"}', None), (b'{"c": "\xfe"}', "utf-8"), (b"\x81", "cp1254")]
)
def test_bytes_that_are_no_text_are_refused(body: bytes, charset: str | None) -> None:
    with pytest.raises(ValueError, match="not text in"):
        read(body, charset=charset)


def test_json_in_a_json_text_is_read() -> None:
    inner = '{"nps_score": "9", "comment": "one\ntwo"}'
    assert read(orjson.dumps(inner)) == ({"nps_score": "9", "comment": "one\ntwo"}, ["json_in_text", "line_break"])
    assert read(orjson.dumps(orjson.dumps("{}").decode())) == ({}, ["json_in_text"])


def test_an_array_holds_one_answer_or_several() -> None:
    assert read(b'[{"a": 1}]') == ({"a": 1}, ["array"])
    assert read_body(b'[{"a": 1}, {"a": 2}, 3]').values == [{"a": 1}, {"a": 2}, 3]
    for body in (b"[]", b"[%s{}]" % (b"{}," * 500)):
        with pytest.raises(ValueError, match="1 to 500"):
            read(body)


@pytest.mark.parametrize(
    "body", [b"[" * 5000, b'{"a":' * 101 + b"1" + b"}" * 101, b"[" + b"9" * 5000 + b"]", b"[1e99999]"]
)
def test_what_is_too_deep_or_too_large_a_number_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match="not JSON"):
        read(body)


def test_a_refusal_says_no_value() -> None:
    with pytest.raises(ValueError, match="not JSON") as caught:
        read('{"email": "jane@example.com", "comment": "she said "never"')
    assert "jane" not in str(caught.value)
    assert "never" not in str(caught.value)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


@given(st.dictionaries(st.sampled_from(["a", "b", "c", "d"]), st.text("a \"'\n\t,:{}[]\\ş", max_size=20), min_size=1))
def test_a_body_typed_by_liquid_is_read_as_meant_or_refused(answers: dict[str, str]) -> None:
    """Liquid puts each text between quotation marks as it is. A text with a backslash may mean its escape."""
    body = "{" + ", ".join(f'"{name}": "{text}"' for name, text in answers.items()) + "}"
    try:
        value, not_strict = read(body)
    except ValueError:
        return
    if not any("\\" in text for text in answers.values()):
        assert value == answers, not_strict


@given(st.text('{}[]",:\\ \n0aN', max_size=40))
@example('"a::,"')  # a text that is the whole body
def test_mending_never_drops_a_letter_and_leaves_strict_json_alone(text: str) -> None:
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return
    assert orjson.loads(mended(text)[0]) == value
