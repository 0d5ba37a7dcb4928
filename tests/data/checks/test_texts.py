"""What may be wrong with one text by itself."""

import pytest

from tuner.data.checks.private import is_card
from tuner.data.checks.screen import Screen, fold
from tuner.data.checks.texts import Limit, find_flaws, find_mojibake, mended
from tuner.data.checks.wide import WideScreen


def found(*texts):
    """Row, offset and rule of every flaw of some texts, among others that have none."""
    screen = Screen(["a good text", *texts, "Ein guter Text für alle"])
    flaws = find_flaws("output", screen, Limit(None))
    return [(flaw.row - 1, flaw.offset, flaw.rule) for flaw in flaws]


@pytest.mark.parametrize(
    "character", [chr(code) for code in (0, 1, 8, 11, 12, 14, 27, 31, 127, 0x80, 0x9F, 0xFEFF, 0xFFFF)]
)  # fmt: skip
def test_a_control_character_is_named_where_it_is(character):
    (flaw,) = find_flaws("output", Screen(["fine", f"on{character}e{character}"]), Limit(None))

    assert (flaw.row, flaw.offset, flaw.rule) == (1, 2, "control-character")
    assert f"U+{ord(character):04X}" in flaw.what
    assert "1 more" in flaw.what


@pytest.mark.parametrize("text", ["a\tb", "a\r\nb\n", "\u200b", "a\u00a0b", "\U0001f600", "\u202b"])
def test_tabs_line_ends_and_what_scripts_need_are_no_control_characters(text):
    assert found(text) == []


@pytest.mark.parametrize(
    "text",
    [
        "Café",
        "naïve",
        "it\u2019s “new” \u2013 really…",
        "für",
        "Ђорђе",
        "Привет",
        "日本語",
        "🙂",
        "5 €",
        "à",
        "É",
    ],
)
@pytest.mark.parametrize("encoding", ["cp1252", "latin-1"])
def test_what_was_decoded_wrongly_is_found_and_mended(text, encoding):
    try:
        wrong = f"x {text.encode().decode(encoding)} y"
    except UnicodeDecodeError:
        pytest.skip("cp1252 has no such characters")

    start, end = find_mojibake(wrong)

    assert wrong[start:end]
    assert mended(wrong[start:end]) in text
    assert [rule for _, _, rule in found(wrong)] == ["mojibake"]


@pytest.mark.parametrize(
    "text",
    [
        "Où est le café ? « À côté. »",
        "Viel „Spaß“ mit „Öl“ und Ü”",
        "«AMANHÃ» e «CAFÉ»",
        "â la carte",
        "São João, NÃO",
        "Ð ð Þ",
        "Größe É» Ñ” ä“",
    ],
)
def test_accents_and_quotes_are_no_mojibake(text):
    assert found(text) == []


def test_a_lost_byte_is_told():
    assert found("caf\ufffd") == [(0, 3, "mojibake")]


SECRETS = [
    "sk-proj-aB3dE6gH9jK2mN5pQ8sT1vW4",
    "sk-ant-api03-aB3dE6gH9jK2mN5pQ8sT1vW4",
    "AIzaSyA1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6q",
    "AKIAIOSFODNN7EXAMPLE",
    "ASIAIOSFODNN7EXAMPLE",
    "ghp_aB3dE6gH9jK2mN5pQ8sT1vW4yZ7x0123QQQQ",
    "github_pat_11ABCDEFG0abcdefghij_klmnop",
    "hf_aB3dE6gH9jK2mN5pQ8sT1vW4yZ7x01",
    "sk_live_aB3dE6gH9jK2mN5pQ8sT1vW4",
    "xoxb-123456789012-abcdefABCDEF",
    "glpat-aB3dE6gH9jK2mN5pQ8sT",
    "-----BEGIN RSA PRIVATE KEY-----",
    "://ana:s3cret@db.example.com",
]


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("many", [0, 500])
def test_a_secret_is_found_alone_and_among_many_and_not_repeated(secret, many):
    other = "K z S x G - _ @ " * 3  # of what it is told by, too much to look at each
    screen = Screen([*[other] * many, f"it is {secret}, ok"])

    (flaw,) = [each for each in find_flaws("output", screen, Limit(None)) if each.rule == "secret"]

    assert (flaw.row, flaw.offset) == (many, 6)
    assert secret not in flaw.what + flaw.fix


@pytest.mark.parametrize(
    "text",
    [
        "sk-learn is fine",
        "sk-xxxxxxxxxxxxxxxxxxxxxxxx",
        "a task-oriented desk-sharing",
        "AKIA",
        "ghp_short",
        "https://example.com/a@b",
        "https://user:${PASSWORD}@host",
        "-----BEGIN CERTIFICATE-----",
        "1234 5678 9012 3456",
        "4111111111111112",
        "978-3-16-148410-0",
        "0.4111111111111111",
        "2026-11-22 12:30:45",
        "a@b",
        "@ana",
    ],
)
def test_what_only_looks_a_little_like_a_secret_is_none(text):
    assert found(text) == []


@pytest.mark.parametrize(
    "card",
    ["4111111111111111", "4111 1111 1111 1111", "5555-5555-5555-4444", "378282246310005", "3782 822463 10005", "4222222222222"],
)  # fmt: skip
@pytest.mark.parametrize("shift", range(4))
def test_a_card_number_is_found_wherever_it_begins(card, shift):
    assert found("x" * shift + " " + card) == [(0, shift + 1, "personal-data")]
    assert is_card("".join(filter(str.isdigit, card)))


def test_an_address_is_found_at_every_place():
    assert found("ana@example.com or Bo.Li+x@mail.example.co.uk.") == [
        (0, 0, "personal-data"), (0, 19, "personal-data"),
    ]  # fmt: skip


def test_what_is_ignored_is_not_looked_for():
    screen = Screen(["\x01 CafÃ© ana@example.com AKIAIOSFODNN7EXAMPLE"])
    rules = {flaw.rule for flaw in find_flaws("output", screen, Limit(None))}

    assert len(rules) == 4
    assert list(find_flaws("output", screen, Limit(None), rules)) == []


TEXTS = [
    "A b",
    " a  B ",
    "a\tb\n",
    "ab",
    "é É",
    "É é",
    "STRASSE",
    "straße",
    "\0",
    "1 23",
    "12 3",
    "a\u00a0b",
]


@pytest.mark.parametrize("kind", [Screen, WideScreen])
@pytest.mark.parametrize(
    "texts", [TEXTS, [" x", "x"], ["x", "x "], [text for text in TEXTS if "\0" not in text]]
)
def test_keys_are_the_same_where_folded_texts_are(texts, kind):
    keys = kind(texts).keys()

    for one, key in zip(texts, keys, strict=True):
        for other, other_key in zip(texts, keys, strict=True):
            assert (key == other_key) == (fold(one) == fold(other))
