-- the default for routes that were written before it could be set
ALTER TABLE route ADD COLUMN retry_back_off_seconds double precision NOT NULL DEFAULT 0.005;
