-- 0: as large as any may be
ALTER TABLE route ADD COLUMN max_message_bytes integer NOT NULL DEFAULT 0;
