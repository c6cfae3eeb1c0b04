-- "C": names sort by code point, as paging promises, whatever the database's locale
CREATE TABLE route (
    model text COLLATE "C" PRIMARY KEY,
    default_version text NOT NULL,
    fallback_versions text[] NOT NULL,
    load_balancing text NOT NULL,
    timeout_seconds double precision NOT NULL,
    per_try_timeout_seconds double precision NOT NULL,
    max_retries integer NOT NULL,
    etag text NOT NULL,
    create_time timestamptz NOT NULL,
    update_time timestamptz NOT NULL
);
