CREATE TABLE registry (
    -- Names this registry to servers, so that it knows its own models there from those of others
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    one boolean NOT NULL UNIQUE DEFAULT true CHECK (one)
);
INSERT INTO registry DEFAULT VALUES;

CREATE TABLE model (
    name text COLLATE "C" PRIMARY KEY,
    description text NOT NULL,
    owner text NOT NULL,
    create_time timestamptz NOT NULL
);

CREATE TABLE model_version (
    model text COLLATE "C" NOT NULL REFERENCES model,
    version bigint NOT NULL CHECK (version > 0),
    stage text NOT NULL,
    -- SHA-256 of the ONNX file; empty: external
    digest text NOT NULL,
    -- {"inputs": [{"name", "datatype", "shape"}], "outputs": […]}; external ones may learn it once
    signature jsonb NOT NULL,
    feature_service text NOT NULL,
    class_labels text[] NOT NULL,
    max_batch_size integer,
    revision bigint NOT NULL DEFAULT 1,
    create_time timestamptz NOT NULL,
    PRIMARY KEY (model, version)
);

CREATE TABLE server (
    name text COLLATE "C" PRIMARY KEY,
    address text NOT NULL UNIQUE,
    repository_path text NOT NULL,
    metrics_address text NOT NULL,
    reachable boolean NOT NULL DEFAULT false,
    server_version text NOT NULL DEFAULT ''
);

CREATE TABLE deployment (
    model text COLLATE "C" NOT NULL,
    version bigint NOT NULL,
    deleting boolean NOT NULL DEFAULT false,
    create_time timestamptz NOT NULL,
    PRIMARY KEY (model, version),
    FOREIGN KEY (model, version) REFERENCES model_version
);

CREATE TABLE placement (
    model text COLLATE "C" NOT NULL,
    version bigint NOT NULL,
    server text COLLATE "C" NOT NULL REFERENCES server,
    state text NOT NULL,
    message text NOT NULL DEFAULT '',
    update_time timestamptz NOT NULL,
    attempts integer NOT NULL DEFAULT 0,
    retry_time timestamptz,
    PRIMARY KEY (model, version, server),
    FOREIGN KEY (model, version) REFERENCES deployment ON DELETE CASCADE
);
CREATE INDEX placement_by_server ON placement (server);

CREATE VIEW placed AS
SELECT p.*, s.address, d.deleting, d.create_time
FROM deployment d JOIN placement p USING (model, version) JOIN server s ON s.name = p.server;

CREATE VIEW wanted AS
SELECT mv.*, p.server, s.address, p.state, p.message, p.update_time, p.attempts, p.retry_time
FROM placement p JOIN model_version mv USING (model, version) JOIN server s ON s.name = p.server;
