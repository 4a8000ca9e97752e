-- The last run of the snapshot that begins by emptying the tables of the collection; NULL: none does.
ALTER TABLE driftless.snapshot ADD COLUMN empties bigint;
