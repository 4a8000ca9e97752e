-- It always held the same number as `checked`.
ALTER TABLE driftless.reconcile_result DROP COLUMN total;
