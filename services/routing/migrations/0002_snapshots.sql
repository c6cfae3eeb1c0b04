-- the newest 100; authors, reasons and counts are for people, nothing is looked up by them
CREATE TABLE snapshot (
    number bigint PRIMARY KEY,
    revision text NOT NULL,
    publish_time timestamptz NOT NULL,
    authors text[] NOT NULL,
    reasons text[] NOT NULL,
    counts jsonb NOT NULL,
    unrecorded bigint NOT NULL
);
CREATE INDEX snapshot_revision ON snapshot (revision, number);

-- what is in the snapshots from number `first` on, up to and without `until`; NULL: in the newest too.
-- A snapshot in which one thing changed is one row more, however much is in it
CREATE TABLE snapshot_part (
    type text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    hash text COLLATE "C" NOT NULL,
    first bigint NOT NULL,
    until bigint,
    PRIMARY KEY (type, name, first)
);
CREATE INDEX snapshot_part_until ON snapshot_part (until);
CREATE INDEX snapshot_part_hash ON snapshot_part (hash);

-- content, compressed, kept once as long as some part has its hash
CREATE TABLE snapshot_body (
    hash text COLLATE "C" PRIMARY KEY,
    body bytea NOT NULL
);

-- who wrote which route; `content` is the hash of the route as written, empty when it was deleted;
-- `snapshot` is the one that told of it
CREATE TABLE route_write (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    model text COLLATE "C" NOT NULL,
    content text NOT NULL,
    principal text NOT NULL,
    write_time timestamptz NOT NULL,
    why text NOT NULL,
    snapshot bigint
);
CREATE INDEX route_write_untold ON route_write (model, id) WHERE snapshot IS NULL;
