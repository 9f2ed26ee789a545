"""Add receipts of erasures, and replace the idempotency keys of jobs, which may contain a member's id, by hashes."""

import uuid

from django.db import migrations, models

from access.masks import mask_identity


def hash_idempotency_keys(apps, schema_editor):
    """Store the hash of each idempotency key."""
    job_model = apps.get_model("recommendations", "Job")
    for job in job_model.objects.exclude(idempotency_key=None).only("pk", "idempotency_key").iterator():
        key_hash = mask_identity("idempotency key", f"\n{job.idempotency_key}")
        job_model.objects.filter(pk=job.pk).update(idempotency_hash=key_hash)


class Migration(migrations.Migration):
    dependencies = [("recommendations", "0004_evaluation")]

    operations = [
        migrations.CreateModel(
            name="ErasureReceipt",
            fields=[
                ("id", models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ("member_hash", models.CharField(db_index=True, help_text="Hash of the member's id on the platform, keyed with SECRET_KEY.", max_length=24)),
                ("sealed_member_id", models.BinaryField(default=b"", help_text="The member's id, encrypted. Empty once the erasure is finished.")),
                ("member_number", models.BigIntegerField(db_index=True, help_text="The database id of the erased row. It refers to nothing once the row is erased.")),
                ("job_id", models.UUIDField(blank=True, null=True)),
                ("requested_by", models.CharField(help_text="Key, staff user, member (as a hash) or command line, such as key:ab12cd34ef. Empty: an open API.", max_length=200)),
                ("requested_at", models.DateTimeField()),
                ("erased_at", models.DateTimeField(blank=True, help_text="When the rows, caches and vectors were deleted. Trained models follow.", null=True)),
                ("models_due_at", models.DateTimeField(blank=True, help_text="At this time at the latest, no trained model contains the member.", null=True)),
                ("forgotten_model_ids", models.JSONField(blank=True, default=list, help_text="The trained models whose arrays were deleted because of the erasure.")),
                ("active_model_id", models.PositiveBigIntegerField(blank=True, help_text="The active trained model without the member. Empty: none was needed.", null=True)),
                ("active_model_since", models.DateTimeField(blank=True, help_text="When that model was activated.", null=True)),
                ("counts", models.JSONField(blank=True, default=dict, help_text="By place: how many rows or entries were erased.")),
                ("finished_at", models.DateTimeField(blank=True, db_index=True, help_text="When every place was clear, trained models included.", null=True)),
            ],
            options={"ordering": ["-requested_at"]},
        ),
        migrations.AddConstraint(
            model_name="erasurereceipt",
            constraint=models.UniqueConstraint(condition=models.Q(("finished_at", None)), fields=("member_number",), name="one_open_erasure_per_member"),
        ),
        migrations.AddField(
            model_name="erasedpost",
            name="is_indexed",
            field=models.BooleanField(db_index=True, default=False, help_text="Whether Qdrant may still hold the post's vectors."),
        ),
        migrations.AddField(
            model_name="job",
            name="idempotency_hash",
            field=models.CharField(blank=True, help_text="Keyed hash of the submitter and the idempotency key, which may contain a member's id.", max_length=24, null=True, unique=True),
        ),
        migrations.RunPython(hash_idempotency_keys, migrations.RunPython.noop),
        migrations.RemoveField(model_name="job", name="idempotency_key"),
    ]
