-- What was declared. Nothing here is ever updated or deleted.
CREATE TABLE entity (
    tenant text NOT NULL,
    name text NOT NULL,
    definition jsonb NOT NULL,
    etag text NOT NULL,
    create_time timestamptz NOT NULL,
    PRIMARY KEY (tenant, name));

CREATE TABLE feature_view (
    -- in Redis and in history a view is its id
    id integer GENERATED ALWAYS AS IDENTITY UNIQUE,
    tenant text NOT NULL,
    name text NOT NULL,
    entity text,
    definition jsonb NOT NULL,
    etag text NOT NULL,
    create_time timestamptz NOT NULL,
    PRIMARY KEY (tenant, name),
    FOREIGN KEY (tenant, entity) REFERENCES entity (tenant, name));

-- Which fields a packed row has; every row carries the id of its own.
CREATE TABLE row_schema (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    view_id integer NOT NULL UNIQUE REFERENCES feature_view (id),
    fields jsonb NOT NULL);

CREATE TABLE feature_service (
    tenant text NOT NULL,
    name text NOT NULL,
    definition jsonb NOT NULL,
    etag text NOT NULL,
    create_time timestamptz NOT NULL,
    PRIMARY KEY (tenant, name));

-- History is the rows of the files that are not dropped, and of the batches: one statement that reads both tables sees
-- every row once, whatever the compactor is doing.
CREATE TABLE history_batch (
    -- the order of writing
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    view_id integer NOT NULL REFERENCES feature_view (id),
    rows integer NOT NULL,
    -- an Arrow IPC stream
    content bytea NOT NULL,
    ingest_time timestamptz NOT NULL DEFAULT now());
CREATE INDEX ON history_batch (view_id, id);

CREATE TABLE history_file (
    -- below PENSTOCK_STATE_DIR/history
    path text PRIMARY KEY,
    view_id integer NOT NULL REFERENCES feature_view (id),
    event_date date NOT NULL,
    ingest_date date NOT NULL,
    rows bigint NOT NULL,
    first_event_us bigint NOT NULL,
    last_event_us bigint NOT NULL,
    -- its rows are in another file now; it stays for readers that are still at it
    drop_time timestamptz);
CREATE INDEX ON history_file (view_id, event_date, ingest_date) WHERE drop_time IS NULL;

-- Every event id that was ever pushed, and what the event said.
CREATE TABLE event_seen (
    view_id integer NOT NULL REFERENCES feature_view (id),
    event_id text NOT NULL,
    digest bytea NOT NULL,
    PRIMARY KEY (view_id, event_id));
