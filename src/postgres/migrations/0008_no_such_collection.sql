-- Whether the source had no collection of that name, and none of its documents was ever applied: then empty is not equal.
ALTER TABLE driftless.reconcile_result ADD COLUMN no_such_collection boolean NOT NULL DEFAULT false;
