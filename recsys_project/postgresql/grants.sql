-- Grants the privileges on the tables of this release. `manage.py grant_privileges` runs it after each migration, as
-- recsys_owner. Until then the application cannot use new tables.

GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO recsys_application;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO recsys_application;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO recsys_reader;

-- Only a migration may change the record of the migrations.
REVOKE INSERT, UPDATE, DELETE ON django_migrations FROM recsys_application;

-- Audit records: the history of flags, and the admin's log of what each user did. The application adds to them and reads
-- them. Erasing a member replaces the member's name in the admin's log.
REVOKE UPDATE, DELETE ON flags_flagchange, django_admin_log FROM recsys_application;
GRANT UPDATE (object_repr, change_message) ON django_admin_log TO recsys_application;

-- An alert on unusual usage can be marked as reviewed, but not changed or deleted.
REVOKE UPDATE, DELETE ON access_usagealert FROM recsys_application;
GRANT UPDATE (is_reviewed) ON access_usagealert TO recsys_application;

-- Passwords, secrets and sessions are not for reports.
REVOKE SELECT ON auth_user, django_session, access_apikey, mfa_authenticator, axes_accessattempt FROM recsys_reader;
