"""The ranking policies that a new installation starts with: one per variant of the specification."""

from recommendations.models.policies import default_settings

POLICIES = {
    "control": ({}, "The control: NumPy, the settings everything is compared with."),
    "wasm_conservative": ({}, "The control's settings on the kernel: only the engine differs."),
    "wasm_aggressive": (
        {"diversity": 0.25, "nearest_candidates": 800, "collaborative_candidates": 600},
        "Reaches further and spreads wider.",
    ),
}
NEW_DEFAULTS = "The defaults of a new release."


def add_policies(apps, schema_editor):
    """Add the variants of the specification, with every setting that the installed release has."""
    model = apps.get_model("recommendations", "RankingPolicy")
    for variant, (settings, note) in POLICIES.items():
        model.objects.get_or_create(
            variant=variant, version=1, defaults={"settings": default_settings() | settings, "note": note, "is_active": True}
        )


def activate_new_defaults(apps, schema_editor):
    """
    Activate a version with the settings of the installed release for each of these variants.

    A stored version ranks as it did when it was written, so a new score part has no weight in it. A variant whose
    active version was not written by a migration stays as it is, and so does one that already has these settings.
    """
    model = apps.get_model("recommendations", "RankingPolicy")
    for variant, (settings, note) in POLICIES.items():
        current = default_settings() | settings
        active = model.objects.filter(variant=variant, is_active=True, note__in=(note, NEW_DEFAULTS)).first()
        if active is None or active.settings == current:
            continue
        last = model.objects.filter(variant=variant).order_by("-version").first()
        model.objects.filter(pk=active.pk).update(is_active=False)
        model.objects.create(
            variant=variant, version=last.version + 1, settings=current, note=NEW_DEFAULTS, is_active=True
        )
