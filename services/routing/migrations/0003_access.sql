-- never the key, only its SHA-256 in hexadecimal digits. Revoked keys stay: what they did stands in ledgers and logs.
-- "C": as in route
CREATE TABLE api_key (
    id text COLLATE "C" PRIMARY KEY,
    sha256 text COLLATE "C" NOT NULL UNIQUE,
    tenant text COLLATE "C" NOT NULL,
    principal text NOT NULL,
    roles text[] NOT NULL,
    description text NOT NULL,
    creator text NOT NULL,
    create_time timestamptz NOT NULL,
    revoker text NOT NULL,
    revoke_time timestamptz
);
CREATE INDEX api_key_tenant ON api_key (tenant, id);

CREATE TABLE rate_limit (
    name text COLLATE "C" PRIMARY KEY,
    tenant text COLLATE "C" NOT NULL,
    scope text NOT NULL,
    requests_per_second double precision NOT NULL,
    burst integer NOT NULL,
    shadow boolean NOT NULL,
    etag text NOT NULL,
    create_time timestamptz NOT NULL,
    update_time timestamptz NOT NULL
);
