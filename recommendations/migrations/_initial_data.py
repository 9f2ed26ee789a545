"""The ranking policies that a new installation starts with: one per variant of the specification."""

from recommendations.models.policies import default_settings

POLICIES = {
    "control": ({}, "The control: NumPy, the settings everything is compared with."),
    "wasm_conservative": ({}, "The control's settings on the kernel: only the engine differs."),
    "wasm_aggressive": ({"diversity": 0.45, "taste": 1.2, "nearest_candidates": 800}, "Reaches further and spreads wider."),
}


def add_policies(apps, schema_editor):
    """Add the variants of the specification, with every setting that the installed release has."""
    model = apps.get_model("recommendations", "RankingPolicy")
    for variant, (settings, note) in POLICIES.items():
        model.objects.get_or_create(
            variant=variant, version=1, defaults={"settings": default_settings() | settings, "note": note, "is_active": True}
        )
