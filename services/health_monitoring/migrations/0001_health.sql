-- What is believed of each target, for the next process. `address`, `model`, `version` make the target whole.
CREATE TABLE target (
    identity text PRIMARY KEY,
    kind text NOT NULL,
    name text NOT NULL,
    address text NOT NULL,
    model text NOT NULL,
    version text NOT NULL,
    state text NOT NULL,
    reason text NOT NULL,
    since timestamptz NOT NULL,
    settled boolean NOT NULL
);

-- Changes of state. Not bound to target: they outlive it.
CREATE TABLE transition (
    target text NOT NULL,
    time timestamptz NOT NULL,
    before text NOT NULL,
    after text NOT NULL,
    reason text NOT NULL,
    PRIMARY KEY (target, time)
);

CREATE INDEX transition_by_time ON transition (time DESC, target DESC);
