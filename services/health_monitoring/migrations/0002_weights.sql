-- A server's share of calls where servers are weighed, so that a monitor that starts again goes on where it was.
ALTER TABLE target ADD COLUMN weight integer NOT NULL DEFAULT 100;
ALTER TABLE target ADD COLUMN weight_reason text NOT NULL DEFAULT '';
