ALTER TABLE route
    ADD COLUMN mirror_version text,
    ADD COLUMN mirror_basis_points integer,
    ADD CONSTRAINT mirror_whole CHECK ((mirror_version IS NULL) = (mirror_basis_points IS NULL));
