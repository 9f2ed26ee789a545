"""The catalogues of translations: complete, current, and with the placeholders of the sources."""

from __future__ import annotations

import re

import pytest
from django.apps import apps
from django.conf import settings
from django.utils.translation import gettext, override

from recsys_project import admin_pages, messages
from recsys_project.model_texts import list_models, list_texts

CATALOGUES = [(language, domain) for language in messages.TRANSLATED for domain in messages.DOMAINS]
PLACEHOLDER = re.compile(r"%\(\w+\)[sd]|%[sd%]|\{\w*\}")
TYPEWRITER_QUOTE = re.compile(r"[\"']\w|\w[\"']")


PAGE = """\
{% load i18n %}
<p>
    {% translate "Hello" %}
</p>
  {% blocktranslate trimmed %}
    Two
    lines
  {% endblocktranslate %}
"""


def list_forms(message):
    """Return the texts of a message and their translations."""
    texts = (message.id,) if isinstance(message.id, str) else message.id
    return texts, (message.string,) if isinstance(message.string, str) else message.string


def test_the_texts_of_each_list_of_the_admin_and_of_its_fields_are_collected():
    labels = {label for group in admin_pages.every_group() for label in group.lists}
    assert {label for label in labels if not label.startswith("auth.")} <= {m._meta.label for m in list_models()}
    with override("de"):  # the texts are those of the sources, whatever the language
        texts = {text for _, text in list_texts()}
    assert {"post", "external id", "The id of this post on the platform.", "rolled back", "rollout phases"} <= texts


def test_texts_of_models_are_translated_where_they_are_shown_and_not_in_migrations():
    field = apps.get_model("flags.Flag")._meta.get_field("owner")
    assert (str(field.verbose_name), str(field.help_text)) == ("owner", "The responsible team.")
    with override("de"):
        assert (str(field.verbose_name), str(field.help_text)) == ("Zuständige", "Das zuständige Team.")
    with override(None):
        assert field.deconstruct()[3]["help_text"] == "The responsible team."


def test_each_supported_language_has_a_catalogue():
    assert {code for code, _ in settings.LANGUAGES} == {settings.LANGUAGE_CODE, *messages.TRANSLATED}


@pytest.mark.parametrize(("language", "domain"), CATALOGUES)
def test_a_catalogue_has_the_texts_of_the_sources_and_no_others(language, domain):
    updated = messages.format_catalogue(messages.update_catalogue(language, domain))
    is_current = updated == messages.catalogue_path(language, domain).read_bytes()
    assert is_current, "Run `make messages`."  # a difference of two long texts would take pytest minutes


def test_each_text_of_a_script_is_collected():
    """Babel does not look for calls in the arguments of a call that it collects."""
    for path in messages.list_files("static", ".js"):
        written = re.findall(r"\bn?gettext\(\s*[\"'`]", re.sub(r"^\s*//.*", "", path.read_text(), flags=re.MULTILINE))
        if written and not path.name.endswith(".min.js"):
            source = path.read_bytes()
            collected = list(messages.extract_file(path, "javascript", source, messages.SCRIPT_KEYWORDS))
            assert len(collected) == len(written), path


@pytest.mark.parametrize(("language", "domain"), CATALOGUES)
def test_each_text_is_translated_with_the_same_placeholders(language, domain):
    catalogue = messages.read_catalogue(language, domain)
    for message in messages.translated_messages(catalogue):
        assert messages.is_translated(message), message.id
        assert not message.fuzzy, message.id
        texts, translations = list_forms(message)
        expected = sorted(PLACEHOLDER.findall(texts[-1]))
        for translation in translations[-1:]:
            assert sorted(PLACEHOLDER.findall(translation)) == expected, message.id
        assert set(PLACEHOLDER.findall("".join(translations))) <= set(expected), message.id


@pytest.mark.parametrize(("language", "domain"), CATALOGUES)
def test_a_translation_has_the_spaces_and_the_marks_of_the_text(language, domain):
    for message in messages.translated_messages(messages.read_catalogue(language, domain)):
        texts, translations = list_forms(message)
        for text, translation in zip(texts, translations, strict=True):
            assert text[:1].isspace() == translation[:1].isspace(), text
            assert text[-1:].isspace() == translation[-1:].isspace(), text
            assert text.endswith(".") == translation.endswith("."), text
            if not TYPEWRITER_QUOTE.search(text):
                assert not TYPEWRITER_QUOTE.search(translation), translation


@pytest.mark.parametrize(("language", "domain"), CATALOGUES)
def test_the_compiled_catalogue_is_current(language, domain):
    compiled = messages.compile_catalogue(messages.read_catalogue(language, domain))
    is_current = compiled == messages.compiled_path(language, domain).read_bytes()
    assert is_current, "Run `make messages`."


def test_a_missing_translation_is_reported(monkeypatch, tmp_path, capsys):
    app = tmp_path / "recommendations"
    (app / "templates").mkdir(parents=True)
    (app / "static").mkdir()
    (tmp_path / "access" / "static" / "access").mkdir(parents=True)
    (app / "texts.py").write_text('gettext("One text")\nngettext("{n} post", "{n} posts", n)\ngettext(name)\n')
    (app / "templates" / "page.html").write_text(PAGE)
    (app / "static" / "page.js").write_text('gettext("In a script", { name });\nngettext("{n} day", "{n} days", n);\n')
    (app / "static" / "other.min.js").write_text('gettext("Of a library");\n')
    monkeypatch.setattr(messages, "ROOT", tmp_path)

    assert messages.main() == 1

    catalogue = messages.read_catalogue("de", "django")
    assert [m.id for m in messages.translated_messages(catalogue)] == [
        "Hello",
        "One text",
        "Two lines",
        ("{n} post", "{n} posts"),
    ]
    scripts = messages.read_catalogue("de", "djangojs")
    assert [m.id for m in messages.translated_messages(scripts)] == ["In a script", ("{n} day", "{n} days")]
    assert "locale/de/LC_MESSAGES/django.po: 4 texts, 4 to translate\n" in capsys.readouterr().out

    for written in (catalogue, scripts):
        for message in messages.translated_messages(written):
            message.string = "x" if isinstance(message.id, str) else ("{n} x", "{n} y")
        messages.catalogue_path("de", written.domain).write_bytes(messages.format_catalogue(written))
    assert messages.main() == 0
    script = messages.compiled_path("de", "djangojs").read_text()
    assert "export const pluralIndex = (n) => Number((n != 1));" in script
    assert '"{n} day": [' in script


def test_texts_of_the_theme_are_translated():
    with override("de"):
        assert [text for text in messages.THEME_TEXTS if gettext(text) == text and text != "System"] == []
