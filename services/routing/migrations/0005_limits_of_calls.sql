-- the defaults for routes that were written before there were any
ALTER TABLE route
    ADD COLUMN max_calls integer NOT NULL DEFAULT 50,
    ADD COLUMN max_waiting integer NOT NULL DEFAULT 1000;
