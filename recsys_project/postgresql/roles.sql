-- Creates the roles of least privilege. Run it once as a superuser, connected to the service's database:
--
--     psql -d recsys -f roles.sql
--
-- then give each role a password with \password, or as docker-compose.yml does.
--
-- recsys_owner        owns the tables and runs `manage.py migrate` and `manage.py grant_privileges`, and nothing else.
-- recsys_application  is the role of web processes and workers. It reads and writes rows, but can neither change a
--                     table or a trigger nor alter the audit records (grants.sql).
-- recsys_reader       reads what contains no credentials, for reports.
--
-- Running it again changes nothing.

DO $$
DECLARE
    role text;
BEGIN
    FOREACH role IN ARRAY ARRAY['recsys_owner', 'recsys_application', 'recsys_reader'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) THEN
            EXECUTE format('CREATE ROLE %I', role);
        END IF;
        EXECUTE format('ALTER ROLE %I LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS', role);
        EXECUTE format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), role);
    END LOOP;
    EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
    EXECUTE format('ALTER DATABASE %I OWNER TO recsys_owner', current_database());
    -- Bulk imports copy rows into a temporary table first.
    EXECUTE format('GRANT TEMPORARY ON DATABASE %I TO recsys_application', current_database());
    IF current_setting('server_version_num')::int >= 170000 THEN
        GRANT pg_maintain TO recsys_application;  -- VACUUM and ANALYZE; before PostgreSQL 17 only an owner may
    END IF;
END
$$;

ALTER SCHEMA public OWNER TO recsys_owner;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO recsys_application, recsys_reader;
ALTER ROLE recsys_reader SET default_transaction_read_only = on;
