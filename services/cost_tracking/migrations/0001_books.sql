-- A range of names, so that GiST can compare names for equality without the extension btree_gist, which many
-- distributions of Postgres leave out: [a,a] = [b,b] exactly when a = b.
CREATE TYPE name_range AS RANGE (subtype = text, collation = "C");

CREATE TABLE price (
    id uuid PRIMARY KEY,
    meter text COLLATE "C" NOT NULL CHECK (meter IN ('request', 'compute_second')),
    model text COLLATE "C" NOT NULL,
    version text COLLATE "C" NOT NULL CHECK (version = '' OR model <> ''),
    nanodollars_per_unit numeric(38, 18) NOT NULL CHECK (nanodollars_per_unit >= 0),
    effective_from timestamptz NOT NULL,
    effective_to timestamptz CHECK (effective_to > effective_from),
    create_time timestamptz NOT NULL,
    CONSTRAINT price_overlap EXCLUDE USING gist (
        name_range(meter, meter, '[]') WITH =,
        name_range(model, model, '[]') WITH =,
        name_range(version, version, '[]') WITH =,
        tstzrange(effective_from, effective_to) WITH &&)
);
CREATE INDEX price_order ON price (meter, model, version, effective_from);

-- One row for each (request, hop) that the record log tells of, whatever became of it.
CREATE TABLE usage (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    request_id text COLLATE "C" NOT NULL,
    hop text COLLATE "C" NOT NULL CHECK (hop IN ('ingress', 'mesh', 'mirror')),
    outcome text COLLATE "C" NOT NULL CHECK (outcome IN ('billed', 'failed', 'passed', 'mirrored')),
    start_time timestamptz NOT NULL,
    tenant text COLLATE "C" NOT NULL,
    principal text COLLATE "C" NOT NULL,
    model text COLLATE "C" NOT NULL,
    version text COLLATE "C" NOT NULL,
    experiment text COLLATE "C" NOT NULL,
    variant text COLLATE "C" NOT NULL,
    degraded text COLLATE "C" NOT NULL,
    grpc_status integer NOT NULL,
    http_status integer NOT NULL,
    attempts integer NOT NULL,
    reached_server boolean NOT NULL,
    server text COLLATE "C" NOT NULL,
    upstream_us bigint NOT NULL,
    bytes_in bigint NOT NULL,
    bytes_out bigint NOT NULL,
    UNIQUE (request_id, hop)
);
CREATE INDEX usage_time ON usage (start_time);

-- The ledger. Every entry pins the price that made it.
CREATE TABLE entry (
    usage_id bigint NOT NULL REFERENCES usage (id),
    meter text COLLATE "C" NOT NULL,
    price_id uuid NOT NULL REFERENCES price (id),
    quantity bigint NOT NULL CHECK (quantity >= 0),
    nanodollars bigint NOT NULL CHECK (nanodollars >= 0),
    PRIMARY KEY (usage_id, meter)
);

-- Derived from usage and entry in the transaction that writes them; GetSpend reads whole hours here.
CREATE TABLE usage_hour (
    hour timestamptz NOT NULL,
    tenant text COLLATE "C" NOT NULL,
    model text COLLATE "C" NOT NULL,
    version text COLLATE "C" NOT NULL,
    experiment text COLLATE "C" NOT NULL,
    variant text COLLATE "C" NOT NULL,
    hop text COLLATE "C" NOT NULL,
    outcome text COLLATE "C" NOT NULL,
    usages bigint NOT NULL,
    compute_us bigint NOT NULL,
    nanodollars bigint NOT NULL,
    unpriced bigint NOT NULL,
    PRIMARY KEY (hour, tenant, model, version, experiment, variant, hop, outcome)
) WITH (fillfactor = 50);

-- Records that cannot be charged for what they are: two that claim one key, or one that lacks what a key needs.
CREATE TABLE set_aside (
    digest bytea PRIMARY KEY,
    reason text NOT NULL,
    content text NOT NULL,
    proxy text NOT NULL,
    file text NOT NULL,
    time timestamptz NOT NULL DEFAULT now()
);

-- How far each file of the record log is committed.
CREATE TABLE log_file (
    proxy text COLLATE "C" NOT NULL,
    file text COLLATE "C" NOT NULL,
    committed_offset bigint NOT NULL,
    update_time timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (proxy, file)
);

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: % refused', TG_TABLE_NAME, TG_OP USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER immutable BEFORE UPDATE OR DELETE OR TRUNCATE ON usage EXECUTE FUNCTION refuse_change();
CREATE TRIGGER immutable BEFORE UPDATE OR DELETE OR TRUNCATE ON entry EXECUTE FUNCTION refuse_change();
CREATE TRIGGER immutable BEFORE UPDATE OR DELETE OR TRUNCATE ON set_aside EXECUTE FUNCTION refuse_change();
CREATE TRIGGER permanent BEFORE DELETE OR TRUNCATE ON price EXECUTE FUNCTION refuse_change();

-- The only change that a price knows is to end, once.
CREATE FUNCTION only_end_price() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.effective_to IS NULL AND NEW.effective_to IS NOT NULL THEN
        OLD.effective_to := NEW.effective_to;
        IF OLD IS NOT DISTINCT FROM NEW THEN
            RETURN NEW;
        END IF;
    END IF;
    RAISE EXCEPTION 'a price is immutable once it exists: it can only be ended' USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER immutable BEFORE UPDATE ON price FOR EACH ROW EXECUTE FUNCTION only_end_price();
