-- One layer a model: its salt is drawn once and never changes, since every experiment on the model hashes with it.
CREATE TABLE layer (
    model text PRIMARY KEY,
    salt text NOT NULL
);

CREATE TABLE experiment (
    name text PRIMARY KEY,
    model text NOT NULL REFERENCES layer,
    coverage integer NOT NULL CHECK (coverage BETWEEN 1 AND 10000),
    first_bucket integer NOT NULL CHECK (first_bucket BETWEEN 0 AND 9999),
    minimum_lift double precision NOT NULL CHECK (minimum_lift >= 0),
    direction text NOT NULL CHECK (direction IN ('HIGHER', 'LOWER')),
    description text NOT NULL,
    state text NOT NULL CHECK (state IN ('DRAFT', 'RUNNING', 'STOPPED', 'GRADUATED')),
    winner text NOT NULL DEFAULT '',
    revision bigint NOT NULL,
    create_time timestamptz NOT NULL,
    start_time timestamptz,
    end_time timestamptz
);
CREATE INDEX experiment_by_model ON experiment (model, name);
CREATE INDEX experiment_running ON experiment (model) WHERE state = 'RUNNING';

CREATE TABLE variant (
    experiment text NOT NULL REFERENCES experiment,
    position smallint NOT NULL,
    name text NOT NULL,
    version text NOT NULL,
    weight integer NOT NULL CHECK (weight BETWEEN 1 AND 10000),
    PRIMARY KEY (experiment, position),
    UNIQUE (experiment, name)
);
