"""
The texts of models that the admin shows, in the language of the page: names of apps, models and fields, help texts and
the labels of choices.

`Meta` cannot have translated names without a migration for each model: migrations store its options. Most names of
fields are derived by Django and stand nowhere in the sources. So the texts are replaced in the processes that show
pages, and `recsys_project.messages` collects them from the models.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path

from django.apps import apps
from django.contrib import admin
from django.db import models
from django.utils.translation import gettext_lazy, override

APPS = ("recommendations", "flags", "access", "monitoring")


def list_models() -> list[type[models.Model]]:
    """Return the models of the service that the admin has a page for, or shows in the form of another model."""
    pages = admin.site._registry
    shown = {*pages, *(inline.model for page in pages.values() for inline in page.inlines)}
    return sorted((model for model in shown if model._meta.app_label in APPS), key=lambda model: model._meta.label)


def list_fields(model: type[models.Model]) -> Iterator[models.Field]:  # type: ignore[type-arg]
    """Return the fields of a model that the admin can show."""
    for field in (*model._meta.fields, *model._meta.many_to_many):
        if not isinstance(field, models.BinaryField | models.AutoField):
            yield field


def list_texts() -> Iterator[tuple[Path, str]]:
    """Return the texts of the models in English, each with the file of its model."""
    with override(None):
        for label in APPS:
            config = apps.get_app_config(label)
            yield Path(inspect.getfile(type(config))), str(config.verbose_name)
        for model in list_models():
            path = Path(inspect.getfile(model))
            texts: list[object] = [model._meta.verbose_name, model._meta.verbose_name_plural]
            for field in list_fields(model):
                texts += [field.verbose_name, field.help_text, *(label for _, label in field.choices or ())]
            yield from ((path, str(text)) for text in texts if text)


def translate_models() -> None:
    """Replace the texts of the apps and models by texts that are translated where they are shown."""
    for label in APPS:
        config = apps.get_app_config(label)
        config.verbose_name = gettext_lazy(str(config.verbose_name))
    for model in list_models():
        meta = model._meta
        meta.verbose_name, meta.verbose_name_plural = (
            gettext_lazy(str(meta.verbose_name)),
            gettext_lazy(str(meta.verbose_name_plural)),
        )
        for field in list_fields(model):
            field.verbose_name = gettext_lazy(str(field.verbose_name))
            if field.help_text:
                field.help_text = gettext_lazy(str(field.help_text))
            if field.choices:
                field.choices = [(value, gettext_lazy(str(label))) for value, label in field.choices]
