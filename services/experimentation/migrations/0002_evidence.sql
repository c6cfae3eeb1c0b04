-- How far each record log file was taken, and what was in it that could not be counted.
CREATE TABLE delivery (
    proxy text NOT NULL,
    file text NOT NULL,
    committed bigint NOT NULL DEFAULT 0 CHECK (committed >= 0),
    exposures bigint NOT NULL DEFAULT 0,
    unreadable bigint NOT NULL DEFAULT 0,
    update_time timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (proxy, file)
);

-- One row for each served request that counts; its key is what makes a line that comes twice count once.
CREATE TABLE exposure (
    request_id text NOT NULL,
    hop text NOT NULL,
    experiment text NOT NULL,
    unit text NOT NULL,
    variant text NOT NULL,
    time timestamptz NOT NULL,
    PRIMARY KEY (request_id, hop)
);

-- One row for each unit: the variant of its earliest exposure is the one that it counts for.
CREATE TABLE exposed_unit (
    experiment text NOT NULL REFERENCES experiment,
    unit text NOT NULL,
    variant text NOT NULL,
    first_time timestamptz NOT NULL,
    first_request_id text NOT NULL,
    exposures bigint NOT NULL,
    mixed boolean NOT NULL,
    PRIMARY KEY (experiment, unit)
);

-- Joined to exposures when read, so that either may come first. Empty text: not given.
CREATE TABLE outcome (
    experiment text NOT NULL REFERENCES experiment,
    outcome_id text NOT NULL,
    unit text NOT NULL,
    request_id text NOT NULL,
    positive boolean NOT NULL,
    event_time timestamptz NOT NULL,
    PRIMARY KEY (experiment, outcome_id)
);

-- An outcome is about the unit of the request that it names (and of the unit, if it names both), else about the unit
-- that it names. It counts for that unit's variant; without one it waits.
CREATE VIEW joined_outcome AS
SELECT o.*, u.variant
FROM outcome o
LEFT JOIN LATERAL (
    SELECT o.unit WHERE o.request_id = ''
    UNION ALL
    (SELECT e.unit FROM exposure e
     WHERE o.request_id <> '' AND e.request_id = o.request_id AND e.experiment = o.experiment
       AND (o.unit = '' OR o.unit = e.unit)
     ORDER BY e.hop LIMIT 1)) AS about (unit) ON true
LEFT JOIN exposed_unit u ON u.experiment = o.experiment AND u.unit = about.unit;
