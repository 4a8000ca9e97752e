-- Since when a result speaks: before the first read of its pass. Results of before are as old as can be.
ALTER TABLE driftless.reconcile_result
    ADD COLUMN began_at timestamptz NOT NULL DEFAULT 'epoch',
    -- Digest of the compiled plan that rows were held against; a result under another one proves nothing.
    ADD COLUMN plan bytea;
ALTER TABLE driftless.reconcile_result ALTER COLUMN began_at DROP DEFAULT;
