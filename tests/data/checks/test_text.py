"""What may be wrong with a single text, and how it is repaired."""

import pytest

from tuner.data.checks.pii import check_privacy, is_card
from tuner.data.checks.text import check_texts, decode_mojibake, find_mojibake, repair_text


def findings(*texts, ignore=()):
    return [*check_texts("output", texts, None, 0, ignore), *check_privacy(texts, ignore)]


def found(*texts):
    """Row, offset and rule of every finding, with a good text before and after."""
    among = ("a good text", *texts, "Ein guter Text für alle")
    return [(each.row - 1, each.offset, each.rule) for each in findings(*among)]


@pytest.mark.parametrize(
    "character", [chr(code) for code in (0, 1, 8, 11, 12, 14, 27, 31, 127, 0x80, 0x9F, 0xFEFF, 0xFFFF)]
)  # fmt: skip
def test_a_control_character_is_named_with_its_place(character):
    (finding,) = findings("fine", f"on{character}e{character}")

    assert (finding.row, finding.offset, finding.rule) == (1, 2, "control-character")
    assert f"U+{ord(character):04X}" in finding.what
    assert "1 more" in finding.what


GOOD = ["a\tb", "a\r\nb\n", "\u200b", "a\u00a0b", "\U0001f600", "\u202b", "â la carte", "Ð ð Þ"]
GOOD += ["Où est le café ? « À côté. »", "Viel „Spaß“ mit „Öl“ und Ü”", "«AMANHÃ» e «CAFÉ»"]


@pytest.mark.parametrize("text", [*GOOD, "São João, NÃO", "Größe É» Ñ” ä“"])
def test_good_texts_of_any_script_have_no_findings(text):
    assert found(text) == []
    assert repair_text(text) == (text, [])


@pytest.mark.parametrize(
    "text",
    ["Café", "naïve", "it\u2019s “new” \u2013 really…", "für", "Ђорђе", "Привет", "日本語", "🙂", "5 €", "à", "É"],
)  # fmt: skip
@pytest.mark.parametrize("encoding", ["cp1252", "latin-1"])
def test_text_decoded_with_the_wrong_encoding_is_found_and_repaired(text, encoding):
    try:
        wrong = f"x {text.encode().decode(encoding)} y"
    except UnicodeDecodeError:
        pytest.skip("cp1252 has no such characters")

    start, end = find_mojibake(wrong)

    assert wrong[start:end]
    assert decode_mojibake(wrong[start:end]) in text
    assert [rule for _, _, rule in found(wrong)] == ["mojibake"]
    assert repair_text(wrong) == (f"x {text} y", ["mojibake"])


def test_a_byte_that_could_not_be_decoded_is_reported():
    assert found("caf\ufffd") == [(0, 3, "mojibake")]


@pytest.mark.parametrize(
    ("text", "after", "broken"),
    [
        ("NA", "NA", []),
        ("a\x00b\x07", "ab", ["control-character"]),
        ("itâ€™s cafÃ© and naÃ¯ve", "it\u2019s café and naïve", ["mojibake"]),
        ("\ud83d!", "!", ["not-unicode"]),
        ("\ud83d\ude00", "😀", ["not-unicode"]),
        ("cafÃ\x07©", "café", ["control-character", "mojibake"]),
        ("É «AMANHû", "É «AMANHû", []),
        ("\ufffd", "\ufffd", []),
    ],
)
def test_a_text_is_repaired_where_the_repair_is_certain(text, after, broken):
    assert repair_text(text) == (after, broken)
    assert repair_text(after) == (after, [])


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
    "://ana:s3cret@db.example.com",
]


@pytest.mark.parametrize("secret", [*SECRETS, "-----BEGIN RSA PRIVATE KEY-----"])
def test_a_secret_is_found_and_not_repeated_in_the_message(secret):
    (finding,) = [each for each in findings("x", f"it is {secret}, ok") if each.rule == "secret"]

    assert (finding.row, finding.offset) == (1, 6)
    assert secret not in finding.what + finding.fix


@pytest.mark.parametrize(
    "text",
    ["sk-learn is fine", "sk-xxxxxxxxxxxxxxxxxxxxxxxx", "a task-oriented desk-sharing", "AKIA", "ghp_short", "https://example.com/a@b", "https://user:${PASSWORD}@host", "-----BEGIN CERTIFICATE-----", "1234 5678 9012 3456", "4111111111111112", "978-3-16-148410-0", "0.4111111111111111", "2026-11-22 12:30:45", "a@b", "@ana"],
)  # fmt: skip
def test_text_that_only_resembles_a_secret_or_personal_data_is_not_found(text):
    assert found(text) == []


@pytest.mark.parametrize(
    "card",
    ["4111111111111111", "4111 1111 1111 1111", "5555-5555-5555-4444", "378282246310005", "3782 822463 10005", "4222222222222"],
)  # fmt: skip
def test_a_card_number_is_found_where_it_begins(card):
    assert found(f"xx {card}") == [(0, 3, "personal-data")]
    assert is_card("".join(filter(str.isdigit, card)))


def test_every_e_mail_address_of_a_text_is_found():
    assert found("ana@example.com or Bo.Li+x@mail.example.co.uk.") == [
        (0, 0, "personal-data"), (0, 19, "personal-data"),
    ]  # fmt: skip


def test_ignored_rules_are_skipped():
    text = "\x01 CafÃ© ana@example.com AKIAIOSFODNN7EXAMPLE"
    rules = {each.rule for each in findings(text)}

    assert len(rules) == 4
    assert findings(text, ignore=rules) == []
